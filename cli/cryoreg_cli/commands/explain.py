"""`cryoreg explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg_cli import run_options
from cryoreg_cli.run_options import EXPLORE

if TYPE_CHECKING:
    from cryoreg.inference.embedding import Part


@click.command()
@click.argument("run", type=run_options.PATH)
@run_options.options(EXPLORE)
@click.option("--ids", metavar="ID,ID,...", help="The subtomograms to explain. [some of each class]")
@click.option("--count", type=click.IntRange(1, 100), default=6, show_default=True, help="So many, without --ids.")
@click.option(
    "--part",
    type=click.Choice(["test", "val", "train", "all"]),
    default="test",
    show_default=True,
    help="Of this part of the split, without --ids.",
)
@click.option("--target", metavar="CLASS", help="The class to explain. [the predicted one]")
@click.option("--random", is_flag=True, help="Also write the Grad-CAM of an encoder with random weights.")
@click.option("--output", type=run_options.PATH, required=True, metavar="DIR", help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace files of the same names in a folder that exists.")
def explain(
    run: Path,
    ids: str | None,
    count: int,
    part: Part,
    target: str | None,
    random: bool,
    output: Path,
    overwrite: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Show where the network of RUN looks: Grad-CAM volumes as MRC, for ChimeraX, and a figure.

    Of a classifier it explains a class, of an encoder its features. The figure compares with an encoder of random
    weights.
    """
    from cryoreg.analysis import explain as library
    from cryoreg.analysis.view import find
    from cryoreg.inference.trained import Trained

    trained = Trained.open(run, run_options.layers(EXPLORE, given, assignments))
    for line in trained.differences():
        click.echo(f"warning: {line}", err=True)
    indices = find(trained.dataset, ids.split(",")) if ids else library.part_of(trained, part, count)
    wanted = None if target is None else library.class_index(trained, target)
    written = library.run_explain(trained, indices, output, target=wanted, random=random, overwrite=overwrite)
    click.echo(f"explained {len(written)} subtomograms: {output / library.FIGURE}")
    click.echo(f"ChimeraX  {output / library.SCRIPT}")
