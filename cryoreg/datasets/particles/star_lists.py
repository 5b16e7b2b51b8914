"""Particle lists in RELION's words."""

from __future__ import annotations

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import first_of, tomogram_names, varied
from cryoreg.datasets.particles.carried import of_star, tilts_of_star
from cryoreg.datasets.particles.motive_lists import is_motive_list, motive_list
from cryoreg.datasets.particles.particle_list import ParticleList


def read_star_list(path: str, unit_told: bool = False) -> ParticleList:
    """Read a STAR file of RELION 3, 3.1, 4 or 5, Warp, M or STOPGAP; `cryoreg.datasets.io.relion` knows their words."""
    table = relion.read_particles(path)
    if is_motive_list(table):
        return motive_list(path, table)
    return relion_list(path, table, first_of(table, relion.TOMOGRAMS), unit_told)


def relion_list(path: str, table: pd.DataFrame, tomograms: str | None, unit_told: bool) -> ParticleList:
    """Return the particles of a table with RELION's columns; ``tomograms`` is the one that names their tomograms."""
    coordinates, centred = relion.coordinates(path, table)
    return ParticleList(
        path,
        coordinates,
        "centred" if centred else "voxel",
        tomogram_names(table, tomograms),
        table,
        varied(table, (relion.CLASS_NUMBER, "class", "label")),
        None if unit_told else relion.coordinate_sizes(path, table, centred),
        relion.shifts(path, table),
        tilts_of_star(path, table),
        carried=of_star(path, table),
    )
