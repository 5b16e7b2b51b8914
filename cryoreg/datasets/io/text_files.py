"""The lines of text files, or what a file is instead of text."""

from __future__ import annotations

from pathlib import Path

from cryoreg.datasets.io.volume_files import one_line, refuse

_LONGEST = 2**20
"""Characters: longer lines than this are no rows of a table, and cost far more memory than the file has bytes."""
_OTHERS = {
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"\x1f\x8b": "compressed; unpack it (gunzip)",
    b"BZh": "compressed; unpack it (bunzip2)",
    b"PK\x03\x04": "a ZIP archive, as Excel's files are; export it as text",
    b"\x89HDF": "an HDF5 file, not text; check the path",
}


def read_text_lines(path: str | Path, kind: str) -> list[str]:
    """Return the lines of a text file of a ``kind`` ("a STAR file") with their ends, without a byte order mark.

    Raises `DataError`, which says what the file is instead, where it is not UTF-8 text.
    """
    with one_line(path, kind):
        with open(path, "rb") as stream:
            beginning = stream.read(8)
        what = next((text for magic, text in _OTHERS.items() if beginning.startswith(magic)), None)
        if what is not None:
            refuse(path, f"is {what}")
        try:
            with open(path, encoding="utf-8-sig", newline="") as stream:
                lines = list(stream)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            refuse(
                path,
                f"cannot be read as UTF-8 text (it has the byte 0x{byte:02x}); save it as UTF-8, or check the path",
            )
    _check(path, lines)
    return lines


def _check(path: str | Path, lines: list[str]) -> None:
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST:
            refuse(path, f"line {number} has {len(line):,} characters, which no row of a table has; check the file")
        if "\0" in line:
            refuse(path, f"line {number} has null characters, so that it is not text in UTF-8; save it as UTF-8")
