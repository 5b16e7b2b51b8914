"""Trained weights that cryoreg brings; of each, `specs` has the spec, and the file lies beside it."""
