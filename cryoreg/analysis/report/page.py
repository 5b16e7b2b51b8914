"""The page: contents and charts in one HTML file, which needs no other."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from cryoreg import version
from cryoreg.analysis.report import figures
from cryoreg.analysis.report.contents import Contents
from cryoreg.analysis.report.quality import class_rows, reliabilities
from cryoreg.analysis.report.shares import by_number
from cryoreg.files import readable
from cryoreg.inference.embedding import Embedding
from cryoreg.scale_bars import bar_of

_FOLDER = Path(__file__).parent
_DIGITS = 4


def render(contents: Contents) -> str:
    """Return the page. Names, ids and paths are data: jinja2 escapes them in HTML and JSON, the script never parses."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"readable": readable, "number": _number, "percent": _percent}
    evaluation = contents.evaluation
    return environment.get_template("page.html.j2").render(
        contents=contents,
        classes=[] if evaluation is None else class_rows(evaluation),
        charts=_charts(contents),
        payload=payload(contents),
        gradcam="" if isinstance(contents.gradcam, str) else _data_uri("image/webp", contents.gradcam.picture),
        montage="" if contents.clusters is None else _data_uri("image/webp", contents.clusters.montage),
        sprite=_data_uri("image/jpeg", contents.sheet.jpeg),
        version=version.__version__,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        **{name: (_FOLDER / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")},
        plotly=get_plotlyjs(),
    )


def _charts(contents: Contents) -> dict[str, figures.Spec]:
    """Return the charts by the id of the element that they go into."""
    charts = {f"curve-{number}": spec for number, spec in enumerate(figures.curves(contents.course))}
    if contents.shares is not None:
        charts["shares"] = figures.shares(contents.shares)
    if contents.evaluation is not None:
        charts["confusion"] = figures.confusion(contents.evaluation)
        charts["reliability"] = figures.reliability(reliabilities(contents.evaluation))
    return charts


def payload(contents: Contents) -> dict[str, object]:
    """Return what the map's script needs: columns over the shown subtomograms, and where their slices are."""
    shown, sheet = contents.shown, contents.sheet
    return {
        "ids": shown.ids,
        "files": _coded(shown.files) if any(shown.files) else None,
        "rows": shown.rows,
        "colours": _colours(contents),
        "confidence": None if shown.confidences is None else [round(value, 3) for value in shown.confidences.tolist()],
        "layouts": [
            {"name": one.name, "axes": one.axes, "x": _rounded(one.points[:, 0]), "y": _rounded(one.points[:, 1])}
            for one in contents.layouts
        ],
        "neighbours": contents.neighbours.rows.tolist(),
        "cosine": np.round(contents.neighbours.cosine.astype(float), 3).tolist(),
        "sheet": {"columns": sheet.columns, "pitch": sheet.pitch, "tile": sheet.tile},
        "bar": _bar(contents),
        "colour": "label" if any(shown.labels) else "cluster",
        "palettes": {"light": figures.PALETTE, "dark": figures.ON_DARK},
        "symbols": figures.SYMBOLS,
        "unknown": figures.UNKNOWN,
    }


def _colours(contents: Contents) -> dict[str, object]:
    """Return the columns to colour by: name -> names of the values and, for each subtomogram, which it has.

    Labels and predictions have the same names, so that a class has one colour, also where it is never predicted.
    """
    shown, clusters = contents.shown, contents.clusters
    further = {label for label in shown.labels if label is not None} - {*shown.classes}
    classes = [*shown.classes, *sorted(further, key=by_number)]
    columns: dict[str, Sequence[str | None] | None] = {
        "label": shown.labels,
        "prediction": shown.predictions,
        "right or wrong": _verdicts(shown),
        "split": shown.parts,
        "tomogram": shown.groups,
    }
    found: dict[str, object] = {
        name: _coded(values, classes if name in ("label", "prediction") else None)
        for name, values in columns.items()
        if values is not None and any(values)
    }
    if clusters is not None:
        names = [str(number + 1) for number in range(len(clusters.found.sizes))]
        found["cluster"] = {"names": names, "codes": clusters.found.clusters.tolist()}
    return found


def _bar(contents: Contents) -> dict[str, object]:
    """Return the scale bar of every slice: which share of its width it takes, and what it says."""
    bar = bar_of(contents.width, contents.voxel_size)
    return {"share": round(bar.voxels / contents.width, 4), "text": bar.text}


def _verdicts(shown: Embedding) -> list[str | None] | None:
    if shown.predictions is None:
        return None
    pairs = zip(shown.labels, shown.predictions, strict=True)
    return [None if label is None else "right" if label == said else "wrong" for label, said in pairs]


def _coded(values: Sequence[str | None], names: Sequence[str] | None = None) -> dict[str, object]:
    """Return names, by default those that there are, and which of them each value is; -1 for None."""
    if names is None:
        names = sorted({value for value in values if value is not None}, key=by_number)
    numbers = {name: number for number, name in enumerate(names)}
    return {"names": names, "codes": [-1 if value is None else numbers[value] for value in values]}


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"
