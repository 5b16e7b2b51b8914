"""`cryoreg init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import click

from cryoreg_cli import options, terminal
from cryoreg_cli.completion_values import COMPONENT


@options.command()
@click.option("--tomograms", type=options.PATH, metavar="PATH", help="Folder of the tomograms, or the only one. [none]")
@click.option("--subtomograms", type=options.PATH, metavar="PATH", help="Folder or file of subtomograms. [none]")
@options.VOXEL_SIZE
@click.option("--contrast", type=click.Choice(["bright", "dark"]), help="How density looks in the files. [not known]")
@options.TILT_RANGE
@click.option("--tilt-axis", type=click.Choice(["x", "y"]), help="Of the tilt series; the beam is z. [not known]")
@click.option("--classes", default="", metavar="NAME,NAME", help="Names of the classes. [none]")
@click.option("--weights", type=COMPONENT["weights"], metavar="NAME|PATH", help="What commands start from. [none]")
@options.quietable
def init(
    tomograms: Path | None,
    subtomograms: Path | None,
    voxel_size: float | None,
    contrast: Literal["bright", "dark"] | None,
    tilt_range: tuple[float, float] | None,
    tilt_axis: Literal["x", "y"] | None,
    classes: str,
    weights: str | None,
) -> None:
    """Begin a project: write cryoreg.toml, which says once what all commands in this folder and below need to know.

    What is left out stands there as a comment. Of --tomograms and --subtomograms, the facts are of the one that is
    given; of both, of both.
    """
    from cryoreg.config.project import TABLES
    from cryoreg.config.project_text import begin
    from cryoreg.errors import ConfigError

    facts = {"voxel_size": voxel_size, "contrast": contrast, "tilt_range": tilt_range, "tilt_axis": tilt_axis}
    paths = dict(zip(TABLES, (tomograms, subtomograms), strict=True))
    for path in filter(None, paths.values()):
        if not path.exists():
            raise ConfigError(f"{path}: does not exist; check the path")
    tables = {table: {"path": path, **facts} for table, path in paths.items() if path is not None}
    if not tables and any(value is not None for value in facts.values()):
        raise click.UsageError("of which files is this true? say --tomograms PATH or --subtomograms PATH")
    names = [name.strip() for name in classes.split(",") if name.strip()]
    file = begin(Path.cwd(), {"classes": names or None, "weights": weights}, tables)
    lines = [f"project   {file.name}; lines with # wait for what you know"]
    if tomograms is not None:
        lines.append(f"next      cryoreg pick {shlex.quote(str(tomograms))} --diameter <Å>")
    elif subtomograms is not None:
        lines.append(f"next      cryoreg inspect {shlex.quote(str(subtomograms))}")
    terminal.written(file.name, "\n".join(lines))
