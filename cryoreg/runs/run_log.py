"""What a run writes down as it goes on: steps.csv, metrics.csv and TensorBoard events."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cryoreg.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_FLUSH_SECONDS = 1.0


class RunLog:
    """The logs of a run directory; of a run's processes one writes them."""

    def __init__(self, folder: RunFolder, first_step: int, writes: bool) -> None:
        """Begin, or go on, at ``first_step``, when it is entered; with ``writes`` false, nothing is written."""
        self.folder, self._first_step, self._writes = folder, first_step, writes
        self._board: SummaryWriter | None = None
        self._rows: list[Mapping[str, Any]] = []
        self._flushed_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._writes:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(self.folder.board, purge_step=self._first_step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(self, row: Mapping[str, Any]) -> None:
        """Note a step, to be written within a second or so."""
        self._rows.append(row)
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the steps since the last flush to steps.csv, and the newest to TensorBoard."""
        if self._rows and self._board:
            self.folder.steps.append(self._rows)
            for key in ("loss", "lr", "grad_norm"):
                self._board.add_scalar(f"step/{key}", self._rows[-1][key], self._rows[-1]["step"])
        self._rows = []
        self._flushed_at = time.monotonic()

    def epoch(self, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        """Write an epoch's figures; NaN leaves a cell empty."""
        if self._board:
            known = {key: value for key, value in figures.items() if not math.isnan(value)}
            self.folder.metrics.append([{"epoch": epoch, "step": step, **dict.fromkeys(figures, ""), **known}])
            for key, value in known.items():
                self._board.add_scalar(f"epoch/{key}", value, step)

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        if self._board:
            self._board.close()
