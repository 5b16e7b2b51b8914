"""Particles as RELION 5 and WarpTools keep them: stacks of 2D images, of which volumes are reconstructed."""
