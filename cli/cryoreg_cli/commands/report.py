"""`cryoreg report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import describing, network_options, options, setting_options, terminal
from cryoreg_cli.setting_options import INFER

if TYPE_CHECKING:
    from cryoreg.config import Layer
    from cryoreg.inference.embedding import Part


@options.command()
@network_options.networks
@setting_options.options(INFER)
@click.option(
    "--part",
    type=click.Choice(["test", "val", "train", "all"]),
    help="The figures are of this part. [test; all where another data set is given]",
)
@click.option("--limit", type=click.IntRange(1), default=5000, help="Show so many subtomograms in the map.")
@options.output("The page to write. [RUN/report.html; comparison.html of several]", required=False)
@options.OVERWRITE
@options.jsonable
@options.quietable
def report(
    runs: tuple[Path, ...],
    start: str | None,
    part: Part | None,
    limit: int,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Write a report of RUN, or several RUNs side by side, as one HTML page, which opens offline.

    Whether to trust it and what to do next, in words; settings, training curves, confusion matrix, a map of
    the features, nearest neighbours, tomograms, clusters, Grad-CAM, mistakes and calibration. --from trained weights it
    is one of the data alone, for which no run is needed. Runs side by side must be judged by the same subtomograms.
    """
    from cryoreg.analysis.report import run_report
    from cryoreg.files import readable

    layers = setting_options.layers(INFER, given, assignments)
    if len(runs) > 1:
        return _compare(runs, start, layers, output or Path("comparison.html"), part, overwrite, as_json)
    run = next(iter(runs), None)
    network = network_options.network_of(run, start)
    written = run_report(network, layers, output, limit, part, overwrite, alone=run is None, say=telling.tell)
    page = written.path
    if as_json:
        plain = {"output": str(page), "verdict": written.verdict, "next": list(written.steps)}
        return terminal.result(describing.to_json(plain))
    terminal.written(page, f"report    {page} ({page.stat().st_size / 1e6:.1f} MB)")
    click.echo(f"trust it? {readable(written.verdict)}")
    for command in written.steps[:1]:
        click.echo(f"next      {readable(command)}")


def _compare(
    runs: tuple[Path, ...],
    start: str | None,
    layers: list[Layer],
    output: Path,
    part: Part | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    from cryoreg.analysis.report import compare_runs
    from cryoreg.files import readable

    if start is not None:
        raise click.UsageError("several RUNs are compared by themselves; leave out --from")
    words = compare_runs(runs, layers, output, part, overwrite, say=telling.tell)
    if as_json:
        return terminal.result(describing.to_json({"output": str(output), "compared": list(words)}))
    terminal.written(output, f"report    {output} ({output.stat().st_size / 1e6:.1f} MB)")
    for line in words:
        click.echo(f"compared  {readable(line)}")
