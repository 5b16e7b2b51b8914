"""napari's side: layers from the file that `cryoreg open` writes. napari itself is not imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cryoreg.datasets.authoring import open_tomogram
from cryoreg.errors import DataError
from cryoreg.seams import Shown
from cryoreg_napari.viewer import FORMAT, SUFFIX

LayerData = tuple[Any, dict[str, Any], str]
"""Data, properties and type of a layer, as napari takes them."""
_LIMITS = (0.5, 99.5)
"""Percentiles of the middle section that are black and white."""


def reader_of(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return what reads a file of `cryoreg open`; None for any other, and for several at once."""
    return read if isinstance(path, str) and path.endswith(SUFFIX) else None


def read(path: str | list[str]) -> list[LayerData]:
    """Return the tomogram as an image, and a layer of points for each class; napari's axes are z, y, x.

    Raises `DataError`, one line, where the file is none of `cryoreg open`, or its tomogram cannot be read.
    """
    assert isinstance(path, str)
    return layers(_shown(path))


def layers(shown: Shown) -> list[LayerData]:
    """Return the layers of a tomogram and its particles, in Å."""
    volume = open_tomogram(shown.tomogram).read((slice(None),) * 3)
    limits = np.percentile(volume[volume.shape[0] // 2], _LIMITS).tolist()
    scale = [shown.voxel_size] * 3
    image = {"name": shown.name, "scale": scale, "colormap": "gray", "contrast_limits": limits}
    found: list[LayerData] = [(volume, image, "image")]
    return found + [_points(shown, name, scale) for name in shown.colours if name in shown.classes]


def _points(shown: Shown, name: str, scale: list[float]) -> LayerData:
    rows = [row for row, each in enumerate(shown.classes) if each == name]
    sure = [shown.confidences[row] for row in rows]
    properties = {
        "name": name or "no class",
        "scale": scale,
        "size": np.array([2 * shown.radii[row] / shown.voxel_size for row in rows]),
        "face_color": np.array([*shown.colours[name], 255]) / 255,
        "opacity": 0.6,
        **_as_balls(),
        "features": {
            "id": [shown.ids[row] for row in rows],
            "class": [name] * len(rows),
            "confidence": [np.nan if each is None else each for each in sure],
        },
    }
    return np.array([shown.places[row][::-1] for row in rows]), properties, "points"


def _as_balls() -> dict[str, Any]:
    """Return what lets a point be seen in all sections that its ball meets; napari means to drop the first of these."""
    layers = sys.modules.get("napari.layers")
    old = layers is None or hasattr(layers.Points, "out_of_slice_display")
    return {"out_of_slice_display": True} if old else {"projection_mode": "rescale_spherical"}


def _shown(path: str) -> Shown:
    try:
        said = json.loads(Path(path).read_text("utf-8", "surrogateescape"))
        if said.pop("format") != FORMAT:
            raise ValueError(f"it is not of the format '{FORMAT}'")
        return Shown(**said | {"tomogram": Path(said["tomogram"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: is no file of `cryoreg open` ({error}); write it again") from None
