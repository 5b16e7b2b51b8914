"""The loggers that cryoreg brings: CSV files, and TensorBoard. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cryoreg.runs.csv_log import CsvLog
from cryoreg.seams import LoggedRun, Logger

METRICS, STEPS, BOARD = "metrics.csv", "steps.csv", "tensorboard"
"""What the loggers write in a run's directory."""


class CsvLogger(Logger):
    """metrics.csv and steps.csv in the run's directory, from which `cryoreg report` draws its curves."""

    def __init__(self, run: LoggedRun) -> None:
        self._metrics, self._steps = CsvLog(run.folder / METRICS), CsvLog(run.folder / STEPS)

    def steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add a row for each step."""
        self._steps.append(rows)

    def epoch(self, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        """Add a row; what is not known is an empty cell."""
        cells = {name: "" if math.isnan(value) else value for name, value in figures.items()}
        self._metrics.append([{"epoch": epoch, "step": step, **cells}])


class TensorBoardLogger(Logger):
    """Events for TensorBoard in the run's folder tensorboard.

    Of the steps the newest of each second; of the epochs all.
    """

    def __init__(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(run.folder / BOARD, purge_step=run.first_step)

    def steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write the newest step."""
        for key in ("loss", "lr", "grad_norm"):
            self._board.add_scalar(f"step/{key}", rows[-1][key], rows[-1]["step"])

    def epoch(self, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        """Write what is known of an epoch."""
        for key, value in figures.items():
            if not math.isnan(value):
                self._board.add_scalar(f"epoch/{key}", value, step)

    def close(self, error: BaseException | None = None) -> None:
        """Write what is left."""
        self._board.close()
