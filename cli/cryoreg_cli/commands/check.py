"""`cryoreg check`: does a component keep what cryoreg relies on?"""

from __future__ import annotations

import sys
from traceback import format_exception
from typing import TYPE_CHECKING

import click

from cryoreg.kinds import KINDS, Kind, Seam
from cryoreg_cli import describing, options
from cryoreg_cli.completion_values import COMPONENT_OR_PACKAGE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cryoreg.testing import Result

_COLOURS = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


@options.command()
@click.argument("name", type=COMPONENT_OR_PACKAGE, metavar="NAME|PACKAGE")
@options.KIND
@options.settings("KIND.KEY=VALUE", help="A setting to check it with; repeatable. [none]")
@click.option("--check", "only", metavar="NAME", help="Run this check alone: same_index_same_volume. [all]")
@click.option("--traceback", "traced", is_flag=True, help="Show where each failed check failed.")
@options.quietable
def check(name: str, kind: Kind | Seam | None, assignments: tuple[str, ...], only: str | None, traced: bool) -> None:
    """Check that a component, or every component of a package, keeps what cryoreg relies on.

    The exit status is 1 where a check fails. For example: cryoreg check moco --set method.queue_size=16
    """
    from cryoreg.testing.runner import run_checks, select, to_check

    parameters = _parameters(assignments)
    specs = [(k, c, to_check(k, c, parameters.get(k, {}))) for k, c in select(name, kind)]
    console = _console()
    with console.status("checking"):
        results = [(f"{k} {c.reference}", result) for k, c, spec in specs for result in run_checks(spec, only)]
    console.print(_table(results))
    if traced:
        for _, result in results:
            _show_traceback(result)
    failed = sum(result.outcome == "failed" for _, result in results)
    click.echo(f"{len(results)} checks, {failed} failed")
    if failed:
        raise SystemExit(1)


def _show_traceback(result: Result) -> None:
    if result.error is not None:
        click.echo(f"{result.check.name}:\n{''.join(format_exception(result.error))}")


def _parameters(assignments: tuple[str, ...]) -> dict[str, dict[str, object]]:
    from cryoreg.config import parse_assignment
    from cryoreg.errors import ConfigError

    parameters: dict[str, dict[str, object]] = {}
    for text in assignments:
        for section, values in parse_assignment(text).values.items():
            if section not in KINDS:
                raise ConfigError(f"--set {text}: begins with none of {', '.join(KINDS)}")
            parameters.setdefault(section, {}).update(values)
    return parameters


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else describing.UNLIMITED, highlight=False, soft_wrap=True)


def _table(results: list[tuple[str, Result]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "check", "result", "message", box=box.SIMPLE)
    for name, result in results:
        outcome = Text(result.outcome, _COLOURS[result.outcome])
        table.add_row(Text(name), Text(result.check.name), outcome, Text(result.message))
    return table
