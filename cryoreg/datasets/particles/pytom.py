"""PyTom's particle lists (.xml).

PickPosition counts voxels of the volume that its Origin names, from 0: PyTom's boxes begin at position - edge / 2.
Shift is what alignment adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.volume_files import one_line, refuse, refuse_empty, text_of
from cryoreg.datasets.particles.particle_list import ParticleList

_FRAME = "with shifts added"
_LABELS = ("class",)


def read_pytom(path: str) -> ParticleList:
    """Read a list; raise `DataError`, with the first row, where a position or a shift is no number."""
    particles = list(_root(path).iter("Particle"))
    if not particles:
        refuse_empty(path)
    picked = [each.find("PickPosition") for each in particles]
    places = np.array([_numbers(path, row, each, "PickPosition", None) for row, each in enumerate(particles)])
    shifts = np.array([_numbers(path, row, each, "Shift", 0.0) for row, each in enumerate(particles)])
    table = pd.DataFrame(places, columns=["x", "y", "z"]).assign(
        file=[each.get("Filename") for each in particles],
        **{"class": [_attribute(each, "Class", "Name") for each in particles]},
        score=[_attribute(each, "Score", "Value") for each in particles],
    )
    table = table.dropna(axis="columns", how="all")
    tomograms = [None if each is None else _origin(path, each.get("Origin")) for each in picked]
    return ParticleList(
        path,
        places + shifts,
        "voxel",
        tomograms,
        table,
        varied(table, _LABELS),
        tilt_ranges=[_tilts(path, row, each) for row, each in enumerate(particles)],
        frame=_FRAME,
        class_columns=_LABELS,
    )


def _root(path: str) -> ElementTree.Element:
    with one_line(path, "a PyTom particle list"):
        raw = Path(path).read_bytes()
        if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
            refuse(path, "has a document type of its own, which PyTom does not write; remove it")
        try:
            return ElementTree.fromstring(raw)
        except ElementTree.ParseError as error:
            refuse(path, f"is no XML as PyTom writes it ({error}); write it again")


def _numbers(path: str, row: int, particle: ElementTree.Element, name: str, absent: float | None) -> Sequence[float]:
    """Return the X, Y and Z of an element of a particle, ``absent`` where it has none of that name."""
    element = particle.find(name)
    if element is None and absent is not None:
        return [absent] * 3
    try:
        values = [float("nan" if element is None else element.get(axis, "nan")) for axis in "XYZ"]
    except ValueError:
        values = [float("nan")]
    if not np.isfinite(values).all():
        refuse(path, f"has no {name} with numbers X, Y and Z in row {row}; mend or remove it")
    return values


def _attribute(particle: ElementTree.Element, name: str, attribute: str) -> str | None:
    element = particle.find(name)
    return None if element is None else element.get(attribute) or None


def _origin(path: str, name: str | None) -> str | None:
    return text_of(path, "an Origin", name) if name and name.strip() else None


def _tilts(path: str, row: int, particle: ElementTree.Element) -> tuple[float, float] | None:
    """Return the tilts of a single wedge, which is told by the angle that is missing at each end."""
    wedge = particle.find(".//SingleTiltWedge")
    if wedge is None:
        return None
    try:
        low, high = (90 - float(wedge.get(name, "")) for name in ("Angle1", "Angle2"))
    except ValueError:
        return None
    return (-low, high) if 0 < low <= 90 and 0 < high <= 90 else None
