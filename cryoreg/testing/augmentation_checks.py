"""What an augmentation promises."""
