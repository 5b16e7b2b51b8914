"""`cryoreg preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import options, setting_options, terminal
from cryoreg_cli.setting_options import AUGMENTATION, DATASET, SEED

if TYPE_CHECKING:
    from cryoreg.contracts import TiltAxis

OPTIONS = (AUGMENTATION, DATASET, SEED)


@options.command()
@options.data(required=False)
@setting_options.options(OPTIONS, "pretrain")
@options.CONFIG
@click.option("--count", type=click.IntRange(1, 100), default=6, help="Subtomograms to show.")
@click.option("--views", type=click.IntRange(1, 10), default=3, help="Views of each.")
@click.option(
    "--tilt-axis",
    type=click.Choice(["x", "y"]),
    help="Show the wedge across this axis. [that of the data, the augmentation's, y]",
)
@options.output("The PNG to write.", default="preview.png")
@options.OVERWRITE
@options.quietable
def preview(
    data: Path | None,
    config: Path | None,
    count: int,
    views: int,
    tilt_axis: TiltAxis | None,
    output: Path,
    overwrite: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Draw a few subtomograms of DATA and their augmented views as a PNG.

    The views are those of pretraining's first epoch: central sections across and along the beam, and the power
    spectrum, in which the missing wedge is dark.
    """
    from cryoreg.config import resolve

    resolved = resolve("pretrain", setting_options.layers(OPTIONS, given, assignments, config, data))
    from cryoreg.analysis.preview import run_preview

    run_preview(resolved, output, count, views, tilt_axis, overwrite, telling.tell)
    terminal.written(output, f"preview   {output}")
