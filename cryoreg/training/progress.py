"""What a person sees while a run goes on: a bar with ETA and subtomograms/s, or plain lines without a terminal."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cryoreg.config.starts import SCRATCH, is_name
from cryoreg.datasets.adaptation import TOLD, differences
from cryoreg.notebook_bars import Bar, in_notebook
from cryoreg.telling import heard, quiet, tell

if TYPE_CHECKING:
    from cryoreg.config import AnyConfig
    from cryoreg.contracts import Subtomograms
    from cryoreg.runs.cards import Card
    from cryoreg.training.lightning import Fabric

_SECONDS_BETWEEN_REFRESHES = 0.1
_SECONDS_BETWEEN_LINES = 15.0
_SHOWN = {
    "rankme": ("rank", ".1f"),
    "val_accuracy": ("val", ".1%"),
    "knn_accuracy": ("kNN", ".1%"),
    "linear_accuracy": ("linear", ".1%"),
}
"""Columns of metrics.csv -> name and format in the line."""


def show_notes(config: AnyConfig, dataset: Subtomograms, fabric: Fabric, start: Card | None = None) -> None:
    """Print, in the leading process, what is to be said of a run's data; ``start`` is the card of first weights."""
    lines = [] if start is None else [f"differs: {line}" for line in differences(dataset, start)]
    show([*lines, *(f"note: {note}" for note in config.notes_on(dataset))], fabric)


def show(lines: Iterable[str], fabric: Fabric) -> None:
    """Print lines in the leading process."""
    if fabric.is_global_zero:
        for line in lines:
            tell(line)


def show_start(config: AnyConfig, fabric: Fabric) -> None:
    """Print, in the leading process, which weights a run starts from."""
    show(_on_start(config), fabric)


def _on_start(config: AnyConfig) -> Iterator[str]:
    start = config.training.pretrained
    asked = config.sources.get("training.pretrained", "default") != "default"
    if start is None or start == SCRATCH:
        yield f"starts from random weights{'' if asked else ': this encoder, with these settings, has no trained ones'}"
        return
    control = "" if asked else "; --from scratch is the control"
    yield f"starts from {start}{f' of {config.started_from}' if config.started_from else ''}{control}"
    bare = str(start).rpartition(":")[2]
    if is_name(start) and os.path.exists(bare):
        yield f"note: the file or folder '{bare}' is not meant; that would be ./{bare}"
    yield from _told_before(config)


def _told_before(config: AnyConfig) -> Iterator[str]:
    """Yield what was said of the files of the run that this one starts from, and now holds for others."""
    origin = config.sources.get("encoder.name")
    if config.sources.get("dataset.root") in (None, origin):
        return
    for key, value in config.spec("dataset"):
        if key in TOLD and value is not None and config.sources.get(f"dataset.{key}") == origin:
            yield f"note: dataset.{key} = {value}, as said of the data of {origin}; say --set dataset.{key}=... if not"


class ProgressLine:
    """Shows epoch, loss, speed and time left."""

    def __init__(self, title: str, epochs: int, steps_per_epoch: int, done: int, silent: bool = False) -> None:
        self._console = Console(stderr=True, quiet=silent, force_jupyter=False)
        self._title, self._epochs, self._steps_per_epoch = title, epochs, steps_per_epoch
        self._total = epochs * steps_per_epoch
        self._started_at, self._done_before, self._done, self._seen = time.monotonic(), done, done, 0
        self._shown_at = 0.0
        self._figures = ""
        self._alarm = ""
        self._page = Bar(title, self._total) if in_notebook() and not (silent or quiet()) else None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet() or self._page is not None or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=self._total, completed=done, status="")

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, loss: float, subtomograms: int) -> None:
        """Count a step; what is shown is refreshed only now and then."""
        self._done += 1
        self._seen += subtomograms
        now = time.monotonic()
        interval = _SECONDS_BETWEEN_REFRESHES if self._has_bar else _SECONDS_BETWEEN_LINES
        if now - self._shown_at > interval or self._done == self._total:
            self._show(loss, now - self._started_at)
            self._shown_at = now

    def end_epoch(self, figures: Mapping[str, float], alarm: str) -> None:
        """Show an epoch's figures from now on, and say so when the alarm is raised or over."""
        self._figures = "".join(
            f"  {name} {figures[key]:{form}}"
            for key, (name, form) in _SHOWN.items()
            if not math.isnan(figures.get(key, math.nan))
        )
        if alarm and not self._alarm:
            self.say(f"Warning: {self._title} may have collapsed, or not begun to learn: {alarm}")
        elif self._alarm and not alarm:
            self.say(f"{self._title}: learning; the warning no longer holds")
        self._alarm = alarm

    def say(self, text: str) -> None:
        """Print a line above the bar, if it is to be heard."""
        if heard(text):
            self._console.print(text, highlight=False, soft_wrap=True)

    @property
    def _has_bar(self) -> bool:
        return self._console.is_terminal or self._page is not None

    def _show(self, loss: float, elapsed: float) -> None:
        epoch = min(self._epochs, self._done // self._steps_per_epoch + 1)
        rate = self._seen / max(elapsed, 1e-9)
        status = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}  {rate:.0f} subtomograms/s{self._figures}"
        left = elapsed / (self._done - self._done_before) * (self._total - self._done)
        if self._page is not None:
            self._page.show(self._done, f"{status}  ETA {left:.0f} s")
        elif self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, status=status)
        else:
            self.say(f"{self._title}: {100 * self._done // self._total:3d} %  {status}  ETA {left:.0f} s")
