"""Masks of tomograms, such as lamella or membrane: which belongs to which, and how far places are from them."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from cryoreg.datasets.io.volume_files import limits, refuse, times
from cryoreg.datasets.tomograms.files import Tomogram, open_tomogram
from cryoreg.datasets.tomograms.kinds import is_tomogram, tomograms_in
from cryoreg.datasets.tomograms.matching import match_masks
from cryoreg.errors import ConfigError, DataError

Verb = Literal["keep", "drop", "mark"]
_WRITTEN = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+))\s*(å|a|nm)?\s*", re.I)
_NANOMETRE = 10.0
_WHOLE = 0.005
"""A ratio of voxel sizes that is as near to a whole number is one: headers round."""
_SLAB = 2**24
"""Voxels that are read at once."""
_SOFT = 0.5
"""Above it a mask with values between 0 and 1 is taken to be."""
_SIGNED_ZERO = -128
"""As which IMOD writes 0 where it writes bytes as signed."""


class Where(NamedTuple):
    """What becomes of particles within a distance of a mask."""

    path: Path
    """The mask, or the folder that holds one for each tomogram."""
    verb: Verb
    distance: float
    """Å from the surface of the mask, inclusive; inside it distances are negative."""

    @classmethod
    def parse(cls, path: Path, verb: Verb, text: str) -> Where:
        """Read a distance such as "0", "120A", "12nm" or "-300A"; raise `ConfigError` where it has no unit."""
        found = _WRITTEN.fullmatch(text)
        if found is None or (found[2] is None and float(found[1]) != 0):
            raise ConfigError(f"--where {path} {verb} {text}: write a distance with its unit: 120A, 12nm, -300A or 0")
        return cls(path, verb, float(found[1]) * (_NANOMETRE if (found[2] or "").lower() == "nm" else 1.0))

    @property
    def name(self) -> str:
        """What columns and messages call it: the name of its file or folder."""
        return re.sub(r"\W+", "_", self.path.name.split(".")[0]) or "mask"

    def __str__(self) -> str:
        """Say in words which particles are within the distance."""
        if self.distance == 0:
            return f"inside {self.name}"
        if self.distance < 0:
            return f"{-self.distance:g} Å or deeper inside {self.name}"
        return f"within {self.distance:g} Å of {self.name}"


class Marks(NamedTuple):
    """What a mask says of N places."""

    distances: NDArray[np.float64]
    """(N,): Å from its surface, negative inside."""
    within: NDArray[np.bool_]
    """(N,): whether that is within the distance asked for."""

    def columns(self, name: str, prefix: str = "") -> dict[str, list[str]]:
        """Return the columns of a list, as text, for a mask of some name."""
        first, second = ("distance_", "within_") if not prefix else (f"{prefix}Distance_", f"{prefix}Within_")
        return {
            f"{first}{name}": [f"{distance:.1f}" for distance in self.distances],
            f"{second}{name}": [f"{flag:d}" for flag in self.within],
        }


class Mask:
    """A mask of one tomogram, whose voxels are read when distances are asked for."""

    def __init__(self, where: Where, path: str | Path, tomogram: Tomogram) -> None:
        """Open a mask; raise `DataError` where its voxel size, shape or origin are not those of the tomogram."""
        self.where, self.path, self.file = where, os.fspath(path), open_tomogram(path)
        self._step = _step(self.file, tomogram)
        size = tomogram.voxel_size or (self.file.voxel_size or 0.0) / self._step
        if not size:
            refuse(path, f"tells no voxel size, and neither does {tomogram.path}; say --voxel-size <Å>")
        self._edge = size * self._step
        _check_origin(self.file, tomogram, self._edge)
        self.notes = [] if self.file.top_first == tomogram.top_first else [_on_rows(self.file, tomogram)]
        """What is taken of it that may be otherwise."""

    def distances(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance of places (N, 3), x y z in voxels of the tomogram, from the mask's surface (N,), Å.

        It is that to the middle of the nearest voxel of the other side, less half a voxel: negative inside the mask,
        infinite where the mask has no surface.
        """
        points = np.asarray(places, np.float64)[:, ::-1] / self._step
        voxels = np.clip(np.rint(points).astype(np.int64), 0, np.array(self.file.shape) - 1)
        inside = self._voxels[tuple(voxels.T)]
        found = np.empty(len(points))
        found[~inside] = self._outer.query(points[~inside])[0] - 0.5
        found[inside] = 0.5 - self._inner.query(points[inside])[0]
        return found * self._edge

    def marks(self, places: NDArray[np.float64]) -> Marks:
        """Return how far places (N, 3), x y z in voxels of the tomogram, are, and whether that is within the limit."""
        distances = self.distances(places)
        return Marks(distances, distances <= self.where.distance)

    def allows(self, places: NDArray[np.float64], slack: float = 0.0) -> NDArray[np.bool_]:
        """Tell which places may stay, or might if they moved by ``slack`` (Å); a mask that marks takes none away."""
        if self.where.verb == "mark":
            return np.ones(len(places), dtype=bool)
        distances, limit = self.distances(places), self.where.distance
        return distances <= limit + slack if self.where.verb == "keep" else distances > limit - slack

    @cached_property
    def _voxels(self) -> NDArray[np.bool_]:
        return _inside(self.file)

    @cached_property
    def _outer(self) -> cKDTree:
        return _surface(self._voxels)

    @cached_property
    def _inner(self) -> cKDTree:
        return _surface(~self._voxels)


