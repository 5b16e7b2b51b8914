"""The text of STAR files: where a value begins and ends in a line, and how a value is written so that it comes back.

After S. R. Hall, "The STAR file: a new format for electronic data transfer and archiving", J. Chem. Inf. Comput. Sci.
31 (1991), and its use by CIF 1.1 and RELION: a quote ends a value only where white space follows it, and ``#`` begins
a comment only where a value could begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cryoreg.errors import DataError

BLANKS = " \t\r\n"
_SPACE = r" \t\r\n"
_PLAIN_VALUE = re.compile(rf"[^{_SPACE}]+")
_QUOTE_OR_COMMENT = re.compile(r"""(?:^|[ \t])["'#]""", re.MULTILINE)
_ODD = re.compile("[\0\f\v\x1c-\x1f]")
_VALUE = re.compile(
    rf"""(?<![^{_SPACE}])(?:
        "(?:[^"]|"(?![{_SPACE}]|\Z))*"(?=[{_SPACE}]|\Z)
        |'(?:[^']|'(?![{_SPACE}]|\Z))*'(?=[{_SPACE}]|\Z)
        |[^{_SPACE}\#][^{_SPACE}]*
        |(?P<comment>\#.*)
    )""",
    re.VERBOSE,
)
_BARE = re.compile(r"[!%&()*+,\-./:<=>?@A-Z\\^`a-z{|}~0-9][!%&()*+,\-./0-9:;<=>?@A-Z\[\\\]^_`a-z{|}~$]*")
_RESERVED = re.compile(r"[?.]|(?:data|save)_.*|(?:loop|stop|global)_", re.IGNORECASE)
_UNHOLDABLE = re.compile(r"[\0-\x08\n-\x1f\x7f\x85\u2028\u2029]")


def spans(line: str) -> list[tuple[int, int]]:
    """Return where each value of a line begins and ends, quotes included; a comment is none."""
    if is_plain(line):
        return [match.span() for match in _PLAIN_VALUE.finditer(line)]
    return [match.span() for match in _VALUE.finditer(line) if match["comment"] is None]


def is_plain(text: str) -> bool:
    """Tell whether blanks alone say where the values of a text, one line or many, begin and end."""
    if not text.isascii() or _ODD.search(text):
        return False
    return not (any(mark in text for mark in "\"'#") and _QUOTE_OR_COMMENT.search(text))


def unquoted(value: str) -> str:
    """Return what a value says: what stands within its quotes, where it has some."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def quoted(text: str) -> str:
    """Return a text as a value, in quotes where it needs them; raise `DataError` where no line of STAR can hold it."""
    if _BARE.fullmatch(text) and not _RESERVED.fullmatch(text):
        return text
    for mark in sorted("\"'", key=text.count):
        if not (_UNHOLDABLE.search(text) or re.search(f"{mark}[{_SPACE}]", text)):
            return f"{mark}{text}{mark}"
    raise DataError(f"a STAR file cannot hold the name {text!r} (line breaks, or both kinds of quotes); write CSV")


def star_table(name: str, columns: Mapping[str, Iterable[str | float]]) -> str:
    """Return a block "data_NAME" with a loop: columns by label, without the underscore."""
    head = [f"_{label} #{number}" for number, label in enumerate(columns, 1)]
    rows = [" ".join(map(_written, row)) for row in zip(*columns.values(), strict=True)]
    return "\n".join(["", f"data_{name}", "", "loop_", *head, *rows, "", ""])


def _written(value: str | float) -> str:
    if isinstance(value, str):
        return quoted(value)
    return f"{value:.6f}" if isinstance(value, float) else str(value)
