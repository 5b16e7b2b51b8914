"""Sources of subtomograms and their splits. `specs.py` declares them without torch."""
