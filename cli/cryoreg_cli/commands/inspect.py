"""`cryoreg inspect`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg_cli import describing, options, setting_options, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from cryoreg.datasets.inspection import Inspection

_ROWS = 20
"""Classes and tomograms that are listed; of more, the largest."""
_PROBLEMS = 20


@options.command()
@options.data(metavar="DATA|RUN")
@setting_options.options(())
@options.READER
@click.option("--all", "everything", is_flag=True, help="Look at the voxels of every subtomogram.")
@options.jsonable
@options.quietable
def inspect(data: Path, dataset: str | None, everything: bool, as_json: bool, assignments: tuple[str, ...]) -> None:
    """Show what DATA holds and what is wrong with it; nothing is changed, nothing is guessed.

    DATA may also be a run directory, a checkpoint or exported weights: then, where they came from. No plugin is needed
    for that, and nothing in such a file is executed.

    The exit status is 1 where a subtomogram cannot be read, or boxes or voxel sizes are mixed, which are then listed;
    also where a checksum does not match.
    """
    from cryoreg.config import absolute, find_project
    from cryoreg.errors import MixedError

    root = absolute(data)
    if dataset is None and _is_record(root):
        from cryoreg_cli.inspect_run import inspect_run

        return inspect_run(root, as_json)
    parameters = setting_options.dataset_settings(assignments, "inspect")
    from cryoreg.datasets.inspection import inspect_path

    try:
        found = inspect_path(root, dataset, parameters, everything, find_project())
    except MixedError as error:
        _print_mixed(error.counts, as_json)
        raise
    further = [f"--set dataset.{key}={_as_typed(value)}" for key, value in parameters.items()]
    named = str(data) if found.path in (None, str(root)) else found.path
    command = " ".join(["cryoreg pretrain", f"--dataset {found.reader}", f"--data {shlex.quote(named)}", *further])
    record = _plain(found) | {"next": command}
    if as_json:
        terminal.result(describing.to_json(record))
    else:
        _print(record, found)
    if not found.sound:
        raise SystemExit(1)


def _is_record(path: Path) -> bool:
    from cryoreg.runs.records import is_record

    return is_record(path)


def _as_typed(value: object) -> str:
    import json

    return shlex.quote(value if isinstance(value, str) else json.dumps(value, default=str))


def _plain(found: Inspection) -> dict[str, object]:
    where = {key: getattr(found, key) for key in ("path", "reader", "why")}
    return where | vars(found) | {"problems": [problem._asdict() for problem in found.problems], "sound": found.sound}


def _print_mixed(counts: dict[str, dict[str, int]], as_json: bool) -> None:
    """List how many files have which box and voxel size."""
    if as_json:
        terminal.result(describing.to_json({"mixed": counts, "sound": False}))
        return
    for name, files in counts.items():
        _print_counts(_console(), name, files, "files")


def _console() -> Console:
    return terminal.console(width=None if sys.stdout.isatty() else describing.UNLIMITED, soft_wrap=True)


def _print(record: Mapping[str, object], found: Inspection) -> None:
    console = _console()
    for name, value in found.facts().items():
        console.print(f"{name:<14}{value}")
    _print_counts(console, "class", found.classes)
    _print_counts(console, "tomogram", found.groups)
    for note in found.notes:
        console.print(f"note: {note}")
    _print_problems(console, found)
    console.print(f"\n{record['next']}")


def _print_counts(console: Console, name: str, counts: dict[str, int], unit: str = "subtomograms") -> None:
    from rich import box
    from rich.table import Table

    if not counts:
        return
    shown = counts if len(counts) <= _ROWS else dict(sorted(counts.items(), key=lambda item: -item[1])[:_ROWS])
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(name)
    table.add_column(unit, justify="right")
    for key, count in shown.items():
        table.add_row(key, f"{count:,}")
    console.print()
    console.print(table)
    if len(shown) < len(counts):
        rest = sum(counts.values()) - sum(shown.values())
        console.print(f"and {len(counts) - len(shown):,} more with {rest:,} {unit}; --json lists all")


def _print_problems(console: Console, found: Inspection) -> None:
    console.print()
    if not found.problems:
        console.print("no problems found")
        return
    console.print(f"problems: {len(found.problems):,}")
    for problem in found.problems[:_PROBLEMS]:
        console.print(f"  {problem.kind}: {problem.text}")
    if len(found.problems) > _PROBLEMS:
        console.print(f"  and {len(found.problems) - _PROBLEMS:,} more; --json lists all")
