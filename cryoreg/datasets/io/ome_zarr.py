"""Tomograms in OME-Zarr: images of several levels, of which one is read. Works with zarr 2 and 3."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cryoreg.datasets.io.tomogram import Region, Tomogram
from cryoreg.datasets.io.volume_files import check_kind, guarded, refuse, times
from cryoreg.datasets.io.voxel_sizes import ANGSTROM, edge_length, same_size
from cryoreg.errors import DataError
from cryoreg.files import require_file

_UNSET = (1.0, 1.0, 1.0)
_METADATA = (".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json")
_LONGEST_EDGE = 2**20
_LARGEST_CHUNK = 2**30
_SPACE = ("z", "y", "x")
_CODECS = frozenset(
    (
        *("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "bytes", "transpose", "sharding_indexed"),
        *("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits"),
        *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
    )
)
"""Codecs that turn bytes into numbers and do nothing else."""


class Level(NamedTuple):
    """One array of a multiscale image."""

    path: str
    """Below the image's group."""
    axes: Sequence[str]
    """The name of each axis: t, c, z, y, x."""
    voxel_sizes: tuple[float, float, float] | None
    """Å along x, y, z; None where the metadata do not say."""
    scales: tuple[float, float, float] | None = None
    """The numbers along x, y, z, whatever their unit."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the first voxel lies along z, y, x, Å; 0 where the metadata do not say."""


class OmeZarr(Tomogram):
    """A tomogram in OME-Zarr 0.4 (Zarr 2) or 0.5 (Zarr 3), or in a plain Zarr array; channels and times must be one."""

    def __init__(self, path: str, voxel_size: float | None = None) -> None:
        """Read the metadata; ``voxel_size`` (Å) chooses the level of that size.

        It overrules the level that ``path`` names, and one that states no size. Raises `DataError` where levels state
        their sizes and none is this.
        """
        with guarded(path, "a Zarr image"):
            group, level, finest = _find(path, voxel_size)
        self.path = path
        self._array_path = os.path.join(group, level.path)
        array = self._open()
        _check_size(self._array_path, array)
        check_kind(path, array.dtype)
        self._axes = _check_axes(path, level.axes, array.shape)
        z, y, x = (array.shape[self._axes.index(axis)] for axis in _SPACE)
        self.shape = (z, y, x)
        self.voxel_size = voxel_size or edge_length(path, level.voxel_sizes)
        self.finest_size = None if finest.path == level.path else edge_length(path, finest.voxel_sizes or finest.scales)
        self.notes, self.origin = _notes(level, voxel_size), level.origin

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open array out."""
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def _open(self) -> Any:
        """Return the array, opened once in each process."""
        process, array = getattr(self, "_opened", (None, None))
        if process != os.getpid():
            array = _open(self._array_path)
            self._opened = (os.getpid(), array)
        return array

    def _read(self, region: Region) -> np.ndarray:
        space = dict(zip(_SPACE, region, strict=True))
        with guarded(self.path, "a Zarr array"):
            part = np.asarray(self._open()[tuple(space.get(axis, 0) for axis in self._axes)])
        stored = [axis for axis in self._axes if axis in _SPACE]
        return part.transpose([stored.index(axis) for axis in _SPACE])


def _find(path: str, voxel_size: float | None) -> tuple[str, Level, Level]:
    """Return the group, the level of it that a path, and perhaps a voxel size, means, and its finest level."""
    node = _open(path)
    if not hasattr(node, "shape"):
        found = levels(path, node.attrs.asdict())
        return path, _choose(path, found, voxel_size), _finest(found)
    group, name = os.path.split(os.path.normpath(path))
    around = _levels_around(group)
    for level in around:
        if os.path.normpath(level.path) == name:
            return group, level, _finest(around)
    alone = Level(name, ("t", "c", *_SPACE)[-len(node.shape) :], None)
    return group, alone, alone


def _finest(found: Sequence[Level]) -> Level:
    return min(found, key=lambda level: level.scales or (0.0, 0.0, 0.0))  # min takes the first of equals


def _levels_around(group: str) -> Sequence[Level]:
    if not any(os.path.isfile(os.path.join(group, name)) for name in (".zgroup", "zarr.json")):
        return ()
    attributes = _open(group).attrs.asdict()
    return levels(group, attributes) if "multiscales" in _described(attributes) else ()


def _described(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a group's attributes that is OME's."""
    told = attributes.get("ome", attributes)
    return told if isinstance(told, Mapping) else {}


