"""`cryoreg view`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from cryoreg import telling
from cryoreg_cli import options, setting_options, terminal

if TYPE_CHECKING:
    from cryoreg.analysis.view import Subject

_VIEWS = ("oblique", "z", "y", "x")


class _Surface(TypedDict):
    """The options of `Look`."""

    level: float
    low_pass: float | None
    dust: int
    views: tuple[str, ...]


@options.command()
@options.data(required=False)
@setting_options.options(())
@options.READER
@options.IDS
@click.option("--count", type=click.IntRange(1, 50), default=6, help="So many, without --ids.")
@click.option("--level", type=float, default=2.0, help="Surface: σ above the mean.")
@click.option(
    "--low-pass",
    type=click.FloatRange(0),
    metavar="Å",
    help="Surface: filter to this resolution; 0: no filter. [4 voxels]",
)
@click.option(
    "--dust",
    type=click.IntRange(0),
    default=10,
    help="Surface: leave out regions of fewer voxels, but the largest.",
)
@options.option(
    "--direction",
    "views",
    multiple=True,
    type=click.Choice(_VIEWS),
    default=_VIEWS[:1],
    older=("--views",),
    help="See the surface from here; may be repeated.",
)
@click.option("--invert", is_flag=True, help="Density is dark.")
@options.output("The figure: .png, .pdf or .svg.  [view.png]", metavar="PNG", required=False)
@click.option("--html", type=options.PATH, metavar="HTML", help="A page with surfaces to turn by mouse. [none]")
@options.OVERWRITE
@options.quietable
def view(
    data: Path | None,
    dataset: str | None,
    ids: tuple[str, ...],
    count: int,
    assignments: tuple[str, ...],
    output: Path | None,
    html: Path | None,
    invert: bool,
    overwrite: bool,
    **surface: Unpack[_Surface],
) -> None:
    """Draw subtomograms of DATA, a data set or one MRC or TIFF volume: central slices and the surface at a level."""
    from cryoreg.analysis.view import Look, run_view

    if invert:
        assignments = (*assignments, "dataset.contrast=dark")
    shown, inputs = _read(data, dataset, ids, count, assignments)
    if html is None and output is None:
        output = Path("view.png")
    run_view(shown, Look(**surface), output, html, overwrite, inputs)
    for path in filter(None, (output, html)):
        terminal.written(path, f"view      {path}")


def _read(
    data: Path | None, dataset: str | None, ids: tuple[str, ...], count: int, assignments: tuple[str, ...]
) -> tuple[list[Subject], set[str]]:
    """Return the subtomograms to draw, and the files that were read."""
    from cryoreg.analysis import view as library
    from cryoreg.analysis.examples import choose, find
    from cryoreg.config import absolute, choose_dataset, find_project
    from cryoreg.datasets.origins import inputs_of
    from cryoreg.datasets.table_sources import data_of_table, with_groups
    from cryoreg.errors import DataError

    root = None if data is None else absolute(data)
    settings = setting_options.dataset_settings(assignments, "view")
    if dataset is None:
        if root is None:
            raise click.UsageError("Missing argument 'DATA': a data set or a volume; or --dataset without files")
        if library.is_single_volume(root):
            if ids:
                raise DataError(f"{data}: is a single volume; leave out --ids")
            facts, note = library.facts_of_single(root, settings, find_project())
            _tell([note] if note else [])
            return [library.single(root, facts)], {str(root)}
    root, table = (None, None) if root is None else data_of_table(root, "`cryoreg view DATA`")
    spec = choose_dataset(root, dataset, settings, find_project())[0].spec
    opened = with_groups(spec.load(), table)
    _tell(opened.notes)
    indices = find(opened, ids) if ids else choose(opened, count, labelled=table is not None)
    return library.subjects(opened, indices), inputs_of(opened, spec) | ({str(table)} if table else set())


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        telling.tell(f"note: {note}")
