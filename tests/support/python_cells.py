"""Run the Python blocks of a documentation page as the cells of a notebook.

A fenced block that is called ``python``, without a title, is a cell; all share one namespace. Where a ``text`` block
follows, each of its lines must be among those that the cell prints, the value of its last expression being the last of
them; ``...`` stands for anything.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from support.console_blocks import first_missing

_CELL = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\n\n^```text\n(?P<shown>.*?)^```$)?", re.MULTILINE | re.DOTALL)


class Cell(NamedTuple):
    """A cell, and what it shows."""

    line: int
    code: str
    shown: list[str]


def cells_of(text: str) -> Iterator[Cell]:
    """Yield the cells of a page."""
    for found in _CELL.finditer(text):
        yield Cell(text.count("\n", 0, found.start()) + 2, found["code"], (found["shown"] or "").splitlines())


def run_cells(text: str, page: str) -> list[Any]:
    """Run the cells of a page; return the values of their last expressions. A failure names page and line."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [_run(cell, page, namespace) for cell in cells_of(text)]


def _run(cell: Cell, page: str, namespace: dict[str, Any]) -> Any:
    tree = ast.parse(cell.code)
    ast.increment_lineno(tree, cell.line - 1)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, page, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), page, "eval"), namespace)
    output = printed.getvalue() + ("" if value is None else f"{value!r}\n")
    missing = first_missing(cell.shown, output)
    assert missing is None, f"{page}:{cell.line}: does not show: {missing}\nbut:\n{output}"
    return value
