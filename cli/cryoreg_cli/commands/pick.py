"""`cryoreg pick`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import click

from cryoreg import telling
from cryoreg_cli import describing, next_steps, options, terminal
from cryoreg_cli.completion_values import COMPONENT
from cryoreg_cli.setting_options import own_options

if TYPE_CHECKING:
    from cryoreg.datasets.tomograms.masks import Verb


class _Settings(TypedDict):
    """The options of `PickSettings`, but for the radius and what is told of the tomograms."""

    picker: str
    threshold: float | None
    distance: float | None
    margin: float | None
    top: int | None
    subvoxel: bool
    template: Path | None
    rotations: int
    low_pass: float | None
    min_cc: float | None


@options.command()
@options.argument("tomograms", nargs=-1, type=options.PATH, metavar="[TOMOGRAM]...", older=("--tomograms", "--data"))
@click.option("--radius", type=options.POSITIVE, metavar="Å", help="Radius of the particles. [that of --diameter]")
@click.option("--diameter", type=options.POSITIVE, metavar="Å", help="Instead of --radius. [that of --radius]")
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
    help="How density looks in the tomograms. [the project's, else auto]",
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
@click.option(
    "--template", type=options.PATH, metavar="MRC", help="Rank by correlation with this map, density bright. [none]"
)
@click.option("--rotations", type=click.IntRange(min=1), default=500, help="Of the template.")
@options.TILT_RANGE
@click.option("--tilt-axis", type=click.Choice(["x", "y"]), help="The beam is z. [y]")
@click.option("--low-pass", type=options.POSITIVE, metavar="Å", help="Of the template. [not filtered]")
@click.option("--min-cc", type=click.FloatRange(-1, 1), help="Lowest correlation to keep. [all]")
@options.WHERE
@options.output("The STAR file; a .csv is written beside it.", default="picks.star")
@click.option("--picture", type=options.PATH, metavar="PNG", help="Draw the picks on the tomograms. [not drawn]")
@options.OVERWRITE
@options.jsonable
@options.quietable
def pick(
    tomograms: tuple[Path, ...],
    radius: float | None,
    diameter: float | None,
    voxel_size: float | None,
    wheres: tuple[tuple[Path, Verb, str], ...],
    contrast: Literal["auto", "bright", "dark"] | None,
    tilt_range: tuple[float, float] | None,
    tilt_axis: Literal["x", "y"] | None,
    output: Path,
    picture: Path | None,
    overwrite: bool,
    as_json: bool,
    **settings: Unpack[_Settings],
) -> None:
    """Find particles of one size in tomograms (MRC or OME-Zarr files, or folders of them).

    Difference of Gaussians (Pei et al. 2016) or another picker, optionally ranked by local cross-correlation with a
    template. Coordinates are voxels of the tomogram, x y z, the first voxel being 0.
    """
    if (radius is None) == (diameter is None):
        raise click.UsageError("give the size of the particles, as --radius or as --diameter, in Å")
    from cryoreg.config import find_project
    from cryoreg.config.project_text import remember
    from cryoreg.picking.pick_files import Outputs, find_tomograms, run_pick
    from cryoreg.picking.settings import PickSettings
    from cryoreg.picking.told import Told

    project = find_project()
    paths = tomograms or ((project.tomograms.path,) if project and project.tomograms else ())
    if not paths:
        raise click.UsageError("which tomograms? name files or folders, or once for all: cryoreg init --tomograms PATH")
    with own_options("voxel_size"):
        told = Told(voxel_size, contrast, tilt_range, tilt_axis)
        told, notes = told.filled(project, find_tomograms(paths))
        chosen = PickSettings(
            radius=radius or (diameter or 0) / 2,
            contrast=told.contrast or "auto",
            tilt_range=told.tilt_range,
            tilt_axis=told.tilt_axis or "y",
            where=options.parse_wheres(wheres),
            **settings,
        )
        for note in notes:
            telling.tell(f"note: {note}")
        picked = run_pick(paths, chosen, Outputs(output, picture, overwrite), told)
    learnt = remember("tomograms", told.learnt(picked.picks), picked.star, "pick")
    next = next_steps.after_tomograms(picked.star, told=told.against(find_project(), picked.picks))
    if as_json:
        return terminal.result(describing.to_json({**picked.to_dict(), "project": learnt, "next": next}))
    lines = picked.lines()
    if learnt:
        lines.append(f"project   {learnt}")
    lines.append(f"next      {next}")
    terminal.written(output, "\n".join(lines))
