"""The charts of a report by plotly, without colours of text and paper: the page adds those, light or dark."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from cryoreg.analysis.report.quality import Reliability
from cryoreg.analysis.report.run_facts import Course, Series
from cryoreg.analysis.report.shares import Shares
from cryoreg.inference.evaluate import Evaluation
from cryoreg.proportions import Proportion

PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
"""Petroff 2021, arXiv 2107.02270: ten colours that colour-blind readers tell apart. More classes differ in shape."""
ON_DARK = (
    *("#589fdf", "#ffb227", "#c23115", "#99a8a6", "#9144be"),
    *("#b07766", "#e76503", "#c2b782", "#727682", "#a4e0e2"),
)
"""The same, mixed with white until they stand out from dark paper."""
SYMBOLS = ("circle", "triangle-up", "square", "cross", "diamond", "x", "star", "pentagon")
UNKNOWN = "#888888"
_SHADES = [[0, "#ffffff"], [1, PALETTE[0]]]
"""The page replaces the first by the colour of its own paper."""
_MARGIN = {"l": 56, "r": 16, "t": 36, "b": 44}
_COUNTS_UP_TO = 12
_SHARES_UP_TO = 25
"""Classes up to which there is room for numbers in the confusion matrix."""
_LONGEST_NAME = 18
_PATTERNS = ("", "/", "x", ".")
"""Of the bars of the first ten groups, the next ten, ..."""
_TALLEST = 1400
"""Pixels."""

CURVES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("loss", (("loss", "training"), ("val_loss", "validation"))),
    (
        "validation accuracy",
        (("val_accuracy", "classifier"), ("linear_accuracy", "linear probe"), ("knn_accuracy", "kNN probe")),
    ),
    ("learning rate", (("lr", "learning rate"),)),
    ("rank of the features (RankMe)", (("rankme", "RankMe"),)),
    ("alignment of views (0: they agree)", (("alignment", "alignment"),)),
    ("uniformity (0: features all alike)", (("uniformity", "uniformity"),)),
)
"""Title, and the columns of the logs with their names."""

Spec = dict[str, object]
"""What plotly.js takes: data and layout."""


def curves(course: Course) -> list[Spec]:
    """Return a chart for each group of logged figures that a run has."""
    found = []
    for title, columns in CURVES:
        lines = [line for column, name in columns if (line := _line(course, column, name))]
        if lines:
            ticks = {"yaxis_tickformat": ".0%"} if "accuracy" in title else {}
            found.append(_spec(go.Figure(lines), title, x="epoch", height=240, showlegend=len(lines) > 1, **ticks))
    return found


def _line(course: Course, column: str, name: str) -> go.Scatter | None:
    """Draw a column over epochs: those of steps lie between them, those after an epoch at its end."""
    if column in course.epochs:
        places, values = [epoch + 1 for epoch in course.epochs["epoch"]], course.epochs[column]
    elif column in course.steps:
        places, values = _steps_in_epochs(course), course.steps[column]
    else:
        return None
    known = [(x, y) for x, y in zip(places, values, strict=True) if not math.isnan(y)]
    if not known:
        return None
    x, y = zip(*known, strict=True)
    return go.Scatter(x=x, y=y, name=name, mode="lines+markers" if len(x) < 10 else "lines")


def _steps_in_epochs(course: Course) -> list[float]:
    steps: Series = course.steps
    per_epoch = (steps["step"][-1] + 1) / (steps["epoch"][-1] + 1) if steps["step"] else 1
    return [step / per_epoch for step in steps["step"]]


def confusion(evaluation: Evaluation) -> Spec:
    """Return the confusion matrix: rows true, columns predicted; shaded by the share of the row, in per cent."""
    counts = evaluation.confusion
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    names = [plain(name) for name in evaluation.classes]
    size = len(names)
    heat = go.Heatmap(
        z=shares.round(2).tolist(),
        text=counts.tolist(),
        zmin=0,
        zmax=100,
        colorscale=_SHADES,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "% of row"}, "thickness": 12, "outlinewidth": 0},
        texttemplate=_cell(size),
        hovertemplate="true %{y}<br>predicted %{x}<br>%{text} subtomograms, %{z:.1f} % of the row<extra></extra>",
    )
    figure = go.Figure(heat)
    ticks = {
        "tickmode": "array",
        "tickvals": list(range(size)),
        "ticktext": names,
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
    }
    figure.update_xaxes(**ticks, title="predicted", tickangle=-40 if size > 6 else 0)
    figure.update_yaxes(**ticks, title="true", autorange="reversed")
    return _spec(figure, None, height=140 + min(760, 44 * size), margin={"l": 20, "r": 10, "t": 10, "b": 20})


def _cell(classes: int) -> str:
    if classes <= _COUNTS_UP_TO:
        return "%{text}<br>%{z:.0f} %"
    return "%{z:.0f}" if classes <= _SHARES_UP_TO else ""


def shares(found: Shares) -> Spec:
    """Return a bar for each tomogram, shared out over classes or clusters; pointing tells counts and intervals."""
    totals = found.totals
    bars = []
    for number, name in enumerate(found.groups):
        column = found.counts[:, number]
        counted = [Proportion(int(part), int(total)) for part, total in zip(column, totals, strict=True)]
        bars.append(
            go.Bar(
                y=list(range(len(totals))),
                x=[100 * one.value for one in counted],
                name=plain(name),
                orientation="h",
                marker={
                    "color": PALETTE[number % len(PALETTE)],
                    "pattern": {"shape": _PATTERNS[number // len(PALETTE) % 4]},
                },
                customdata=[[one.right, one.total, str(one.interval)] for one in counted],
                hovertemplate=f"{plain(name)}: %{{customdata[0]}} of %{{customdata[1]}}, "
                "%{x:.0f} % (%{customdata[2]})<extra></extra>",
            )
        )
    figure = go.Figure(bars)
    names = [f"{plain(name)} ({total:,})" for name, total in zip(found.tomograms, totals.tolist(), strict=True)]
    places = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": names}
    figure.update_yaxes(**places, autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, 100], title="% of the tomogram's subtomograms")
    height = 120 + min(_TALLEST, 26 * len(names))
    legend = {"title": {"text": found.what}, "traceorder": "normal"}
    return _spec(
        figure, None, barmode="stack", height=height, legend=legend, margin={"l": 20, "r": 10, "t": 10, "b": 40}
    )


def reliability(found: Sequence[Reliability]) -> Spec:
    """Return accuracy against confidence, with its intervals, and the diagonal on which both agree."""
    lines = [go.Scatter(x=[0, 1], y=[0, 1], name="ideal", mode="lines", line={"dash": "dot", "color": UNKNOWN})]
    for one, colour in zip(found, PALETTE, strict=False):
        lines.append(
            go.Scatter(
                x=[each.confidence for each in one.bins],
                y=[each.accuracy for each in one.bins],
                error_y={
                    "symmetric": False,
                    "array": [each.interval.high - each.accuracy for each in one.bins],
                    "arrayminus": [each.accuracy - each.interval.low for each in one.bins],
                    "thickness": 1,
                },
                customdata=[each.subtomograms for each in one.bins],
                line={"color": colour},
                name=f"{one.name}: ECE {one.error:.3f}",
                mode="lines+markers",
                hovertemplate="confidence %{x:.2f}<br>accuracy %{y:.2f}<br>%{customdata} subtomograms<extra></extra>",
            )
        )
    figure = go.Figure(lines)
    figure.update_yaxes(range=[0, 1.02], title="share that is right")
    figure.update_xaxes(range=[0, 1.02])
    legend = {"x": 0.02, "y": 0.98, "yanchor": "top"}
    return _spec(figure, None, x="confidence", height=380, legend=legend)


def plain(name: str) -> str:
    """Return a name as plotly shows it literally: it would take tags for formatting, and long names for room."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return html.escape(short, quote=False)


def _spec(figure: go.Figure, title: str | None, x: str | None = None, **layout: object) -> Spec:
    figure.update_layout(margin=_MARGIN, colorway=PALETTE)
    figure.update_layout(**layout)
    if title:
        figure.update_layout(title={"text": title, "font": {"size": 14}, "x": 0.02, "xanchor": "left"})
    if x:
        figure.update_xaxes(title=x)
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    return spec
