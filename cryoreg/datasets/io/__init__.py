"""File formats: MRC, OME-Zarr, HDF5, STAR, pickles of others."""
