"""`cryoreg report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg_cli import options, run_options, terminal
from cryoreg_cli.run_options import INFER

if TYPE_CHECKING:
    from cryoreg.inference.embedding import Part


@options.command()
@run_options.network
@run_options.options(INFER)
@click.option(
    "--part",
    type=click.Choice(["test", "val", "train", "all"]),
    help="The figures are of this part. [test; all where another data set is given]",
)
@click.option("--limit", type=click.IntRange(1), default=5000, help="Show so many subtomograms in the map.")
@options.output("The page to write. [RUN/report.html]", required=False)
@options.OVERWRITE
@options.quietable
def report(
    run: Path | None,
    start: str | None,
    part: Part | None,
    limit: int,
    output: Path | None,
    overwrite: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Write a report of RUN as one HTML page, which opens offline.

    Settings, training curves, confusion matrix, an interactive map of the features, nearest neighbours, clusters,
    Grad-CAM, mistakes and calibration. --from trained weights it is one of the data alone, for which no run is needed.
    """
    from cryoreg.analysis.report import run_report

    layers = run_options.layers(INFER, given, assignments)
    network = run_options.network_of(run, start)
    written = run_report(network, layers, output, limit, part, overwrite, alone=run is None, say=run_options.warn)
    terminal.written(written, f"report    {written} ({written.stat().st_size / 1e6:.1f} MB)")
