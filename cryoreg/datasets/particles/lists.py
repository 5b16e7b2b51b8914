"""Particle lists: coordinates, tomograms and classes from STAR, Dynamo, CSV and copick files.

Where voxel 0 lies, for each format, is stated in docs/particles.md: coordinates here count voxels from 0, and a whole
number is the middle of a voxel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryoreg.datasets.io.volume_files import guarded, refuse
from cryoreg.datasets.particles.copick import read_json, read_ndjson
from cryoreg.datasets.particles.dynamo import read_table
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.star_lists import read_star_list
from cryoreg.datasets.particles.text_lists import read_csv


def read_particle_list(path: str | Path, unit_told: bool = False) -> ParticleList:
    """Read a STAR file, a Dynamo table (.tbl), CSV (.csv, .tsv, .txt) or copick points (.json, .ndjson).

    Where the unit of coordinates is told by the user (``unit_told``), what the list says of it is not read.
    Raises `DataError`, one line, where coordinates are missing or no numbers, or nothing is listed.
    """
    readers: dict[str, Callable[[str], ParticleList]] = {
        ".star": partial(read_star_list, unit_told=unit_told),
        ".tbl": read_table,
        **dict.fromkeys((".csv", ".tsv", ".txt"), partial(read_csv, unit_told=unit_told)),
        **dict.fromkeys((".ndjson", ".jsonl"), read_ndjson),
        ".json": read_json,
    }
    name = os.fspath(path)
    reader = readers.get(os.path.splitext(name)[1].lower())
    if reader is None:
        refuse(name, f"is not a particle list that can be read ({', '.join(readers)}); check the path")
    with guarded(name, "a particle list"):
        return reader(name)
