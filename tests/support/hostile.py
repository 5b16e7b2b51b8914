"""What hostile input must not bring about: nothing runs, nothing is written, and the answer is one plain line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.command_line import cli

MARK = "executed"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters with which text can steer a terminal."""


class Evil:
    """Pickles as a call that would leave a mark in the current folder."""

    def __reduce__(self):
        return os.system, (f"touch {MARK}",)


@contextmanager
def nothing_changes(root: Path) -> Iterator[None]:
    """Assert that files below ``root``, among them the mark, are the same afterwards."""
    before = files_of(root)
    yield
    assert files_of(root) == before


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of each file below ``root``."""
    places = [path for path in root.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in places}


def refused(root: Path, *words: str | Path, phrase: str = "") -> str:
    """Call ``cryoreg`` in ``root``; assert that it ends in one plain line of error, and that nothing changed below."""
    with nothing_changes(root):
        status, output = answer(*words)
    assert status in (1, 2), output
    last = output.rstrip("\n").rpartition("\n")[2]
    assert last.startswith("Error: "), output
    assert output.count("Error: ") == 1, output
    assert not CONTROL.search(last), repr(last)
    assert phrase in last, last
    assert len(last) < 5000
    return last


def answer(*words: str | Path) -> tuple[int, str]:
    """Call ``cryoreg``; return exit status and output. A traceback is a failure."""
    result = cli(*words)
    return result.exit_code, result.output
