"""A run's report: one HTML file that opens anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryoreg.beside import beside
from cryoreg.config import Layer
from cryoreg.config.calls import checked
from cryoreg.config.layers import Chosen
from cryoreg.config.settings import FinetuneSettings
from cryoreg.config.starts import Start, is_name, start_of
from cryoreg.errors import ConfigError, OutputError
from cryoreg.files import write_text
from cryoreg.outputs import check_file
from cryoreg.quick_imports import imported_meanwhile, quick_imports
from cryoreg.telling import tell

if TYPE_CHECKING:
    from cryoreg.inference.embedding import Part

NAME = "report.html"
_OF_FEATURES = ("cryoreg.analysis.clustering", "cryoreg.analysis.report.umap")
"""What works out how features lie: slow to import, and without the network."""


class Written(NamedTuple):
    """A report."""

    path: Path
    verdict: str
    """Its verdict in a line."""
    steps: list[str]
    """Commands that it says come next."""


@checked(FinetuneSettings)
def report(
    run: Start,
    output: str | Path | None = None,
    *,
    limit: int = 5000,
    part: Part | None = None,
    data: str | Path | None = None,
    dataset: Chosen = None,
    overwrite: bool = False,
    **settings: object,
) -> Path:
    """Write a run's report as HTML, and return where: ``output``, or report.html in the run directory.

    ``run`` may be the name of weights; the report is then one of the ``data`` alone, and needs an ``output``.
    ``limit`` subtomograms are shown in the map; figures are of ``part`` of the run's own data set (None: test).
    ``data``, ``dataset`` and ``settings`` are as for `cryoreg.embed`. Raises a `CryoregError` where weights or data are
    missing or unfit, or ``output`` exists.
    """
    if limit < 1:
        raise ConfigError(f"limit is {limit}, but should be 1 or more")
    layers = [Layer.of_arguments({"dataset": dataset}, None, settings, data)]
    return run_report(run, layers, None if output is None else Path(output), limit, part, overwrite, say=tell).path


def run_report(
    run: Start,
    layers: Sequence[Layer],
    output: Path | None = None,
    limit: int = 5000,
    part: Part | None = None,
    overwrite: bool = False,
    *,
    alone: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Written:
    """Write a run's report with its own config, over which ``layers`` are laid; see `report`.

    ``alone``: one of the data, as trained weights see them, with nothing about a run. ``say`` gets lines on the data.
    Raises `ConfigError` where it is then not said where to write.
    """
    alone = alone or is_name(start_of(run))
    if alone and output is None:
        raise ConfigError("a report of data alone belongs to no run; say --output FILE.html")
    if output is not None:  # the run's own report is derived, and may be replaced
        check_file(output, overwrite)
    with beside(*_OF_FEATURES) as other:
        with quick_imports():
            from cryoreg.analysis.report.measured import see
            from cryoreg.inference.trained import Trained

        trained = Trained.open(run, layers)
        if output is not None:
            check_file(output, overwrite, trained.inputs())
        output = output or _own_page(trained.path.parent)
        for line in trained.remarks():
            say(line)
        with imported_meanwhile("cryoreg.analysis.report.contents", "cryoreg.analysis.report.page"):
            seen = see(trained, limit, part)
        named = ["--from", str(run)] if is_name(start_of(run)) else ()
        with quick_imports():  # drawing makes many objects, too, among all that was imported
            from cryoreg.analysis.report.contents import gather
            from cryoreg.analysis.report.page import render

            contents = gather(trained, seen, limit, alone, named, other)
    write_text(output, render(contents))
    return Written(output, str(contents.verdict), [step.command for step in contents.steps])


def _own_page(folder: Path) -> Path:
    """Return where a run's own report is written; raise `OutputError`, before the work, where nothing may be."""
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: nothing may be written there; say --output FILE.html")
    return folder / NAME


def compare_runs(
    runs: Sequence[Path],
    layers: Sequence[Layer],
    output: Path,
    part: Part | None = None,
    overwrite: bool = False,
    *,
    say: Callable[[str], object] = lambda line: None,
) -> list[str]:
    """Write a page of runs side by side, and return what it comes to, in lines.

    Raises `ConfigError` where the runs cannot be compared: of two kinds, of other classes, or judged by others.
    """
    from cryoreg.analysis.report.comparison import compare
    from cryoreg.analysis.report.comparison_page import render_comparison

    check_file(output, overwrite)
    found = compare(runs, layers, part, say)
    check_file(output, overwrite, {path for run in found.runs for path in run.trained.inputs()})
    write_text(output, render_comparison(found))
    return found.words
