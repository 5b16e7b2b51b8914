"""`cryoreg chimerax`. Imports neither numpy nor mrcfile: `cryoreg --help` loads every command."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--map", "name", metavar="CLASS", help="Colour by this Grad-CAM: a class, features, random. [the only one]"
)
@click.option(
    "--sigma", type=float, default=2.0, show_default=True, help="Contour so many standard deviations above the mean."
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="[FOLDER/side-by-side.cxc]")
@click.option("--overwrite", is_flag=True, help="Replace the script where there is one.")
def chimerax(folder: Path, name: str | None, sigma: float, output: Path | None, overwrite: bool) -> None:
    """Write a ChimeraX script that shows what `cryoreg explain` put into FOLDER.

    Every subtomogram becomes a surface coloured by its Grad-CAM, with its name, all of them side by side.
    """
    from cryoreg_chimerax.pairs import find_pairs
    from cryoreg_chimerax.script import write_script

    pairs = find_pairs(folder, name)
    written = write_script(pairs, output or folder / "side-by-side.cxc", sigma, overwrite)
    click.echo(f"{len(pairs)} subtomograms: chimerax {written}")
