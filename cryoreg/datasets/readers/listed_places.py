"""Where the particles of a list lie in their tomograms, for whoever needs places and no boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cryoreg.config.project import Project, facts_for
from cryoreg.config.validation import absolute
from cryoreg.datasets.io.volume_files import together
from cryoreg.datasets.particles.assumptions import assumptions
from cryoreg.datasets.particles.coordinates import Placed, unit_of
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.readers.tomogram import locate, place_particles
from cryoreg.datasets.stated import check_places, check_sizes, words
from cryoreg.datasets.tomograms.files import header_sizes, notes_on
from cryoreg.specs import Stated


class ListedPlaces(NamedTuple):
    """N particles."""

    particles: ParticleList
    placed: Sequence[Placed]
    places: NDArray[np.float64]
    """(N, 3): x, y, z in voxels of the tomogram, shifts included, the first voxel being 0."""
    notes: Sequence[str]
    """What a project file said, and what was assumed of unit and tomograms."""

    def unit_sizes(self) -> NDArray[np.float64] | None:
        """Return Å per unit of each particle's coordinates, (N,), where the list does not say; None where nobody does.

        It is what tomograms.star tells, else the voxel size of the tomogram.
        """
        found = np.empty(len(self.places))
        for each in self.placed:
            size = unit_of(self.particles, each) or each.tomogram.voxel_size
            if size is None:
                return None
            found[each.rows] = size
        return found


def listed_places(
    path: str | Path,
    tomograms: Path | None = None,
    voxel_size: float | None = None,
    coordinate_size: float | None = None,
    project: Project | None = None,
) -> ListedPlaces:
    """Find the particles of a list in their tomograms.

    ``tomograms``, ``voxel_size`` (Å) and ``coordinate_size`` (Å per unit) are what the user says, as of data sets; a
    ``project`` says what of that is left out. Raises a `CryoregError`, one line, where a tomogram is not clear, a
    particle lies outside of it, or a file contradicts the project.
    """
    particles = read_particle_list(path, unit_told=coordinate_size is not None)
    facts, stated = _stated(project, Path(path), {"tomograms": tomograms, "voxel_size": voxel_size})
    folder = cast(Path | None, facts.get("tomograms", tomograms))
    size = cast(float | None, facts.get("voxel_size", voxel_size))
    placed = place_particles(particles, folder, size, coordinate_size)
    if stated is not None:
        files = [each.tomogram.path for each in placed]
        check_places(files, stated)
        check_sizes(lambda: header_sizes(files), size, stated)
    places = locate(particles, placed, coordinate_size)
    notes = [f"{words(facts)} from {stated.file}"] if stated else []
    notes += together(notes_on(each.tomogram for each in placed))
    notes += assumptions(particles, placed, places, coordinate_size)
    return ListedPlaces(particles, placed, places, notes)


def tells_of(project: Project | None, path: str | Path) -> bool:
    """Tell whether a project says anything of the tomograms of a list."""
    return bool(_stated(project, Path(path), {"tomograms": None, "voxel_size": None})[0])


def _stated(project: Project | None, path: Path, said: Mapping[str, object]) -> tuple[dict[str, object], Stated | None]:
    """Return what a project says of a list's tomograms of which nothing is ``said``, and that it says so."""
    if project is None:
        return {}, None
    told = {key: value for key, value in said.items() if value is not None}
    facts, source = facts_for(project, "tomogram", absolute(path), told)
    asked = {key: facts[key] for key in said if key in facts}
    return asked, source.stated(asked) if asked else None
