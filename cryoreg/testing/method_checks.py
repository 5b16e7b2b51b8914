"""What a method promises."""
