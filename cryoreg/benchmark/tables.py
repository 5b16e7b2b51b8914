"""Scores of single runs as tables: mean ± standard deviation, a t-test against random weights, the paper's figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from cryoreg.benchmark.spreads import varies
from cryoreg.benchmark.study import RANDOM

NONE = "–"
_SAME = 1e-9
_STARS = ((0.01, "**"), (0.05, "*"))
CSV_COLUMNS = (
    *("data", "encoder", "setting", "start", "labels", "figure"),
    *("n", "mean", "sd", "difference", "p", "paper_mean", "paper_difference", "p_paired", "paper_sd"),
)


class Score(NamedTuple):
    """One run's figures on the test split, in 0..1."""

    data: str
    encoder: str
    setting: str
    start: str
    labels: str
    """The column."""
    seed: int
    figures: Mapping[str, float]
    per_class: Mapping[str, float] = {}


class PaperFigure(NamedTuple):
    """An accuracy that a paper reports, percent."""

    data: str
    setting: str
    start: str
    labels: str
    mean: float
    sd: float | None = None
    """Standard deviation over the paper's runs; None where it reports none."""


Runs = list[tuple[int, float]]
"""Seeds and their figures, percent."""


class Row(NamedTuple):
    """What all runs of a row share."""

    data: str
    encoder: str
    setting: str
    start: str


class Summary(NamedTuple):
    """A cell of a table, percent."""

    n: int
    mean: float
    sd: float | None
    """Standard deviation over the runs, with n − 1; None for a single run."""
    difference: float | None
    """Difference of the means from that of random weights; None where there are none to compare with."""
    p: float | None
    """Two-tailed p of Welch's t-test against random weights; None where either has fewer than two runs."""
    paper: float | None
    paired: float | None = None
    """Two-tailed p of the paired t-test; None where the seeds of both are not the same, two at least."""
    paper_sd: float | None = None

    @property
    def paper_difference(self) -> float | None:
        """Our mean minus the paper's."""
        return None if self.paper is None else self.mean - self.paper


class Table(NamedTuple):
    """A figure of all rows and columns."""

    figure: str
    rows: list[Row]
    labels: list[str]
    cells: dict[tuple[Row, str], Summary]


def summarise(scores: Iterable[Score], figure: str = "accuracy", paper: Iterable[PaperFigure] = ()) -> Table:
    """Return mean and standard deviation over seeds of each cell, and how it compares with random weights.

    Rows and columns stand in the order of their first scores; runs without the figure are left out. Stars are those of
    the unpaired t-test, as in the paper, which does not assume equal variances (Welch 1947). Runs of one seed share
    their labelled subset: the paired test makes use of that, and stands beside it in the CSV file.
    """
    runs: dict[tuple[Row, str], Runs] = {}
    for score in scores:
        row = Row(score.data, score.encoder, score.setting, score.start)
        if figure in score.figures:
            runs.setdefault((row, score.labels), []).append((score.seed, 100 * score.figures[figure]))
    reported = {each[:4]: each for each in paper}
    cells = {
        (row, labels): _summary(
            own,
            runs.get((row._replace(start=RANDOM), labels), []) if row.start != RANDOM else [],
            reported.get((row.data, row.setting, row.start, labels)),
        )
        for (row, labels), own in runs.items()
    }
    rows = sorted(dict.fromkeys(row for row, _ in runs), key=_in_order([row for row, _ in runs]))
    return Table(figure, rows, list(dict.fromkeys(labels for _, labels in runs)), cells)


def _in_order(rows: Sequence[Row]) -> Callable[[Row], list[int]]:
    """Return a sort key that keeps rows of one data set, encoder and setting together, each part as first seen."""
    places = [list(dict.fromkeys(row[part] for row in rows)) for part in range(len(Row._fields))]
    return lambda row: [place.index(value) for place, value in zip(places, row, strict=True)]


def _summary(runs: Runs, random: Runs, paper: PaperFigure | None) -> Summary:
    values, others = [value for _, value in runs], [value for _, value in random]
    n = len(values)
    sd = float(np.std(values, ddof=1)) if n > 1 else None
    difference = float(np.mean(values) - np.mean(others)) if others else None
    return Summary(
        n=n,
        mean=float(np.mean(values)),
        sd=sd,
        difference=difference,
        p=welch(values, others),
        paper=None if paper is None else paper.mean,
        paired=paired(runs, random),
        paper_sd=None if paper is None else paper.sd,
    )


