"""Particle lists: choosing among their rows, merging and splitting them, with all that they have kept."""
