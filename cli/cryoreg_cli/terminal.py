"""What is printed: names that come from files are shown and never obeyed, by the terminal or by rich."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
_STEERING = re.compile(rf"[\r\n\t]|{_CONTROL}")
_COLOUR_OR_CURSOR = r"\x1b\[[0-9;]*[mAK]|\x1b\[\?25[lh]"
"""All that progress bars need; what could set titles, fill clipboards or type into the shell is none of it."""
_UNKNOWN = re.compile(rf"({_COLOUR_OR_CURSOR})|{_CONTROL}")

_LONGEST = 4000
"""Characters of a message; values that are not what they should be are quoted in it."""


def one_plain_line(text: str) -> str:
    r"""Return a text as one line without control characters, which are written out: ``\x1b``."""
    line = _STEERING.sub(_written_out, " ".join(text.splitlines()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def _written_out(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


class PlainStream:
    """A text stream that writes control characters out, except for colours and the moves of progress bars."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return how many characters it has."""
        self._stream.write(_UNKNOWN.sub(lambda found: found[1] or _written_out(found), text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of some texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console(**options: Any) -> Console:
    """Return rich's console for tables of names, in which neither [brackets] nor :colons: mean anything."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, **options)


_heard: ContextVar[TextIO | None] = ContextVar("heard", default=None)
"""Where results go while stdout leads nowhere."""


@contextmanager
def aside() -> Iterator[None]:
    """Let stdout lead nowhere, but for `result`, until the block ends."""
    token = _heard.set(_heard.get() or sys.stdout)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        _heard.reset(token)


def result(text: str | Path) -> None:
    """Print what was asked for, also where all else is to be quiet."""
    click.echo(str(text), file=_heard.get())


def written(path: str | Path, line: str) -> None:
    """Print a line on what was written; where all else is to be quiet, its path alone."""
    result(path if _heard.get() else line)


@contextmanager
def resumable() -> Iterator[None]:
    """Tell who interrupts a command that its work is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("what was written is kept; the same command goes on from there", err=True)
        raise
