"""The commands that results say made them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def command_line(words: Sequence[str] | None = None) -> str:
    """Return a command, by default the one that runs; of absolute paths only the last part."""
    words = ["python", *sys.argv] if words is None else words
    return shlex.join(Path(word).name if Path(word).is_absolute() else word for word in words)
