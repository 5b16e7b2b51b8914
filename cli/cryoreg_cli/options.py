"""What arguments and options are called, in every command: names, older names, types and help."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


class _Path(click.Path):
    """A path that is not empty: an unset shell variable must not mean the current folder. ``~`` is the home folder."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """Return the path."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(os.path.expanduser(value), param, ctx)


PATH = _Path(path_type=Path)
POSITIVE = click.FloatRange(min=0, min_open=True)


class Command(click.Command):
    """A command that still takes the older names of what it takes, and shows them nowhere."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, self._renamed(ctx, args))

    def _renamed(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return the line with the names of today; those of an argument go, and of several the last counts."""
        today = {old: param for param in self.params for old in getattr(param, "older", ())}
        named = list(takewhile(lambda word: word != "--", args))
        found, seen = list(args[len(named) :]), set[str]()
        for word in reversed(named):
            name, equals, value = word.partition("=")
            param = today.get(name)
            if param is None:
                found.insert(0, word)
            elif isinstance(param, click.Option):
                found.insert(0, param.opts[0] + equals + value)
            else:
                found[:0] = [value] if equals else []
                if not ctx.resilient_parsing and not equals and (not found or found[0].startswith("-")):
                    raise click.BadOptionUsage(name, f"Option {name!r} requires an argument.", ctx)
                del found[: param.name in seen and param.nargs == 1]
                seen.add(str(param.name))
        return found


class Option(click.Option):
    """An option that had other names once."""

    def __init__(self, *args: Any, older: tuple[str, ...] = (), **declared: Any) -> None:
        super().__init__(*args, **declared)
        self.older = older


class Argument(click.Argument):
    """An argument that was, or might be thought to be, an option: ``--data PATH`` for ``PATH``."""

    def __init__(self, *args: Any, older: tuple[str, ...] = (), **declared: Any) -> None:
        super().__init__(*args, **declared)
        self.older = older


command: Callable[..., Callable[[Callable[..., Any]], Command]] = partial(click.command, cls=Command)
option: Callable[..., Decorator[Any]] = partial(click.option, cls=Option)
argument: Callable[..., Decorator[Any]] = partial(click.argument, cls=Argument)


def data(required: bool = True, name: str = "data", metavar: str = "DATA") -> Decorator[Any]:
    """Return the argument that names the data of a command in which no network is."""
    return argument(
        name, type=PATH, required=required, metavar=metavar if required else f"[{metavar}]", older=("--data",)
    )


FORMAT = option(
    "--format",
    "form",
    type=click.Choice(["store", "mrc_folder", "lab"]),
    default="store",
    show_default=True,
    help="What to write.",
    older=("--to",),
)
"""Of commands that write subtomograms."""
PROCESSES = option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Processes.", older=("--workers",)
)
