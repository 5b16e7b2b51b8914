"""Particle lists: coordinates, classes and what they mean."""
