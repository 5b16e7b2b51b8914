"""`cryoreg pick`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import click

from cryoreg_cli import options, terminal
from cryoreg_cli.completion_values import COMPONENT
from cryoreg_cli.run_options import PATH, own_options, parse_wheres

if TYPE_CHECKING:
    from cryoreg.datasets.tomograms.masks import Verb

_POSITIVE = click.FloatRange(min=0, min_open=True)


class _Settings(TypedDict):
    """The options of `PickSettings`, but for the radius."""

    picker: str
    contrast: Literal["auto", "bright", "dark"]
    threshold: float | None
    distance: float | None
    margin: float | None
    top: int | None
    subvoxel: bool
    template: Path | None
    rotations: int
    tilt_range: tuple[float, float] | None
    tilt_axis: Literal["x", "y"]
    low_pass: float | None
    min_cc: float | None


@options.command()
@options.argument(
    "tomograms", nargs=-1, required=True, type=PATH, metavar="TOMOGRAM...", older=("--tomograms", "--data")
)
@click.option("--radius", type=_POSITIVE, metavar="Å", help="Radius of the particles. [that of --diameter]")
@click.option("--diameter", type=_POSITIVE, metavar="Å", help="Instead of --radius. [that of --radius]")
@click.option(
    "--picker",
    type=COMPONENT["picker"],
    default="dog",
    metavar="NAME",
    help="Who proposes.",
)
@options.VOXEL_SIZE
@click.option(
    "--contrast",
    type=click.Choice(["auto", "bright", "dark"]),
    default="auto",
    help="How density looks in the tomograms.",
)
@click.option("--threshold", type=float, help="Lowest peak, in standard deviations. [dog: 3, or 1 with a template]")
@click.option("--distance", type=click.FloatRange(min=0), metavar="Å", help="Between picks. [the diameter]")
@click.option("--margin", type=click.FloatRange(min=0), metavar="VOXELS", help="Left out at the faces. [the radius]")
@options.option(
    "--per-tomogram",
    "top",
    type=click.IntRange(min=1),
    metavar="N",
    older=("--top",),
    help="Keep the N best of each. [all]",
)
@click.option("--subvoxel", is_flag=True, help="Place picks between voxels; extraction then interpolates.")
@click.option("--template", type=PATH, metavar="MRC", help="Rank by correlation with this map, density bright. [none]")
@click.option("--rotations", type=click.IntRange(min=1), default=500, help="Of the template.")
@options.TILT_RANGE
@click.option("--tilt-axis", type=click.Choice(["x", "y"]), default="y", help="The beam is z.")
@click.option("--low-pass", type=_POSITIVE, metavar="Å", help="Of the template. [not filtered]")
@click.option("--min-cc", type=click.FloatRange(-1, 1), help="Lowest correlation to keep. [all]")
@options.WHERE
@options.output("The STAR file; a .csv is written beside it.", default="picks.star")
@click.option("--picture", type=PATH, metavar="PNG", help="Draw the picks on the tomograms. [not drawn]")
@options.OVERWRITE
@options.quietable
def pick(
    tomograms: tuple[Path, ...],
    radius: float | None,
    diameter: float | None,
    voxel_size: float | None,
    wheres: tuple[tuple[Path, Verb, str], ...],
    output: Path,
    picture: Path | None,
    overwrite: bool,
    **settings: Unpack[_Settings],
) -> None:
    """Find particles of one size in tomograms (MRC or OME-Zarr files, or folders of them).

    Difference of Gaussians (Pei et al. 2016) or another picker, optionally ranked by local cross-correlation with a
    template. Coordinates are voxels of the tomogram, x y z, the first voxel being 0.
    """
    if (radius is None) == (diameter is None):
        raise click.UsageError("give the size of the particles, as --radius or as --diameter, in Å")
    from cryoreg.picking.pick_files import Outputs, run_pick
    from cryoreg.picking.settings import PickSettings

    chosen = PickSettings(radius=radius or (diameter or 0) / 2, where=parse_wheres(wheres), **settings)
    with own_options("voxel_size"):
        picked = run_pick(tomograms, chosen, Outputs(output, picture, overwrite), voxel_size)
    terminal.written(output, "\n".join(picked.lines()))
