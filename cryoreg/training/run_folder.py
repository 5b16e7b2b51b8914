"""The run directory: config.toml, metrics.csv, steps.csv, TensorBoard events, checkpoints/, exported weights."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cryoreg.config import Layer, RunConfig, check_same_run
from cryoreg.errors import CheckpointError, RunFolderError
from cryoreg.files import remove_leftovers, write_text
from cryoreg.training.checkpoint import load_checkpoint, save_checkpoint

LOCK = ".lock"


class RunFolder:
    """One run's directory, held exclusively while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.metrics = CsvLog(path / "metrics.csv")
        self.steps = CsvLog(path / "steps.csv")
        self._lock = FileLock(path / LOCK)

    @classmethod
    @contextmanager
    def open(cls, path: Path, config: RunConfig, resume: bool) -> Iterator[tuple[RunFolder, dict[str, Any] | None]]:
        """Hold a run directory; yield it, and its last checkpoint where the run is resumed. Raises as `require`."""
        folder = cls(path)
        folder.require(resume)
        folder._hold()
        try:
            yield folder, folder._go_on(config) if resume else None
        finally:
            folder._lock.release()

    def require(self, resume: bool) -> None:
        """Check, before anything slow is done, that a run can start or go on here.

        Raises `RunFolderError` where a new run's folder is not empty, and `CheckpointError` where there is nothing to
        resume: a resume never starts afresh.
        """
        if resume and not self.last.exists():
            raise CheckpointError(f"cannot resume {self.path}: it holds no {self.last.relative_to(self.path)}")
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; a run directory is a folder")
        if not resume and self.path.exists() and self._is_occupied():
            raise RunFolderError(f"{self.path} is not empty; go on with --resume, or choose another --run-dir")

    def _is_occupied(self) -> bool:
        """Tell a used folder from one whose run was killed before its first checkpoint."""
        others = [entry for entry in self.path.iterdir() if entry.name != LOCK and entry != self.checkpoints]
        return bool(others or list(self.checkpoints.glob("[!.]*")))

    def start(self, config: RunConfig, state: dict[str, Any]) -> None:
        """Write the first checkpoint, from when on the run can be resumed, and the resolved config."""
        self.save(state)
        write_text(self.config, config.to_toml())

    def _go_on(self, config: RunConfig) -> dict[str, Any]:
        """Return the last checkpoint, and cut the logs back to it."""
        state = load_checkpoint(self.last)
        check_same_run(state["config"], config)
        self.metrics.keep("epoch", below=state["progress"]["epoch"])
        self.steps.keep("step", below=state["progress"]["step"])
        return state

    def _hold(self) -> None:
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            remove_leftovers(self.path)
            remove_leftovers(self.checkpoints)
        except Timeout:
            raise RunFolderError(f"{self.path} is in use by another cryoreg process") from None
        except OSError as error:
            raise RunFolderError(f"cannot use run directory {self.path}: {error.strerror or error}") from error

    def save(self, state: dict[str, Any]) -> None:
        """Replace the last checkpoint."""
        save_checkpoint(self.last, state)

    def save_best(self, state: dict[str, Any]) -> None:
        """Replace the best checkpoint."""
        save_checkpoint(self.best, state)


def with_run(layers: list[Layer], run_dir: Path) -> list[Layer]:
    """Return the layers of a run to resume: what its last checkpoint recorded comes first."""
    folder = RunFolder(run_dir)
    folder.require(resume=True)
    return [Layer(str(folder.last), load_checkpoint(folder.last)["config"]), *layers]


class CsvLog:
    """A CSV file that grows by rows of the same columns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, and the header before the first."""
        try:
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise RunFolderError(f"cannot write {self.path}: {error.strerror}") from error

    def read(self) -> list[dict[str, str]]:
        """Return all complete rows; a last line that a kill cut off is left out."""
        if not self.path.exists():
            return []
        text = self.path.read_text()
        complete = text[: text.rfind("\n") + 1]
        return list(csv.DictReader(io.StringIO(complete)))

    def keep(self, column: str, below: int) -> None:
        """Drop the rows whose integer ``column`` is ``below`` or more."""
        rows = [row for row in self.read() if int(row[column]) < below]
        self.path.unlink(missing_ok=True)
        if rows:
            self.append(rows)
