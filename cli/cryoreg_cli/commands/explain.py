"""`cryoreg explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import network_options, options, setting_options, terminal
from cryoreg_cli.setting_options import EXPLORE

if TYPE_CHECKING:
    from cryoreg.inference.embedding import Part


@options.command()
@network_options.network
@setting_options.options(EXPLORE)
@options.IDS
@click.option("--count", type=click.IntRange(1, 100), default=6, help="So many, without --ids.")
@click.option(
    "--part",
    type=click.Choice(["test", "val", "train", "all"]),
    help="Of this part of the split, without --ids. [test; all where another data set is given]",
)
@options.option(
    "--class", "target", metavar="NAME", older=("--target",), help="The class to explain. [the predicted one]"
)
@click.option("--random", is_flag=True, help="Also write the Grad-CAM of an encoder with random weights.")
@options.output("The folder to write.", metavar="DIR")
@options.OVERWRITE
@options.quietable
def explain(
    run: Path | None,
    start: str | None,
    ids: tuple[str, ...],
    count: int,
    part: Part | None,
    target: str | None,
    random: bool,
    output: Path,
    overwrite: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Show where a network looks: Grad-CAM volumes as MRC, for ChimeraX, and a figure.

    The network is that of RUN, or --from trained weights, for which no run is needed.

    Of a classifier it explains a class, of an encoder its features. The figure compares with an encoder of random
    weights.
    """
    from cryoreg.analysis import explain as library
    from cryoreg.analysis.examples import find
    from cryoreg.inference.trained import Trained
    from cryoreg.outputs import check_folder

    trained = Trained.open(network_options.network_of(run, start), setting_options.layers(EXPLORE, given, assignments))
    for line in trained.remarks():
        telling.tell(line)
    check_folder(output, overwrite, trained.inputs())
    if ids:
        indices = find(trained.dataset, ids)
    else:
        indices, how = library.choose(trained, part, count)
        if how:
            telling.tell(f"note: {how}")
    wanted = None if target is None else library.class_index(trained, target)
    written = library.run_explain(trained, indices, output, target=wanted, random=random, overwrite=overwrite)
    terminal.written(output, f"explained {len(written)} subtomograms: {output / library.FIGURE}")
    click.echo(f"ChimeraX  {output / library.SCRIPT}")
