"""Particles in tomograms: Difference of Gaussians, ranking by cross-correlation, lists and pictures."""
