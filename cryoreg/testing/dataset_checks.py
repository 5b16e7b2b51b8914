"""What a data set promises."""
