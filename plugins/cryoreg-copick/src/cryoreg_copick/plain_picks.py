"""Runs with picks whose files are called after their object alone, as in the phantom data of the CZII challenge.

copick calls them ``<user>_<session>_<object>.json`` and cannot list others, nor those beside them.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from copick.models import CopickPicksFile
from numpy.typing import NDArray

from cryoreg.datasets.authoring import refuse


class PlainPicks(NamedTuple):
    """The picks of one file, as far as a data set asks."""

    pickable_object_name: str
    user_id: str
    session_id: str
    places: NDArray[np.float64]

    def full_positions(self) -> NDArray[np.float64]:
        """Return the places (N, 3), Å: locations plus the translations of their transformations."""
        return self.places


def plain_name(run: Any) -> str | None:
    """Return the first file of a run's picks that is called after its object alone; None where there is none."""
    return next((path for _, path in _files(run) if "_" not in _stem(path)), None)


def picks_by_file(run: Any) -> list[PlainPicks]:
    """Return all picks of a run, whatever they are called; raise `DataError`, one line, where a file is damaged."""
    return [_read(files, path) for files, path in _files(run)]


def _files(run: Any) -> list[tuple[Any, str]]:
    """Return the files of a run's picks, each with the file system that it is in; none of other storage."""
    if not hasattr(run, "fs_overlay"):
        return []
    places = [(run.fs_overlay, run.overlay_path)]
    if not run.static_is_overlay:
        places.append((run.fs_static, run.static_path))
    found = [(files, path) for files, folder in places for path in sorted(files.glob(f"{folder}/Picks/*.json"))]
    return [(files, path) for files, path in found if not _stem(path).startswith(".")]


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".json")


def _read(files: Any, path: str) -> PlainPicks:
    try:
        with files.open(path, "r") as stream:
            content = CopickPicksFile(**json.load(stream))
    except (OSError, ValueError, TypeError) as error:
        refuse(path, f"is no file of copick's picks ({' '.join(str(error).split())[:200]}); write it again")
    if content.unit != "angstrom":
        refuse(path, f"has points in {content.unit}, not in angstrom; convert them")
    points = content.points or []
    places = [[point.location.x, point.location.y, point.location.z] for point in points]
    shifts = [[row[3] for row in (point.transformation_ or np.eye(4))[:3]] for point in points]
    parts = _stem(path).split("_")
    user, session = parts[:2] if len(parts) == 3 else (content.user_id, content.session_id)
    return PlainPicks(parts[-1], user, session, np.array(places).reshape(-1, 3) + np.array(shifts).reshape(-1, 3))
