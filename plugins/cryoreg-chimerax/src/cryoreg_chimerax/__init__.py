"""`cryoreg chimerax`: explained subtomograms side by side. Installing this package is all that is needed."""