def _choose(path: str, found: Sequence[Level], voxel_size: float | None) -> Level:
    """Return the level of a voxel size, else the finest where none is asked for, or levels do not state theirs."""
    finest = _finest(found)
    fitting = [level for level in found if voxel_size and _has(level, voxel_size)]
    if fitting or voxel_size is None or not _states_its_size(finest):
        return fitting[0] if fitting else finest
    refuse(
        path,
        f"has levels of {_listed(found)}, none of {voxel_size:g} Å; say the size of one, or name a level to overrule "
        f"its size ({os.path.join(os.path.basename(path), finest.path)})",
    )


def _notes(level: Level, voxel_size: float | None) -> list[str]:
    if voxel_size is None or level.voxel_sizes or level.scales in (None, _UNSET):
        return []
    return [
        f"states no unit; its level {level.path} is taken, of {level.scales[0]:.4g}, as voxels have {voxel_size:g} Å"
    ]


def _has(level: Level, voxel_size: float) -> bool:
    """Tell whether a level is of a voxel size; numbers without unit are taken for Å."""
    sizes = level.voxel_sizes or level.scales
    return sizes is not None and all(same_size(size, voxel_size) for size in sizes)


def _states_its_size(level: Level) -> bool:
    """Tell whether a level says its size: cubes, and not 1 in no unit or any, which stands for "not set"."""
    sizes = level.voxel_sizes or level.scales
    return sizes is not None and sizes != _UNSET and same_size(min(sizes), max(sizes))


def _listed(found: Sequence[Level]) -> str:
    """List the voxel sizes of levels, with their unit where they have one."""
    sizes = [f"{sizes[0]:.4g}" for level in found if (sizes := level.voxel_sizes or level.scales)]
    unit = "Å" if found[0].voxel_sizes else "(no unit)"
    return f"{' and '.join(filter(None, [', '.join(sizes[:-1]), sizes[-1]]))} {unit}"


def _open(path: str) -> Any:
    import zarr

    if not os.path.isdir(path):
        refuse(path, "does not exist (or is a broken link); check the path")
    if zarr.__version__.startswith("2.") and os.path.isfile(os.path.join(path, "zarr.json")):
        refuse(path, f"is of Zarr format 3, which the installed zarr {zarr.__version__} cannot read; install zarr 3")
    with guarded(path, "a Zarr array or group"):
        for name in _METADATA:
            require_file(os.path.join(path, name), DataError)
        if not any(os.path.isfile(os.path.join(path, name)) for name in (".zgroup", ".zarray", "zarr.json")):
            refuse(path, "is neither a Zarr array nor a Zarr group; give an MRC file or an OME-Zarr image")
        _check_codecs(path)
        return zarr.open(path, mode="r")


def _check_size(path: str, array: Any) -> None:
    """Refuse an array of an impossible size, or one of which a whole chunk fills the memory for a single box."""
    if max(array.shape, default=0) > _LONGEST_EDGE:
        refuse(path, f"has an edge of more than {_LONGEST_EDGE:,} voxels by its metadata; write it again")
    chunks = getattr(array, "chunks", None)
    if chunks and math.prod(chunks) * array.dtype.itemsize > _LARGEST_CHUNK:
        refuse(path, f"has chunks of {times(chunks)} voxels, which are read as a whole; write it with smaller ones")


def _check_codecs(path: str) -> None:
    """Refuse an array whose chunks would be decoded by what is not known to be harmless, such as pickle."""
    for name in (".zarray", "zarr.json"):
        file = os.path.join(path, name)
        if os.path.isfile(file):
            with open(file, encoding="utf-8") as stream:
                unknown = next((codec for codec in _codecs(json.load(stream)) if codec not in _CODECS), None)
            if unknown is not None:
                refuse(path, f"is encoded by {unknown!r}, which is not among the codecs of arrays; write it again")


def _codecs(metadata: Any) -> Iterator[str]:
    """Yield the name of each codec of an array, those within shards as well."""
    if not isinstance(metadata, Mapping):
        return
    listed = [metadata.get("compressor"), *(metadata.get("filters") or ())]
    inner = metadata.get("configuration")
    for each in (metadata, inner if isinstance(inner, Mapping) else {}):
        listed += [*(each.get("codecs") or ()), *(each.get("index_codecs") or ())]
    for codec in filter(None, listed):
        known = codec if isinstance(codec, Mapping) else {"id": codec}
        yield str(known.get("id") or known.get("name")).removeprefix("numcodecs.")
        yield from _codecs({"configuration": known.get("configuration")})


