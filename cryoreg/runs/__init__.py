"""A run on disk: folder, logs, checkpoints, exported weights and their cards, records."""
