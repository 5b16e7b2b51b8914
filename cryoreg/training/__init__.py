"""Pretraining, fine-tuning, evaluation, and the engine and files that they share."""
