"""cryoreg's own store: one HDF5 file."""
