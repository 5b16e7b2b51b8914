"""`cryoreg open`."""

from __future__ import annotations

from pathlib import Path

import click

from cryoreg import telling
from cryoreg_cli import options, setting_options, terminal
from cryoreg_cli.completion_values import COMPONENT


@options.command(name="open")
@click.argument("source", type=options.PATH, metavar="LIST|STORE|RUN")
@click.option("--viewer", type=COMPONENT["viewer"], metavar="NAME", help="[the first whose program is on the PATH]")
@click.option("--tomogram", metavar="NAME", help="Which to show. [that with the most particles; --files-only: all]")
@click.option("--radius", type=options.POSITIVE, default=80.0, metavar="Å", help="Of a particle that is sure.")
@options.CLASS_COLUMN
@click.option("--data", type=options.PATH, metavar="LIST", help="For the classifier of RUN. [the run's own data]")
@options.TOMOGRAMS
@options.VOXEL_SIZE
@options.COORDINATE_SIZE
@click.option("--files-only", is_flag=True, help="Write the viewer's files, and say how to open them.")
@options.output("Where to. [a cache; with --files-only NAME_VIEWER]", metavar="DIR", required=False)
@options.OVERWRITE
@options.quietable
def open_source(
    source: Path,
    viewer: str | None,
    tomogram: str | None,
    radius: float,
    class_column: str | None,
    data: Path | None,
    tomograms: Path | None,
    voxel_size: float | None,
    coordinate_size: float | None,
    files_only: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Show particles in their tomogram, in ChimeraX, napari or IMOD: colour is class, size is confidence.

    LIST is a particle list, or the predictions or clusters of one; of a STORE that was cut out of tomograms these are
    shown; of a fine-tuning RUN the classifier is asked. IMOD is known; packages bring other viewers (cryoreg-chimerax,
    cryoreg-napari).
    """
    from cryoreg.config import find_project
    from cryoreg.viewing.opening import run_open
    from cryoreg.viewing.sources import Told

    told = Told(tomograms, voxel_size, coordinate_size, class_column, data, radius, find_project())
    with setting_options.own_options("tomograms", "voxel_size", "coordinate_size"):
        written = run_open(source, viewer, told, tomogram, output, files_only, overwrite, click.echo, telling.tell)
    if written is not None:
        terminal.written(written, f"files     {written}")
