"""Synthetic subtomograms: structures, packing, optics."""
