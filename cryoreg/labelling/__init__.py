"""Labels by looking: who says what, what that teaches, whom to ask about next."""
