"""`cryoreg embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg.quick_imports import quick_imports
from cryoreg_cli import network_options, options, setting_options, terminal
from cryoreg_cli.setting_options import INFER

if TYPE_CHECKING:
    from cryoreg.inference.embedding import Part


@options.command()
@network_options.network
@setting_options.options(INFER)
@click.option(
    "--part",
    type=click.Choice(["all", "train", "val", "test"]),
    default="all",
    help="Which part of the run's own data.",
)
@options.output("The table: .parquet, .csv or .npz.")
@options.OVERWRITE
@options.quietable
def embed(
    run: Path | None,
    start: str | None,
    part: Part,
    output: Path,
    overwrite: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Write the features of subtomograms, by the encoder of RUN or --from trained weights, as a table.

    One row for each: id, tomogram, file and row, label, part of the split, a classifier's prediction and confidence,
    and the features f0000, f0001, ...
    """
    with quick_imports():
        from cryoreg.inference.embedding import run_embedding

    layers = setting_options.layers(INFER, given, assignments)
    embedding = run_embedding(network_options.network_of(run, start), part, layers, output, overwrite, telling.tell)
    size = f"{len(embedding)} subtomograms, {embedding.features.shape[1]} features each"
    terminal.written(output, f"embedded  {size}: {output}")
