"""Tomograms in files, and which of them a particle list names."""
