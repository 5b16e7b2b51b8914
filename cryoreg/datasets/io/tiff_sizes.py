"""The voxel size that a TIFF file states: in the words of OME or ImageJ, else by its resolution."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

from cryoreg.datasets.io.voxel_sizes import ANGSTROM

_MICROSCOPY = (0.1, 1000.0)
"""Å: what a resolution in inches or cm must come to; 72 dots per inch are no voxel size."""
_INCH, _CENTIMETRE = 2, 3
_UNIT = {_INCH: 2.54e8, _CENTIMETRE: 1e8}
"""Å."""
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
Sizes = tuple[float, float, float]


def voxel_sizes(tiff: Any) -> Sizes | None:
    """Return Å along x, y, z of a file opened by tifffile; None where it does not say."""
    if tiff.is_ome:
        return _of_ome(tiff.ome_metadata)
    if tiff.is_imagej:
        return _of_imagej(tiff.imagej_metadata or {}, tiff.pages[0].tags)
    return _of_resolution(tiff.pages[0].tags)


def _of_ome(text: str) -> Sizes | None:
    pixels = next((each for each in ElementTree.fromstring(text).iter() if each.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    found = [_length(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XYZ"]
    return _filled(*found)


def _of_imagej(metadata: dict[str, Any], tags: Any) -> Sizes | None:
    unit = str(metadata.get("unit", ""))
    x, y = (_inverse(tags, code) for code in (_X_RESOLUTION, _Y_RESOLUTION))
    z = metadata.get("spacing")
    return _filled(*(_length(each, unit) for each in (x, y, z)))


def _of_resolution(tags: Any) -> Sizes | None:
    unit = _UNIT.get(int(tags[_RESOLUTION_UNIT].value) if _RESOLUTION_UNIT in tags else _INCH)
    sizes = [_inverse(tags, code) for code in (_X_RESOLUTION, _Y_RESOLUTION)]
    x, y = (each * unit if unit and each else None for each in sizes)
    if not (x and y and all(_MICROSCOPY[0] <= each <= _MICROSCOPY[1] for each in (x, y))):
        return None
    return _filled(x, y, None)


def _inverse(tags: Any, code: int) -> float | None:
    """Return the reciprocal of a resolution, a fraction of whole numbers."""
    if code not in tags:
        return None
    above, below = tags[code].value
    return below / above if above and below else None


def _length(value: Any, unit: str) -> float | None:
    """Return a length in Å; None where value or unit are not known."""
    factor = ANGSTROM.get(unit.replace("\\u00B5", "µ").replace("\\u00C5", "Å").strip().lower())
    try:
        length = float(value) * factor if factor else 0.0
    except (TypeError, ValueError):
        return None
    return length if 0 < length < math.inf else None


def _filled(x: float | None, y: float | None, z: float | None) -> Sizes | None:
    """Return sizes of which that along z, if it is not stated, is that along x."""
    return (x, y, z or x) if x and y else None
