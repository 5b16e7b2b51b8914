"""Synthetic subtomograms from structures as weighted point clouds. Needs numpy only.

`symmetry` and `assemblies` make structures, `poses` and `packing` place them, `optics` is the microscope and
`simulator` puts one scene together. Points are (x, y, z) in Å, volumes have axes (z, y, x), the beam runs along z and
the tilt axis is y. Every random draw comes from `streams`.
"""
