"""`cryoreg export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import options, terminal

if TYPE_CHECKING:
    from cryoreg.inference.network_export import NetworkFormat


class _Batch(click.ParamType):
    """A number of volumes, or "dynamic"."""

    name = "batch"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the number; None for dynamic."""
        return None if value in (None, "dynamic") else click.IntRange(min=1)(value, param, ctx)


@options.command()
@click.argument("run", type=options.PATH)
@click.option(
    "--format", "form", type=click.Choice(["safetensors", "onnx"]), help="What to write. [by the name of --output]"
)
@options.output("The file to write.")
@click.option("--classifier", is_flag=True, help="The classifier of a fine-tuning run, instead of the encoder.")
@click.option("--half", is_flag=True, help="safetensors: weights as float16, half the size.")
@click.option(
    "--portable", is_flag=True, help="safetensors: for a package or a download, without paths of this machine."
)
@click.option("--batch", type=_Batch(), metavar="dynamic|N", help="ONNX: volumes at a time. [dynamic: any number]")
@click.option(
    "--normalisation/--no-normalisation",
    default=True,
    help="ONNX: whether the graph z-scores each volume.",
)
@options.OVERWRITE
@options.quietable
def export(
    run: Path,
    form: NetworkFormat | None,
    output: Path,
    classifier: bool,
    half: bool,
    portable: bool,
    batch: int | None,
    normalisation: bool,
    overwrite: bool,
) -> None:
    """Write the encoder of RUN as one file for other programs: safetensors, or ONNX for volumes of the run's box.

    The file also holds the run's card. What it computes is compared with the run's network, in float32.
    """
    from cryoreg.inference.network_export import run_export

    done = run_export(
        run,
        output,
        form,
        classifier=classifier,
        half=half,
        portable=portable,
        normalisation=normalisation,
        batch=batch,
        overwrite=overwrite,
    )
    for note in done.notes:
        telling.tell(f"note: {note}")
    for what, (absolute, relative) in done.differences.items():
        click.echo(f"checked   {what}: differ by at most {absolute:.2g} ({relative:.1g} of the largest)")
    terminal.written(done.path, f"exported  {done.path}  {done.path.stat().st_size / 1e6:,.1f} MB")
