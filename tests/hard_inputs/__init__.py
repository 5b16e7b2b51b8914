"""Files as others write them: what is right, or the one line that says why not."""
