"""Runs side by side as one HTML file, without a script but for light and dark."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from PIL import Image

from cryoreg import version
from cryoreg.analysis.report.comparison import Comparison, Contender, Pair, ids_in_order
from cryoreg.analysis.report.layout import nearest
from cryoreg.analysis.report.quality import class_rows
from cryoreg.analysis.report.sprites import in_grey, small_slice, tile_size
from cryoreg.files import readable
from cryoreg.scale_bars import Bar, bar_of

_FOLDER = Path(__file__).parent
_SHOWN = 6
"""Subtomograms of each kind that are shown of a pair."""


class Row(NamedTuple):
    """A figure of every run."""

    name: str
    cells: list[str]
    bars: list[tuple[float, float, float] | None]
    """Of a share with an interval: low, value, high."""


class Tile(NamedTuple):
    """A subtomogram."""

    id: str
    image: str
    """A data URI."""
    said: str
    """Its label, and what the runs say."""


class Differ(NamedTuple):
    """Subtomograms on which only one of two runs is right."""

    title: str
    tiles: list[Tile]


def render_comparison(found: Comparison) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["readable"] = readable
    dataset = found.runs[0].trained.dataset
    bar = bar_of(dataset.box[2], dataset.voxel_size)
    return environment.get_template("comparison.html.j2").render(
        found=found,
        rows=_rows_of_classifiers(found.runs) if found.classifies else _rows_of_encoders(found.runs),
        recalls=_recalls(found.runs),
        differences=[one for pair in found.pairs for one in _differences(found.runs, pair)],
        bar=Bar(100 * bar.voxels / dataset.box[2], bar.text),
        judged=len(found.runs[0].judged),
        version=version.__version__,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        css=(_FOLDER / "page.css").read_text(encoding="utf-8"),
    )


def _rows_of_classifiers(runs: Sequence[Contender]) -> list[Row]:
    evaluations = [run.evaluation for run in runs if run.evaluation is not None]
    if len(evaluations) < len(runs):
        return []
    accuracies = [one.proportion for one in evaluations]
    errors = [one.calibration_error for one in evaluations]
    plain: list[tuple[float, float, float] | None] = [None] * len(runs)
    return [
        Row(
            "accuracy",
            [f"{100 * one.value:.1f} % ({one.interval})" for one in accuracies],
            [(one.interval.low, one.value, one.interval.high) for one in accuracies],
        ),
        Row("macro-F1", [f"{one.macro_f1:.3f}" for one in evaluations], plain),
        Row(
            "expected calibration error",
            [f"{one['before'] if one['after'] is None else one['after']:.3f}" for one in errors],
            plain,
        ),
    ]


def _rows_of_encoders(runs: Sequence[Contender]) -> list[Row]:
    plain: list[tuple[float, float, float] | None] = [None] * len(runs)
    rows = []
    if all(run.clusters is not None for run in runs):
        found = [run.clusters for run in runs if run.clusters is not None]
        rows.append(Row("clusters", [str(len(one.sizes)) for one in found], plain))
        rows.append(Row("their stability from run to run", [f"{one.stability:.3f}" for one in found], plain))
    pairs = [nearest(run.judged.features).agreement(run.judged.labels) for run in runs]
    if not any(np.isnan(same) for same, _ in pairs):
        cells = [f"{100 * same:.0f} % (by chance {100 * chance:.0f} %)" for same, chance in pairs]
        rows.append(Row("nearest neighbours of the same label", cells, plain))
    return rows


def _recalls(runs: Sequence[Contender]) -> list[Row]:
    """Return the accuracy of every class in every run."""
    if any(run.evaluation is None for run in runs):
        return []
    tables = [{row.name: row for row in class_rows(run.evaluation)} for run in runs if run.evaluation is not None]
    found = []
    for name, first in tables[0].items():
        cells = ["–" if np.isnan(table[name].accuracy) else f"{100 * table[name].accuracy:.0f} %" for table in tables]
        found.append(Row(f"{name} ({first.subtomograms})", cells, [None] * len(runs)))
    return found


def _differences(runs: Sequence[Contender], pair: Pair) -> list[Differ]:
    first, second = runs[pair.first], runs[pair.second]
    found = []
    for right, wrong, rows in ((first, second, pair.only_first), (second, first, pair.only_second)):
        if len(rows):
            title = f"Only {right.name} is right, {wrong.name} is not: {len(rows)}"
            names = [ids_in_order(first)[row] for row in rows[:_SHOWN].tolist()]
            found.append(Differ(title, [_tile(right, wrong, name) for name in names]))
    return found


def _tile(right: Contender, wrong: Contender, name: str) -> Tile:
    place, other = right.judged.ids.index(name), wrong.judged.ids.index(name)
    dataset = right.trained.dataset
    size = tile_size(dataset.box[1:])
    image = in_grey(small_slice(dataset[int(right.judged.samples[place])].volume.numpy(), size))
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    label, said = right.judged.labels[place], (wrong.judged.predictions or [""] * (other + 1))[other]
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Tile(name, uri, f"{label}, not {said}")