def levels(path: str, attributes: Mapping[str, Any]) -> list[Level]:
    """Return the levels of a multiscale image from its group's attributes, the finest first."""
    try:
        image = _described(attributes)["multiscales"][0]
        axes = image.get("axes", "tczyx")
        names = [axis if isinstance(axis, str) else axis["name"] for axis in axes]
        units = [None if isinstance(axis, str) else axis.get("unit") for axis in axes]
        common, shift = _scale(image, len(names)), _translation(image, len(names))
        return [
            Level(
                _below(path, str(each["path"])),
                names,
                *_sizes(names, units, _scale(each, len(names)) * common),
                _origin(names, units, _translation(each, len(names)) * common + shift),
            )
            for each in image["datasets"]
        ]
    except (TypeError, KeyError, IndexError, AttributeError, ValueError):
        refuse(path, "has no OME-Zarr metadata ('multiscales') that can be understood; give the path of its array")


def _below(path: str, name: str) -> str:
    """Return the path of a level; raise `DataError` where it is not below its image."""
    if os.path.isabs(name) or os.pardir in Path(name).parts:
        refuse(path, f"names a level '{name}' outside of it; copy or export it again")
    return name


def _scale(entry: Mapping[str, Any], count: int) -> np.ndarray:
    """Return the product of an entry's scale transformations, NaN where there is none."""
    scales = [each["scale"] for each in entry.get("coordinateTransformations", ()) if each["type"] == "scale"]
    if not scales:
        return np.ones(count) if "datasets" in entry else np.full(count, np.nan)
    return np.prod(np.array(scales, dtype=np.float64).reshape(-1, count), axis=0)


def _translation(entry: Mapping[str, Any], count: int) -> np.ndarray:
    """Return the sum of an entry's translations."""
    moves = [
        each["translation"] for each in entry.get("coordinateTransformations", ()) if each["type"] == "translation"
    ]
    return np.sum(np.array(moves, dtype=np.float64).reshape(-1, count), axis=0)


def _origin(names: Sequence[str], units: Sequence[str | None], moved: np.ndarray) -> tuple[float, float, float]:
    """Return a translation along z, y, x in Å, 0 where a unit is not known."""
    z, y, x = (moved[names.index(axis)] * _angstroms(units[names.index(axis)]) for axis in _SPACE)
    found = (float(z), float(y), float(x))
    return found if all(map(math.isfinite, found)) else (0.0, 0.0, 0.0)


def _angstroms(unit: str | None) -> float:
    """Return Å in a unit, NaN where it is not known."""
    return ANGSTROM.get((unit or "").lower(), math.nan)


def _sizes(
    names: Sequence[str], units: Sequence[str | None], scale: np.ndarray
) -> tuple[tuple[float, float, float] | None, tuple[float, float, float] | None]:
    """Return the scale along x, y, z in Å, None where a unit is not known, and as it is, None where there is none."""
    places = [names.index(axis) for axis in "xyz"]
    numbers = scale[places]
    factors = [_angstroms(units[place]) for place in places]
    return _positive(numbers * factors), _positive(numbers)


def _positive(values: np.ndarray) -> tuple[float, float, float] | None:
    x, y, z = values.tolist()
    return (x, y, z) if x > 0 and y > 0 and z > 0 else None


def _check_axes(path: str, names: Sequence[str], shape: Sequence[int]) -> list[str]:
    """Return the names of the axes; raise `DataError` unless the array is one volume."""
    if len(names) != len(shape) or not set(_SPACE) <= set(names):
        refuse(path, f"has an array of shape {times(shape)} with axes {''.join(names)}, not that of a volume (z, y, x)")
    for name, edge in zip(names, shape, strict=True):
        if name not in _SPACE and edge != 1:
            refuse(path, f"has {edge} volumes along axis {name}; write the one to be used as an image of its own")
    if min(shape[names.index(axis)] for axis in _SPACE) < 2:
        refuse(path, f"is a 2D image ({times(shape)}), not a tomogram; check the path")
    return list(names)
