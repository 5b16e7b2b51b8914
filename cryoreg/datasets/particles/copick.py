"""Points as copick and the CryoET Data Portal write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.volume_files import one_line, refuse, refuse_empty, text_of
from cryoreg.datasets.particles.particle_list import ParticleList, Unit

_TOMOGRAMS = ("run_name", "tomogram", "tomogram_name", "tomo_name")


def read_ndjson(path: str) -> ParticleList:
    """Read the portal's points: in each line an object with a ``location``, x y z in voxels of the tomogram."""
    with one_line(path, "a list of points"):
        points = [_parsed(path, line) for line in read_text_lines(path, "a list of points") if line.strip()]
    return _points(path, points, "voxel", None, None)


def read_json(path: str) -> ParticleList:
    """Read copick's picks: the points of one object in one run, x y z in Å; or an array of the portal's points.

    A point is at its location plus the translation of its ``transformation_``, as copick has it.
    """
    with one_line(path, "a list of points"):
        content = _parsed(path, Path(path).read_text(encoding="utf-8-sig"))
    if isinstance(content, list):
        return _points(path, content, "voxel", None, None)
    if not isinstance(content, dict) or not isinstance(content.get("points"), list):
        refuse(path, "has no 'points' as copick's picks have; check the path")
    if content.get("unit", "angstrom") != "angstrom":
        refuse(path, f"has points in {content['unit']}, not in angstrom; convert them")
    names = {key: content.get(key) for key in ("run_name", "pickable_object_name")}
    run, name = (None if each is None else text_of(path, f"a {key}", each) for key, each in names.items())
    return _points(path, content["points"], "angstrom", run, name)


def _parsed(path: str, text: str) -> Any:
    """Return what a JSON text holds; raise `DataError` where an object has one name twice and would lose one."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        if len(set(names)) < len(names):
            refuse(path, f"has '{next(name for name in names if names.count(name) > 1)}' twice in one object; keep one")
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs)


def _points(path: str, points: Sequence[Any], unit: Unit, run: str | None, name: str | None) -> ParticleList:
    if not points:
        refuse_empty(path)
    places = np.array([_location(path, row, point) for row, point in enumerate(points)])
    tomograms, label = [_tomogram(path, point, run) for point in points], "object" if name else None
    table = pd.DataFrame(places, columns=["x", "y", "z"]).assign(tomogram=tomograms, object=name)
    for key in ("instance_id", "score"):
        table[key] = [point.get(key) for point in points]
    return ParticleList(path, places, unit, tomograms, table, label, class_columns=(label,) if label else ())


def _tomogram(path: str, point: Any, run: str | None) -> str | None:
    """Return the tomogram that a point itself names, as points of several that were put together do; else the run."""
    name = next((point[key] for key in _TOMOGRAMS if point.get(key) is not None), None)
    return run if name is None else text_of(path, "the tomogram of a point", str(name))


def _location(path: str, row: int, point: Any) -> tuple[float, float, float]:
    try:
        x, y, z = (_number(point["location"][axis]) + _shift(point, i) for i, axis in enumerate("xyz"))
    except (TypeError, KeyError, ValueError, IndexError, OverflowError):
        x = y = z = float("nan")
    if not np.isfinite([x, y, z]).all():
        refuse(path, f"has no location with numbers x, y and z in row {row}; mend or remove it")
    return x, y, z


def _shift(point: Any, axis: int) -> float:
    """Return an entry of the last column of copick's matrix from object to tomogram."""
    matrix = point.get("transformation_")
    return _number(matrix[axis][3]) if matrix else 0.0


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)
