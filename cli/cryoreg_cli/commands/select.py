"""`cryoreg select`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import describing, options, setting_options, terminal

if TYPE_CHECKING:
    from cryoreg.datasets.tomograms.masks import Verb
    from cryoreg.selection.rules import Chosen, Marked
    from cryoreg.selection.select import Selected, Split

_SHARE = click.FloatRange(0, 1)
_MARK = click.Choice(["keep", "drop", "only"])


@options.command()
@options.data(name="list", metavar="LIST")
@options.output("The list to write, of the same kind.")
@click.option("--class", "classes", multiple=True, metavar="NAME", help="A class to keep; repeatable. [all]")
@options.CLASS_COLUMN
@click.option("--min-confidence", type=_SHARE, metavar="0-1", help="Keep what is as sure as this. [all]")
@click.option("--min-familiarity", type=_SHARE, metavar="0-1", help="Keep what is as familiar as this. [all]")
@click.option("--unsure", type=_MARK, default="keep", help="Those below predict's threshold.")
@click.option("--none-of-these", type=_MARK, default="keep", help="Those that may be no class.")
@click.option("--tomogram", "tomograms", multiple=True, metavar="NAME", help="A tomogram to keep; repeatable. [all]")
@click.option("--ids", multiple=True, metavar="ID,ID|FILE", help="Ids to keep, or a file: lines, or a column id. [all]")
@click.option(
    "--distance", metavar="120A|8vx", help="Of two in a tomogram that are nearer, keep the more confident one. [both]"
)
@options.COORDINATE_SIZE
@click.option("--per-tomogram", type=click.IntRange(1), metavar="N", help="Keep the N most confident of each. [all]")
@options.WHERE
@options.option(
    "--tomograms", "tomogram_files", type=options.PATH, metavar="DIR", help="For --where. [beside the list]"
)
@options.VOXEL_SIZE
@click.option(
    "--merge", type=options.PATH, multiple=True, metavar="LIST", help="Another list to take from; repeatable. [none]"
)
@click.option("--split", type=click.Choice(["class", "tomogram"]), help="A file for each: FILE_NAME. [one file]")
@options.OVERWRITE
@options.jsonable
@options.quietable
def select(
    list: Path,
    output: Path,
    classes: tuple[str, ...],
    class_column: str | None,
    min_confidence: float | None,
    min_familiarity: float | None,
    unsure: Marked,
    none_of_these: Marked,
    tomograms: tuple[str, ...],
    ids: tuple[str, ...],
    distance: str | None,
    coordinate_size: float | None,
    per_tomogram: int | None,
    wheres: tuple[tuple[Path, Verb, str], ...],
    tomogram_files: Path | None,
    voxel_size: float | None,
    merge: tuple[Path, ...],
    split: Split | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Choose particles of LIST: by class, confidence, distance, tomogram or id; merge and split lists.

    LIST is STAR, a Dynamo table or CSV, such as `cryoreg predict` writes, or an optimisation set of RELION, of which
    another is written. Columns, blocks and comments stay as they are, character by character; only rows go. Rules are
    taken together: what breaks one is left out.
    """
    from cryoreg.config import find_project
    from cryoreg.datasets.id_lists import read_ids, rows_told_by
    from cryoreg.selection.distances import Distance
    from cryoreg.selection.rules import Rules
    from cryoreg.selection.select import run_select

    rules = Rules(
        classes,
        class_column,
        min_confidence,
        min_familiarity,
        unsure,
        none_of_these,
        tomograms,
        frozenset(read_ids(ids)) if ids else None,
        Distance.parse(distance) if distance else None,
        coordinate_size,
        per_tomogram,
        options.parse_wheres(wheres),
        tomogram_files,
        voxel_size,
        find_project(),
        rows_told_by(ids),
    )
    with setting_options.own_options("tomograms", "voxel_size", "coordinate_size"):
        found = run_select([list, *merge], rules, output, split, overwrite, telling.tell)
    if as_json:
        return terminal.result(describing.to_json({"output": str(output), **_plain(found)}))
    _print(found.chosen)
    for path, count in found.files.items():
        terminal.written(path, f"{count:9,}  {path}")
    for path in found.sets:
        terminal.written(path, f"      set  {path}")


def _plain(found: Selected) -> dict[str, object]:
    chosen = found.chosen
    return {
        "files": [{"path": str(path), "particles": count} for path, count in found.files.items()],
        "optimisation_sets": [str(path) for path in found.sets],
        "listed": len(chosen.kept),
        "kept": int(chosen.kept.sum()),
        "classes": [{"name": name, "listed": before, "kept": after} for name, before, after in chosen.counts()],
        "left_out": chosen.reasons,
    }


def _print(chosen: Chosen) -> None:
    from rich.table import Table

    table = Table("class", "listed", "kept")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, before, after in chosen.summary():
        table.add_row(name, str(before), str(after))
    terminal.console().print(table)
    for reason, count in chosen.reasons.items():
        click.echo(f"{count:9,}  left out: {reason}")
