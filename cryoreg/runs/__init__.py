"""A run on disk: folder, logs, checkpoints, trained weights and their cards, records."""