def masks_for(wheres: Sequence[Where], tomograms: Sequence[Tomogram]) -> list[list[Mask]]:
    """Return the masks of each tomogram, one for each of ``wheres``; raise `DataError` where one is not clear."""
    marking = Counter(where.name for where in wheres if where.verb == "mark")
    if twice := [name for name, count in marking.items() if count > 1]:
        raise ConfigError(
            f"--where: two masks that mark are called '{twice[0]}', as their columns would be; rename one"
        )
    files = [_files(where, [tomogram.path for tomogram in tomograms]) for where in wheres]
    return [
        [Mask(where, of[number], tomogram) for where, of in zip(wheres, files, strict=True)]
        for number, tomogram in enumerate(tomograms)
    ]


def _files(where: Where, tomograms: Sequence[str]) -> list[str]:
    """Return the mask of each tomogram: the only one there is, or from a folder by its name."""
    path = where.path
    if not path.is_dir() or is_tomogram(path):
        if len(tomograms) > 1:
            refuse(path, f"is one mask for {len(tomograms)} tomograms; give a folder with one for each of them")
        return [os.fspath(path)]
    names = {tomogram: os.path.basename(tomogram) for tomogram in tomograms}
    twice = next((one for one, count in Counter(names.values()).items() if count > 1), None)
    if twice:
        one, two = [tomogram for tomogram in names if names[tomogram] == twice][:2]
        refuse(path, f"cannot tell the mask of {one} from that of {two}; select from one folder's tomograms at a time")
    files = tomograms_in(path)
    matches = match_masks(names.values(), files)
    for name in names.values():
        if name not in matches.found:
            near = matches.unclear.get(name)
            have = f"but {', '.join(files[:3])}" if files else "nor any other"
            told = f"may mean {' or '.join(near[:3])}" if near else f"is in the name of no mask ({have})"
            refuse(path, f"{name} {told}; give a folder with one mask for each tomogram, called as that is")
    return [os.fspath(path / matches.found[names[tomogram]].file) for tomogram in tomograms]


# ---- facts ----


def _step(mask: Tomogram, tomogram: Tomogram) -> float:
    """Return the voxels of a tomogram for each of its mask; raise `DataError` where sizes contradict each other."""
    step = _by_shape(mask, tomogram)
    if mask.voxel_size and tomogram.voxel_size:
        told = _whole(mask.voxel_size / tomogram.voxel_size)
        if mask.voxel_size != 1.0 or _fits(mask, tomogram, told):  # 1 Å is what programs write that know none
            step = told
    if not _fits(mask, tomogram, step):
        refuse(
            mask.path,
            f"is no mask of {tomogram.path}: it has {_described(mask)}, the tomogram {_described(tomogram)}; give the "
            "one that was made from it, whole",
        )
    return step


