"""`cryoreg copick-picks`. Imports neither copick nor numpy: `cryoreg --help` loads every command."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("copick-picks")
@click.argument("particles", metavar="LIST", type=click.Path(path_type=Path))
@click.option(
    "--project", required=True, type=click.Path(path_type=Path), help="The JSON file that configures the project."
)
@click.option("--session", required=True, help="Session id of the picks; 0 says that a program made them.")
@click.option("--user", help="User or tool id of the picks. [that of the project]")
@click.option("--object", "name", metavar="NAME", help="The object that all are. [by the class of each]")
@click.option("--map", "renamed", multiple=True, metavar="CLASS=OBJECT", help="An object for a class of another name.")
@click.option("--leave-out", multiple=True, metavar="CLASS", help="A class that is not written.")
@click.option("--voxel-size", type=click.FloatRange(min=0, min_open=True), help="Å per unit of LIST's coordinates.")
@click.option("--overwrite", is_flag=True, help="Replace picks of the same object, user and session.")
def copick_picks(
    particles: Path,
    project: Path,
    session: str,
    user: str | None,
    name: str | None,
    renamed: tuple[str, ...],
    leave_out: tuple[str, ...],
    voxel_size: float | None,
    overwrite: bool,
) -> None:
    """Write the particles of LIST into a copick project, as picks of the objects that their classes name.

    LIST is what predict, select or pick wrote, or any other particle list; tomograms are named as runs are, or lie in
    their folders. Nothing is written before all of it is known to fit.
    """
    from cryoreg.errors import ConfigError

    try:
        from cryoreg_copick.picks import Wanted, write_picks
    except ModuleNotFoundError as error:
        if error.name != "copick":
            raise
        raise ConfigError("copick-picks needs the package copick: pip install copick") from None
    wrong = next((text for text in renamed if "=" not in text), None)
    if wrong is not None:
        raise ConfigError(f"--map {wrong}: is no CLASS=OBJECT")
    names = dict(text.split("=", 1) for text in renamed)
    written = write_picks(particles, project, Wanted(session, user, name, names, leave_out, voxel_size, overwrite))
    for (run, what), count in written.items():
        click.echo(f"{count:9,}  {what} in {run}")
