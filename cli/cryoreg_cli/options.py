"""What arguments and options are called, in every command: names, older names, types and help."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
import click.shell_completion

from cryoreg import telling
from cryoreg.kinds import KINDS, SEAMS
from cryoreg_cli import terminal
from cryoreg_cli.completion_values import COMPONENT
from cryoreg_cli.examples import EXAMPLES

if TYPE_CHECKING:
    from cryoreg.datasets.tomograms.masks import Verb, Where

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
_QUIET_HELP = "Print only warnings and errors, and the paths of what was written."
POSITIVE = click.FloatRange(min=0, min_open=True)
_SHOWN = {click.types.IntParamType: "N", click.types.FloatParamType: "NUMBER", click.types.StringParamType: "NAME"}
"""How help shows what an option takes, where it does not say so itself."""


class Command(click.Command):
    """A command with an example, which still takes the older names of what it takes, and shows them nowhere."""

    def __init__(self, *args: Any, **declared: Any) -> None:
        super().__init__(*args, **declared)
        for param in self.params:
            if param.metavar is None and not getattr(param, "is_flag", False):
                param.metavar = next((shown for kind, shown in _SHOWN.items() if isinstance(param.type, kind)), None)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example as one line, to be copied."""
        with formatter.section("Example"):
            formatter.write(f"{'':{formatter.current_indent}}$ {EXAMPLES[str(self.name)]}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; who leaves ``--data`` out before data is told."""
        try:
            return super().parse_args(ctx, self._renamed(ctx, args))
        except click.UsageError as error:
            if "extra argument" not in error.message or not any("--data" in param.opts for param in self.params):
                raise
            raise click.UsageError(f"{error.message}; data are named by --data PATH here", ctx) from None

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


def output(help: str, metavar: str = "FILE", default: str | None = None, required: bool = True) -> Decorator[Any]:
    """Return ``--output``: the file or folder that a command writes."""
    given = {"default": default} if default else {"required": required}
    return option("--output", type=PATH, metavar=metavar, help=help, **given)


def run_dir(help: str) -> Decorator[Any]:
    """Return ``--run-dir``: the folder of a run, or of several."""
    return option("--run-dir", type=PATH, metavar="DIR", help=help)


def seed(last: int = 2**30) -> Decorator[Any]:
    """Return ``--seed``, of the random draws of a command that trains nothing."""
    return option("--seed", type=click.IntRange(0, last), default=0, help="Of all random draws.")


def box(default: int | None = None, left_out: str = "") -> Decorator[Any]:
    """Return ``--box``: the edge of boxes that are cut out of tomograms."""
    return option(
        "--box", type=click.IntRange(2), default=default, metavar="VOXELS", help=f"Edge of the boxes.{left_out}"
    )


def settings(
    metavar: str, type: click.ParamType | None = None, help: str = "Any other setting; repeatable. [none]"
) -> Decorator[Any]:
    """Return ``--set``, given as ``assignments``."""
    return option("--set", "assignments", type=type, multiple=True, metavar=metavar, help=help)


SEED = seed()
OVERWRITE = option("--overwrite", is_flag=True, help="Replace files that exist.")
SKIP_BAD = option("--skip-bad", is_flag=True, help="Leave out subtomograms that cannot be read, and list them.")
CONFIG = option("--config", type=PATH, metavar="TOML", help="Settings of a pretraining run to start from. [none]")
IDS = option(
    "--ids",
    multiple=True,
    metavar="ID,ID|FILE",
    help="The subtomograms to draw, or files of ids. [some of each class and tomogram]",
)
KIND = option("--kind", type=click.Choice([*KINDS, *SEAMS]), help="Only this kind. [all]")
READER = option(
    "--dataset",
    type=COMPONENT["dataset"],
    metavar="NAME",
    help="The reader, where several fit. [worked out from what is there]",
)
"""The option of commands that need no run."""
TOMOGRAMS = option(
    "--tomograms",
    type=PATH,
    metavar="PATH",
    help="Folder of the tomograms of a list, or what tells of them. [as the list says, or beside it]",
)
VOXEL_SIZE = option(
    "--voxel-size",
    type=POSITIVE,
    metavar="Å",
    help="Of the files, where they do not say or are wrong. [as they say]",
)
COORDINATE_SIZE = option(
    "--coordinate-size", type=POSITIVE, metavar="Å", help="Per unit of the coordinates. [as the list says]"
)
CLASS_COLUMN = option("--class-column", metavar="COLUMN", help="Where classes stand. [cryoreg's, else the list's own]")
TILT_RANGE = option("--tilt-range", type=(float, float), metavar="MIN MAX", help="Of the tilt series, °. [not known]")


class _Where(click.Tuple):
    """A mask, what becomes of particles near it, and a distance."""

    VERBS = ("keep", "drop", "mark")

    def __init__(self) -> None:
        super().__init__([PATH, click.Choice(self.VERBS), click.STRING])

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem[str]]:
        """Offer files, and what can become of particles."""
        item = click.shell_completion.CompletionItem
        return [*(item(verb) for verb in self.VERBS if verb.startswith(incomplete)), item(incomplete, type="file")]


WHERE = option(
    "--where",
    "wheres",
    type=_Where(),
    multiple=True,
    metavar="MASK keep|drop|mark DISTANCE",
    help="By distance from a mask: a file, or a folder of one for each tomogram; 0 is inside; repeatable. [none]",
)


def parse_wheres(wheres: Sequence[tuple[Path, Verb, str]]) -> tuple[Where, ...]:
    """Return what --where says."""
    from cryoreg.datasets.tomograms.masks import Where

    return tuple(Where.parse(*each) for each in wheres)


FORMAT = option(
    "--format",
    "form",
    type=COMPONENT["format"],
    default="store",
    metavar="NAME",
    help="What to write: store, mrc_folder, lab, or what packages bring.",
    older=("--to",),
)
"""Of commands that write subtomograms."""
PROCESSES = option("--processes", type=click.IntRange(1), default=1, help="Processes.", older=("--workers",))


def quietable(function: F) -> F:
    """Add ``--quiet``: progress, notes and tables are not printed; warnings, errors and `terminal.result` are."""

    @wraps(function)
    def run(*args: Any, quiet: bool, **given: Any) -> Any:
        if not quiet:
            return function(*args, **given)
        with telling.quietly(), terminal.aside():
            return function(*args, **given)

    return cast(F, option("--quiet", "-q", is_flag=True, envvar=telling.VARIABLE, help=_QUIET_HELP)(run))


def jsonable(function: F) -> F:
    """Add ``--json``, given as ``as_json``, with which nothing but `terminal.result` is printed on stdout."""

    @wraps(function)
    def run(*args: Any, as_json: bool, **given: Any) -> Any:
        with terminal.aside() if as_json else nullcontext():
            return function(*args, as_json=as_json, **given)

    return cast(F, option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")(run))