def welch(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Return the two-tailed p-value of Welch's t-test; None where one side has fewer than two runs or none vary."""
    if min(len(values), len(others)) < 2:
        return None
    moments = [(np.mean(side), _spread(side), len(side)) for side in (values, others)]
    if not any(sd for _, sd, _ in moments):
        return None
    return float(stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue)


def paired(runs: Runs, others: Runs) -> float | None:
    """Return the two-tailed p-value of the paired t-test; None where seeds differ, or differences do not vary."""
    seeds = [seed for seed, _ in runs]
    if len(seeds) < 2 or len(set(seeds)) < len(seeds) or sorted(seeds) != sorted(seed for seed, _ in others):
        return None
    before = dict(others)
    differences = [value - before[seed] for seed, value in runs]
    return float(stats.ttest_1samp(differences, 0).pvalue) if _spread(differences) else None


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation with n − 1, without the rounding noise of equal values."""
    sd = float(np.std(values, ddof=1))
    return sd if sd > _SAME else 0.0


def to_markdown(table: Table) -> str:
    """Return a table with one row for each start and one column for each share of labels, and a note on its signs."""
    if not table.rows:
        return "no runs"
    above = ", ".join(f"{name}: {value}" for name, value in _constant(table).items())
    return "\n\n".join(filter(None, [above, markdown(text_rows(table)), _note(table)]))


def text_rows(table: Table) -> list[list[str]]:
    """Return head and rows as texts, for `markdown` or for rich; what is the same in all rows is left out."""
    constant = _constant(table)
    names = [name for name in Row._fields if name not in constant]
    head = [*names, "n", *table.labels]
    return [
        head,
        *([*(getattr(row, name) for name in names), _counts(table, row), *_texts(table, row)] for row in table.rows),
    ]


def _constant(table: Table) -> dict[str, str]:
    """Return the parts of rows that are the same in all."""
    first = table.rows[0] if table.rows else None
    return {
        name: getattr(first, name)
        for name in Row._fields[:-1]
        if first is not None and all(getattr(row, name) == getattr(first, name) for row in table.rows)
    }


def _counts(table: Table, row: Row) -> str:
    counts = {table.cells[row, labels].n for labels in table.labels if (row, labels) in table.cells}
    return NONE if not counts else str(min(counts)) if len(counts) == 1 else f"{min(counts)}–{max(counts)}"


def _texts(table: Table, row: Row) -> list[str]:
    return [text_of(table.cells.get((row, labels))) for labels in table.labels]


def text_of(cell: Summary | None) -> str:
    """Write a cell: mean ± sd, the gain over random weights with stars, the paper's figure and the gain over that."""
    if cell is None:
        return NONE
    text = _with_sd(cell.mean, cell.sd)
    if cell.difference is not None:
        text += f" ({cell.difference:+.1f}{_stars(cell.p)})"
    if cell.paper is None:
        return text
    return f"{text} [{_with_sd(cell.paper, cell.paper_sd)}, {cell.paper_difference:+.1f}]"


def _with_sd(mean: float, sd: float | None) -> str:
    return f"{mean:.1f} ± {sd:.1f}" if varies(sd) else f"{mean:.1f}"


def _stars(p: float | None) -> str:
    return next((stars for limit, stars in _STARS if p is not None and p < limit), "")


def _note(table: Table) -> str:
    cells = table.cells.values()
    said = ["n: runs, of different seeds", "±: standard deviation over them" * any(varies(c.sd) for c in cells)]
    said.append("runs that do not differ have no ±" * any(c.sd is not None and not varies(c.sd) for c in cells))
    if any(cell.difference is not None for cell in cells):
        said.append("(gain over random weights, points; * p < 0.05, ** p < 0.01, two-tailed Welch t-test)")
        if all(cell.p is None for cell in cells):
            said[-1] = "(gain over random weights, points; no test: it takes two runs on either side)"
    if any(cell.n == 1 for cell in cells):
        said.append("a single run has neither ± nor test")
    sd = " ± its standard deviation" * any(cell.paper_sd is not None for cell in cells)
    said.append(f"[the paper's accuracy{sd}, ours minus that]" * any(cell.paper is not None for cell in cells))
    return "; ".join(filter(None, said)) + "."


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write rows, the first of which is the head, as a Markdown table aligned for a terminal too."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def to_csv(tables: Sequence[Table]) -> str:
    """Return one line for each figure of each cell, percent; what is unknown stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for (row, labels), cell in table.cells.items():
            compared = (cell.difference, cell.p, cell.paper, cell.paper_difference, cell.paired, cell.paper_sd)
            numbers = (cell.mean, cell.sd, *compared)
            shown = ("" if number is None else f"{number:.6g}" for number in numbers)
            writer.writerow((*row, labels, table.figure, cell.n, *shown))
    return text.getvalue()


def to_latex(table: Table) -> str:
    """Return a tabular for the package booktabs, the note below it as a comment."""
    names = list(Row._fields)
    head = " & ".join(map(_escaped, [*names, "n", *table.labels])) + r" \\"
    lines = [" & ".join(map(_escaped, [*row, _counts(table, row), *_texts(table, row)])) + r" \\" for row in table.rows]
    columns = "l" * len(names) + "r" * (1 + len(table.labels))
    body = "\n".join([head, r"\midrule", *lines])
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n% {_note(table)}\n"


def _escaped(text: str) -> str:
    special = {**{c: rf"\{c}" for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    signs = {"±": r"$\pm$", NONE: "--", "^": r"\textasciicircum{}", "³": r"$^3$", "∞": r"$\infty$"}
    signs |= {"[": "{[}", "<": r"\textless{}", ">": r"\textgreater{}"}  # after \\, a bare [ would start an option
    return "".join((special | signs).get(character, character) for character in text)


def per_class_markdown(scores: Iterable[Score]) -> str:
    """Return the accuracy of each class, percent, mean over seeds: one row for each row and share of labels."""
    runs: dict[tuple[str, ...], list[Mapping[str, float]]] = {}
    for score in scores:
        runs.setdefault((score.data, score.encoder, score.setting, score.start, score.labels), []).append(
            score.per_class
        )
    classes = list(dict.fromkeys(name for each in runs.values() for per_class in each for name in per_class))
    rows = [
        [*key, *(_mean_percent([run[name] for run in each if name in run]) for name in classes)]
        for key, each in runs.items()
    ]
    return markdown([[*Row._fields, "labels", *classes], *rows]) + "\n"


def _mean_percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.0f}" if values else NONE
