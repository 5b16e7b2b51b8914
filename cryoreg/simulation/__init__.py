"""Synthetic subtomograms from structures as weighted point clouds. Needs numpy and scipy; gemmi for PDB files.

`assemblies` (with `symmetry`) and `structure_files` make structures, `poses` and `packing` place them. `optics` has the
formulas of the microscope, `filters` and `microscope` (or `tilt_series`, the long way) apply them, and `simulator` puts
scenes together, `batched` many at a time in torch, `tomogram` whole tomograms. `settings` says how, `processes` in how
many processes. Points are (x, y, z) in Å, volumes have axes (z, y, x), the beam runs along z and the tilt axis is y.
Every random draw comes from `streams` (in `batched`, from `cryoreg.randomness`).
"""
