"""Bars in the output of a notebook's cell, for work that takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from html import escape
from typing import TypeVar

T = TypeVar("T")
_SECONDS_BETWEEN = 0.1


def in_notebook() -> bool:
    """Return whether this process serves a notebook; a child process of it does not."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class Bar:
    """A bar that moves as it is told; front ends that show no HTML get a line of text."""

    def __init__(self, title: str, total: int | None) -> None:
        """Show an empty bar; without a ``total`` only a number."""
        from IPython.display import display

        self._title, self._total = title, total
        self._shown = display(self._drawn(0, ""), raw=True, display_id=True)

    def show(self, done: int, status: str = "") -> None:
        """Move it on."""
        self._shown.update(self._drawn(done, status), raw=True)

    def _drawn(self, done: int, status: str) -> dict[str, str]:
        share = f"{done:,}" if not self._total else f"{100 * done // self._total} %"
        text = f"{self._title}  {share}  {status}".rstrip()
        size = f'value="{done}" max="{self._total}"' if self._total else ""
        drawn = f'<progress {size} aria-label="{escape(self._title, quote=True)}" style="width:14em"></progress>'
        told = '<span style="margin-left:.6em;font-variant-numeric:tabular-nums">{}</span>'.format(
            escape(f"{share}  {status}")
        )
        return {"text/plain": text, "text/html": f"<div>{escape(self._title)} {drawn}{told}</div>"}


def track(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Yield items; a bar moves as they are taken."""
    known = len(items) if total is None and isinstance(items, Sized) else total
    bar, shown_at, done = Bar(title, known), time.monotonic(), 0
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - shown_at > _SECONDS_BETWEEN:
            bar.show(done)
            shown_at = time.monotonic()
    bar.show(done)
