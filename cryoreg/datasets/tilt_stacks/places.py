"""Where the particles of a set of 2D tilt stacks lie, without a look at their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tilt_stacks.files import find_files
from cryoreg.datasets.tilt_stacks.particles import read_particles
from cryoreg.datasets.tilt_stacks.series import read_series


def places_of(root: Path) -> NDArray[np.float64]:
    """Return x, y, z (N, 3) of the particles of an optimisation set, or of a list beside its tomograms, Å.

    A list alone does not tell: WarpTools counts in pixels of the images, RELION 4 in those of the tilt series, and both
    state the same columns. Raises `DataError`, one line, where a file or a size is missing.
    """
    found = find_files(root)
    table = relion_tables.read_particles(found.particles)
    if relion.TOMOGRAM not in table:
        refuse(found.particles, f"has no column {relion.TOMOGRAM}, and so no tomograms; export it again")
    size = relion.image_sizes(found.particles, table)[0]
    if size is None:
        refuse(found.particles, f"has no {relion.IMAGE_SIZES[0]}; say how large the units of its coordinates are")
    series = read_series(found.tomograms, found.particles, table)
    known = read_particles(found.particles, table, series, size)
    return known.positions + known.shifts
