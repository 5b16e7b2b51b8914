"""The picks of a copick project as cryoreg's particles."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cryoreg.datasets.authoring import Described, ParticleBoxes, ParticleList, Placed, refuse
from cryoreg_copick.plain_picks import picks_by_file, plain_name
from cryoreg_copick.tomograms import CopickTomogram, open_project

_SAME_SPACING = 1e-3
_COLUMNS = ["x", "y", "z", "run", "object", "user", "session"]


class Selection(NamedTuple):
    """Which of a project's picks and tomograms to take: the fields of `CopickSpec`; empty or None takes all."""

    objects: tuple[str, ...]
    users: tuple[str, ...]
    sessions: tuple[str, ...]
    runs: tuple[str, ...]
    voxel_spacing: float | None
    tomogram_type: str | None


def open_picks(
    root: str | os.PathLike[str],
    selection: Selection,
    box: int,
    *,
    voxel_size: float | None = None,
    rescale_to: float | None = None,
) -> ParticleBoxes:
    """Return the boxes around a project's picks; raise `DataError`, one line, where there are none or none fit.

    ``box`` is in voxels. ``voxel_size`` (Å) replaces what the tomograms say, but not the spacing by which copick places
    picks in them; ``rescale_to`` (Å) is the boxes' own.
    """
    config = os.fspath(root)
    project = open_project(config)
    table = _table(config, project, selection)
    found = list(_placed(config, project, table, selection, voxel_size))
    told = np.ones((len(table), 1))
    for each, factor in found:
        told[each.rows] = factor  # copick counts by the spacing, whatever size is told
    particles = ParticleList(
        path=config,
        coordinates=told * table[["x", "y", "z"]].to_numpy(dtype=np.float64),
        unit="angstrom",
        tomograms=list(table["run"]),
        columns=table,
        label="object",
    )
    boxes = ParticleBoxes(particles, [each for each, _ in found], box, rescale_to)
    boxes.notes = [*boxes.notes, *_together(table)]
    return boxes


def _table(config: str, project: Any, selection: Selection) -> pd.DataFrame:
    """Return a row for each picked point."""
    _check_names(config, selection.objects, (each.name for each in project.pickable_objects), "object", "objects")
    runs = {run.name: run for run in project.runs}
    _check_names(config, selection.runs, runs, "run", "runs")
    rows: list[tuple[Any, ...]] = []
    for name in selection.runs or sorted(runs):
        for picks in _picks(runs[name], selection):
            told = (name, picks.pickable_object_name, picks.user_id, picks.session_id)
            rows += [(*place, *told) for place in picks.full_positions().tolist()]
    if not rows:
        refuse(config, "has no picks of these objects, users, sessions and runs; check them")
    return pd.DataFrame(rows, columns=_COLUMNS)


def _picks(run: Any, selection: Selection) -> list[Any]:
    """Return the picks of a run that a spec asks for, in an order that depends on nothing but their names."""
    if plain_name(run):
        wanted = (selection.objects, selection.users, selection.sessions)
        every = ((each, (each.pickable_object_name, each.user_id, each.session_id)) for each in picks_by_file(run))
        found = [
            each
            for each, told in every
            if all(not some or name in some for some, name in zip(wanted, told, strict=True))
        ]
    else:
        found = run.get_picks(selection.objects or None, selection.users or None, selection.sessions or None)
    return sorted(found, key=lambda picks: (picks.pickable_object_name, picks.user_id, picks.session_id))


def _check_names(config: str, wanted: Sequence[str], known: Iterable[str], what: str, setting: str) -> None:
    have = sorted(known)
    for name in wanted:
        if name not in have:
            refuse(config, f"has no {what} '{name}' (it has: {', '.join(have)}); check dataset.{setting}")


def _placed(
    config: str, project: Any, table: pd.DataFrame, selection: Selection, voxel_size: float | None
) -> Iterator[tuple[Placed, float]]:
    """Yield the tomogram of each run with picks, the rows of these, and its told voxel size over its spacing."""
    available = {name: _tomograms(project.get_run(name)) for name in dict.fromkeys(table["run"])}
    spacing, kind = _choose(config, available, selection)
    for name, found in available.items():
        match = [each for each in found if _fits(each, spacing, kind)]
        if not match:
            refuse(config, f"has no tomogram '{kind}' at {spacing:g} Å in run '{name}'; leave it out of dataset.runs")
        tomogram = CopickTomogram(config, name, *match[0], voxel_size)
        rows = np.flatnonzero(table["run"] == name)
        yield Placed(tomogram, Described(None), rows), (voxel_size or match[0][0]) / match[0][0]


def _tomograms(run: Any) -> list[tuple[float, str]]:
    return [(spacing.voxel_size, each.tomo_type) for spacing in run.voxel_spacings for each in spacing.tomograms]


def _choose(config: str, available: dict[str, list[tuple[float, str]]], selection: Selection) -> tuple[float, str]:
    """Return the voxel spacing and the type of tomogram that the spec asks for, or the only ones there are."""
    every = {each for found in available.values() for each in found}
    fitting = sorted(each for each in every if _fits(each, selection.voxel_spacing, selection.tomogram_type))
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{kind} at {spacing:g} Å" for spacing, kind in sorted(fitting or every)) or "none"
    what = "several tomograms that fit" if fitting else "no tomogram that fits"
    refuse(config, f"has {what} (of {listed}); choose with dataset.voxel_spacing and dataset.tomogram_type")


def _fits(each: tuple[float, str], spacing: float | None, kind: str | None) -> bool:
    return (spacing is None or abs(each[0] - spacing) <= _SAME_SPACING) and kind in (None, each[1])


def _together(table: pd.DataFrame) -> list[str]:
    """Return a line where one object of one run was picked more than once, which may list particles twice."""
    sources = table.groupby(["run", "object"])[["user", "session"]].apply(lambda rows: len(rows.drop_duplicates()))
    if sources.max() == 1:
        return []
    (run, name), count = sources.idxmax(), sources.max()
    return [
        f"{count} sets of picks of '{name}' in run '{run}' are read together; choose with dataset.users or sessions"
    ]
