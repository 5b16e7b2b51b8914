"""Names of classes that may well be one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_BETWEEN = re.compile(r"[\s_-]+")


def alike_note(classes: Sequence[str]) -> list[str]:
    """Return a line on the first two classes that differ by capitals, blanks, - and _, or as 1 and 1.0 do, alone."""
    seen: dict[str | float, str] = {}
    for name in classes:
        other = seen.setdefault(_meaning(name), name)
        if other != name:
            return [f"'{other}' and '{name}' are two classes; if they are one, write them alike"]
    return []


def _meaning(name: str) -> str | float:
    try:
        return float(name)
    except ValueError:
        return _BETWEEN.sub("", name.casefold())
