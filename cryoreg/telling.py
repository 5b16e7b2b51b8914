"""What is said on stderr while work goes on: progress and notes, unless all is to be quiet, and warnings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cryoreg import notebook_bars

T = TypeVar("T")

VARIABLE = "CRYOREG_QUIET"
"""The environment variable that says so, to processes that are started as well."""
_ALWAYS = ("warning", "differs", "left out", "failed", "stopped", "skipped")
"""How lines begin that are no progress: what a user must know who looks at nothing else."""


def quiet() -> bool:
    """Return whether progress and notes are not to be said."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


@contextmanager
def quietly() -> Iterator[None]:
    """Say neither progress nor notes, until the block ends."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def heard(line: str) -> bool:
    """Return whether a line is to be said: a warning always, anything else unless all is quiet."""
    return not quiet() or line.lower().startswith(_ALWAYS)


def tell(line: str) -> None:
    """Write a line to stderr, if it is to be `heard`."""
    if heard(line):
        print(line, file=sys.stderr, flush=True)


def track(items: Iterable[T], title: str, total: int | None = None, *, always: bool = False) -> Iterable[T]:
    """Show a bar as items are taken: on the terminal, where it is wiped away at the end, or in a notebook.

    ``always``: elsewhere a line.
    """
    if notebook_bars.in_notebook() and not quiet():
        return notebook_bars.track(items, title, total)
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    hidden = quiet() or not (always or console.is_terminal)
    return progress.track(items, title, total, console=console, transient=True, disable=hidden)
