"""Dynamo's lists of tomograms (.doc), by whose numbers its particle tables name them."""

from __future__ import annotations

from pathlib import Path

from cryoreg.datasets.io.volume_files import one_line, refuse


def read_index(path: str | Path) -> dict[int, str]:
    """Read a .doc file: in each line the number of a tomogram (column 20 of the table) and its file."""
    index: dict[int, str] = {}
    with one_line(path, "a Dynamo list of tomograms"):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    for count, line in enumerate(lines, 1):
        number, _, file = line.strip().partition(" ")
        if not line.strip():
            continue
        if not number.isdecimal() or not file.strip():
            refuse(path, f"has '{line.strip()}' in line {count}, not the number and the file of a tomogram; mend it")
        if index.setdefault(int(number), file.strip()) != file.strip():
            refuse(path, f"gives tomogram {int(number)} two files, {index[int(number)]} and {file.strip()}; keep one")
    return index
