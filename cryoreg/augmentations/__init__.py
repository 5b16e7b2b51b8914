"""Random transformations of batches of subtomograms. `specs.py` declares them without torch."""
