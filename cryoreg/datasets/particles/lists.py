"""Particle lists of every kind that is read, as one.

Where voxel 0 lies, for each format, is stated in docs/particles.md: coordinates here count voxels from 0, and a whole
number is the middle of a voxel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from cryoreg.datasets.io.volume_files import guarded, refuse, refuse_empty
from cryoreg.datasets.particles.copick import read_json, read_ndjson
from cryoreg.datasets.particles.cryocat import read_cryocat
from cryoreg.datasets.particles.cryolo import read_cbox, read_coords
from cryoreg.datasets.particles.dynamo import read_table
from cryoreg.datasets.particles.eman2 import read_boxes
from cryoreg.datasets.particles.emclarity import read_emclarity
from cryoreg.datasets.particles.imod import read_imod, read_points
from cryoreg.datasets.particles.list_folders import joined
from cryoreg.datasets.particles.motive_lists import read_em
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.peet import read_peet
from cryoreg.datasets.particles.pytom import read_pytom
from cryoreg.datasets.particles.sniffing import SUFFIXES, Kind, kind_of_list, lists_in, why_no_lists
from cryoreg.datasets.particles.star_lists import read_star_list
from cryoreg.datasets.particles.text_lists import read_csv
from cryoreg.errors import EmptyListError
from cryoreg.folders import ending


def read_particle_list(path: str | Path, unit_told: bool = False) -> ParticleList:
    """Read a list of particles of any kind, as its name and its content say which, or a folder of lists as one.

    Where the unit of coordinates is told by the user (``unit_told``), what the list says of it is not read.
    Raises `DataError`, one line, where coordinates are missing or no numbers, or nothing is listed.
    """
    if os.path.isdir(path):
        return joined(os.path.abspath(path), lists_of_folder(path, unit_told))
    readers: dict[Kind, Callable[[str], ParticleList]] = {
        "star": partial(read_star_list, unit_told=unit_told),
        "dynamo": read_table,
        "table": partial(read_csv, unit_told=unit_told),
        "portal": read_ndjson,
        "copick": read_json,
        "eman2": partial(read_boxes, unit_told=unit_told),
        "peet": partial(read_peet, unit_told=unit_told),
        "emclarity": read_emclarity,
        "cryocat": partial(read_cryocat, unit_told=unit_told),
        "imod": partial(read_imod, unit_told=unit_told),
        "points": read_points,
        "pytom": read_pytom,
        "em": read_em,
        "cbox": read_cbox,
        "coords": read_coords,
    }
    name = os.fspath(path)
    kind = kind_of_list(name) or SUFFIXES.get(ending(name))
    if kind is None:
        refuse(name, f"is not a particle list that can be read ({', '.join(SUFFIXES)}); check the path")
    with guarded(name, "a particle list"):
        particles = readers[kind](name)
    _check_named(particles)
    return particles


def lists_of_folder(folder: str | Path, unit_told: bool = False) -> list[ParticleList]:
    """Read the lists of a folder of such (`lists_in`), but for empty ones; raise `DataError` where it is none."""
    paths, found = lists_in(os.path.abspath(folder)), list[ParticleList]()
    if not paths:
        refuse(folder, f"is no folder of particle lists of one kind, and nothing else ({why_no_lists(folder)})")
    for path in paths:
        with suppress(EmptyListError):
            found.append(read_particle_list(path, unit_told))
    return found or refuse_empty(folder)


def _check_named(particles: ParticleList) -> None:
    """Raise `DataError` where some rows name their tomogram and others none, as tables that were put together do."""
    without = [row for row, tomogram in enumerate(particles.tomograms) if tomogram is None]
    if 0 < len(without) < len(particles):
        refuse(
            particles.path,
            f"names no tomogram in {len(without)} of {len(particles)} rows, the first row {without[0]}; write it there",
        )
