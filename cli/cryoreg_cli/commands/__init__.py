"""One file per command; thin, no logic."""
