"""3D networks that turn subtomograms into features. `specs.py` declares them without torch."""
