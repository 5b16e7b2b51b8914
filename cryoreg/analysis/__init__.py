"""What data and features look like."""
