"""Boxes that EMAN2 keeps in a tomogram's info file (``info/<tomogram>_info.json``).

Coordinates count from the middle of the tomogram, voxel size // 2, in pixels of the tilt series (``apix_unbin``): the
metadata of 2018-09 and later, as e2spt_boxer reads them. Each box is x, y, z, how it was picked, a score and a class,
of which ``class_list`` has the name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.volume_files import one_line, refuse, refuse_empty, text_of
from cryoreg.datasets.particles.particle_list import ParticleList

SIZE = "apix_unbin"
_ENDING = "_info"
_LABELS = ("class",)


def read_content(path: str) -> dict[str, Any]:
    """Return what an info file holds; raise `DataError` where it has no boxes."""
    with one_line(path, "boxes of EMAN2"):
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict) or not isinstance(content.get("boxes_3d"), list):
        refuse(path, "has no list 'boxes_3d' as EMAN2's info files have; check the path")
    return content


def read_boxes(path: str, unit_told: bool = False) -> ParticleList:
    """Read the boxes of one tomogram; raise `DataError`, with the first row, where a place is no number."""
    content = read_content(path)
    boxes = content["boxes_3d"]
    if not boxes:
        refuse_empty(path)
    places = np.array([_place(path, row, box) for row, box in enumerate(boxes)])
    sizes = None if unit_told else np.full(len(boxes), _size(path, content))
    table = pd.DataFrame(places, columns=["x", "y", "z"]).assign(
        score=[box[4] if len(box) > 4 else None for box in boxes],
        **{"class": [_class_of(path, content, box) for box in boxes]},
    )
    table = table.dropna(axis="columns", how="all")
    return ParticleList(
        path,
        places,
        "middle",
        [_tomogram(path)] * len(boxes),
        table,
        varied(table, _LABELS),
        sizes,
        class_columns=_LABELS,
    )


def _size(path: str, content: Mapping[str, Any]) -> float:
    size = content.get(SIZE)
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < np.inf:
        refuse(
            path,
            f"has no {SIZE}, the Å of a pixel of the tilt series: boxes of before September 2018 count from elsewhere; "
            "open and save them in e2spt_boxer, or export CSV",
        )
    return float(size)


def _place(path: str, row: int, box: Any) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in box[:3] if not isinstance(value, bool))
    except (TypeError, ValueError, OverflowError):
        x = y = z = float("nan")
    if not np.isfinite([x, y, z]).all():
        refuse(path, f"has no box with numbers x, y and z in row {row}; mend or remove it")
    return x, y, z


def _class_of(path: str, content: Mapping[str, Any], box: Any) -> str | None:
    """Return the name of a box's class, its number where the file has no name for it."""
    if len(box) < 6:
        return None
    classes = content.get("class_list")
    told = classes.get(str(box[5])) if isinstance(classes, dict) else None
    name = told.get("name") if isinstance(told, dict) else None
    return text_of(path, "the name of a class", str(box[5]) if name is None else name)


def _tomogram(path: str) -> str:
    return Path(path).stem.removesuffix(_ENDING)
