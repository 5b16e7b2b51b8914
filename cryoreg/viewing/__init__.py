"""Particles in their tomograms, shown by the programs that people use to look at them."""
