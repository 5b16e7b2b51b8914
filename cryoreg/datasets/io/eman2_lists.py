"""EMAN2's lists of images (``.lst``): a line for each, with its number, its file and what is said of it, as JSON.

The format of EMAN2's LSXFile: ``#LSX``, a comment, the length of all lines; then number, file and JSON, divided by
tabs, and blanks up to that length. Numbers count from 0. Older lists (``#LST``) have no fixed length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cryoreg.datasets.io.volume_files import one_line, refuse

MAGIC = ("#LSX", "#LST")
_COMMENT = (
    "# This file is in fast LST format. All lines after the next line have exactly the number of characters shown on "
    "the next line. This MUST be preserved if editing."
)
_BLANKS = re.compile(r"\s+")


class Row(NamedTuple):
    """One image of a list."""

    number: int
    """In its file, counted from 0."""
    file: str
    """As the list names it."""
    said: Mapping[str, Any] | None
    """What the list says of it; None where that is no JSON, as in lists of older programs."""


def is_list(path: str | Path) -> bool:
    """Tell whether a file begins as a list of images does."""
    with one_line(path, "a list of images"), open(path, "rb") as stream:
        return stream.read(7).removeprefix(b"\xef\xbb\xbf")[:4].decode("ascii", "replace") in MAGIC


def read_rows(path: str) -> list[Row]:
    """Return the images of a list; raise `DataError`, with the line, where one names none."""
    with one_line(path, "a list of images"):
        text = Path(path).read_text(encoding="utf-8-sig")
    lines = text.splitlines()
    if not lines or lines[0].strip() not in MAGIC:
        refuse(path, f"does not begin with {' or '.join(MAGIC)}, as EMAN2's lists do; check the path")
    rows = [
        _row(path, place, line)
        for place, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        refuse(path, "lists no images; check how it was written")
    return rows


def _row(path: str, place: int, line: str) -> Row:
    parts = line.strip().split("\t", 2) if "\t" in line.strip() else _BLANKS.split(line.strip(), 2)
    if len(parts) < 2 or not parts[0].strip().isdecimal():
        refuse(path, f"line {place} is no number of an image and its file, divided by a tab; mend or remove it")
    return Row(int(parts[0]), parts[1].strip(), _said(parts[2] if len(parts) > 2 else ""))


def _said(text: str) -> Mapping[str, Any] | None:
    if not text.strip():
        return {}
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def list_text(rows: Sequence[Row]) -> str:
    """Return the text of a list, each line filled up to the same number of bytes."""
    lines = [f"{row.number}\t{row.file}" + (f"\t{_json(row.said)}" if row.said else "") for row in rows]
    length = max(len(line.encode()) for line in lines) + 1
    filled = (line + " " * (length - 1 - len(line.encode())) for line in lines)
    return "\n".join([MAGIC[0], _COMMENT, f"# {length}", *filled, ""])


def _json(said: Mapping[str, Any]) -> str:
    return json.dumps(said, separators=(",", ":"))