def _by_shape(mask: Tomogram, tomogram: Tomogram) -> float:
    longest = int(np.argmax(tomogram.shape))
    return _whole(tomogram.shape[longest] / mask.shape[longest])


def _whole(ratio: float) -> float:
    for near in (max(1, round(ratio)), 1 / max(1, round(1 / ratio))):
        if abs(ratio - near) <= _WHOLE * near:
            return near
    return ratio


def _fits(mask: Tomogram, tomogram: Tomogram, step: float) -> bool:
    """Tell whether both end at the same place: exactly, or where one is binned within two of the larger voxels."""
    if step == 1:
        return mask.shape == tomogram.shape
    return all(abs(a * step - b) <= 2 * max(step, 1.0) for a, b in zip(mask.shape, tomogram.shape, strict=True))


def _described(volume: Tomogram) -> str:
    size = "an untold size" if volume.voxel_size is None else f"{volume.voxel_size:.4g} Å"
    return f"{times(volume.shape[::-1])} voxels (x y z) of {size}"


def _check_origin(mask: Tomogram, tomogram: Tomogram, edge: float) -> None:
    """Raise `DataError` where a mask says that it begins elsewhere than its tomogram; 0 says nothing."""
    if any(mask.origin) and any(abs(a - b) > edge for a, b in zip(mask.origin, tomogram.origin, strict=True)):
        here, there = (", ".join(f"{place:.4g}" for place in each.origin[::-1]) for each in (mask, tomogram))
        refuse(
            mask.path,
            f"begins at {here} Å (x y z) by its header, and {tomogram.path} at {there} Å; give the mask of the whole "
            "tomogram, or set its header's origin to 0 if it is that",
        )


def _on_rows(mask: Tomogram, tomogram: Tomogram) -> str:
    tiff = mask if mask.top_first else tomogram
    return (
        f"the first row of {tiff.path}, which is TIFF, is taken for the row at y 0 of "
        f"{(tomogram if tiff is mask else mask).path}; where IMOD (mrc2tif), RELION or EMAN2 wrote it, it is the last "
        "one: convert it (tif2mrc)"
    )


# ---- voxels ----


def _inside(mask: Tomogram) -> NDArray[np.bool_]:
    """Return which voxels are in the mask; raise `DataError` where values are neither two nor between 0 and 1."""
    low, high = _limits(mask)
    soft = 0 <= low <= high <= 1
    if soft and 0 < high < _SOFT:
        raise DataError(
            f"{mask.path}: is no mask: it has values from {low:g} to {high:g}, and inside is {_SOFT:g} or more; write "
            "0 and 1"
        )
    outside = low if low == _SIGNED_ZERO and high not in (0, low) else 0
    if not soft and low != high and outside not in (low, high):
        _refuse_values(mask, low, high)
    inside = np.empty(mask.shape, dtype=bool)
    for slab, part in _slabs(mask):
        inside[slab] = part >= _SOFT if soft and high > 0 else part != outside
        if not soft and not np.all((part == low) | (part == high)):
            _refuse_values(mask, low, high)
    return inside


def _refuse_values(mask: Tomogram, low: float, high: float) -> None:
    raise DataError(
        f"{mask.path}: is no mask, which has 0 and one other value, or values from 0 to 1: it holds several from "
        f"{low:g} to {high:g}; write the part that is meant as a mask of its own"
    )


def _slabs(mask: Tomogram) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    depth = max(1, _SLAB // math.prod(mask.shape[1:]))
    for first in range(0, mask.shape[0], depth):
        slab = slice(first, min(mask.shape[0], first + depth))
        yield slab, mask[slab]


def _limits(mask: Tomogram) -> tuple[float, float]:
    found = [limits(part) for _, part in _slabs(mask)]
    return min(low for low, _ in found), max(high for _, high in found)


def _surface(inside: NDArray[np.bool_]) -> cKDTree:
    """Return the voxels (z, y, x) of one side that touch the other by a face, among which the nearest ones are."""
    return cKDTree(np.argwhere(inside & ~binary_erosion(inside, border_value=1)))
