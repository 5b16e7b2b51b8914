"""Self-supervised methods. `specs.py` declares them without torch."""
