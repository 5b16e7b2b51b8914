"""The run directory: config.toml, metrics.csv, steps.csv, TensorBoard events, checkpoints/, trained weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cryoreg.config import AnyConfig, Layer, check_same_run
from cryoreg.errors import CheckpointError, RunFolderError
from cryoreg.files import is_leftover, remove_leftovers, require_no_link, write_text
from cryoreg.runs.cards import check_state
from cryoreg.runs.checkpoint import State, load_checkpoint, save_checkpoint
from cryoreg.runs.csv_log import CsvLog
from cryoreg.runs.loggers import BOARD, METRICS, STEPS

LOCK = ".lock"
_OWN = (LOCK, "checkpoints", BOARD, METRICS, STEPS)
"""What a run writes to in place; other files it replaces."""


FOLDS = "folds"
"""Where a cross-validation keeps the run of each fold."""


def fold_of(run_dir: Path, number: int) -> Path:
    """Return the run directory of a fold of a cross-validation, counted from 1."""
    return run_dir / FOLDS / str(number)


class RunFolder:
    """One run's directory, held exclusively while it is open; ``after_folds``: that of the model after all folds."""

    def __init__(self, path: Path, after_folds: bool = False) -> None:
        self.path = path
        self.after_folds = after_folds
        self.config = path / "config.toml"
        self.checkpoints = path / "checkpoints"
        self.board = path / BOARD
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.last_of_folds = fold_of(path, 1) / self.last.relative_to(path)
        self.metrics = CsvLog(path / METRICS)
        self.steps = CsvLog(path / STEPS)
        self._lock = FileLock(path / LOCK)

    @classmethod
    @contextmanager
    def open(
        cls,
        path: Path,
        config: AnyConfig,
        resume: bool,
        rank: int = 0,
        wait_for_others: Callable[[], None] = lambda: None,
        after_folds: bool = False,
    ) -> Iterator[tuple[RunFolder, State | None]]:
        """Hold a run directory; yield it, and its last checkpoint where the run is resumed. Raises as `require`.

        Of a run's processes the one of rank 0 holds and writes it; all call ``wait_for_others``, a barrier, when it is
        ready.
        """
        folder = cls(path, after_folds)
        if rank > 0:
            wait_for_others()
            yield folder, folder.load() if resume else None
            return
        folder.require(resume)
        made = [each for each in (path, *path.parents) if not each.exists()]
        folder._hold()
        try:
            resumed = folder._go_on(config) if resume else None
            wait_for_others()
            yield folder, resumed
        finally:
            folder._lock.release()
            if not folder.last.exists():
                folder._clear([folder.checkpoints, *made])

    def require(self, resume: bool) -> None:
        """Check, before anything slow is done, that a run can start or go on here.

        Raises `RunFolderError` where a new run's folder is not empty, and `CheckpointError` where there is nothing to
        resume: a resume never starts afresh.
        """
        with self._usable():
            self._require_utf8()
            if resume and not (self.last.exists() or self.last_of_folds.exists()):
                raise CheckpointError(f"cannot resume {self.path}: {self._why_not_begun()}")
            if self.path.exists() and not self.path.is_dir():
                raise RunFolderError(f"{self.path} is a file; a run directory is a folder")
            for name in _OWN:
                require_no_link(self.path / name, RunFolderError)
            if not resume and self.path.exists() and self._is_occupied():
                raise RunFolderError(f"{self.path} is not empty; go on with --resume, or choose another --run-dir")

    def _require_utf8(self) -> None:
        try:
            str(self.path.absolute()).encode()
        except UnicodeEncodeError:
            advice = "choose another --run-dir, or rename the folder"
            raise RunFolderError(f"{self.path} is not UTF-8, as TensorBoard needs names to be; {advice}") from None

    def _is_occupied(self) -> bool:
        """Tell a used folder from one whose run was killed before its first checkpoint."""
        own = {self.path / LOCK, self.checkpoints, self.board}
        if self.after_folds or not self.last_of_folds.exists():
            own.add(self.path / FOLDS)
        others = [entry for entry in self.path.iterdir() if entry not in own and not is_leftover(entry)]
        events = [entry for entry in self.board.glob("*") if not entry.name.startswith("events.out.tfevents.")]
        return bool(others or events or list(self.checkpoints.glob("[!.]*")))

    def _why_not_begun(self) -> str:
        if self.path.is_dir() and any(self.path.iterdir()) and not self._is_occupied():
            return "its run ended before anything was trained; start it again, without --resume"
        return f"it holds no {self.last.relative_to(self.path)}"

    def start(self, config: AnyConfig, state: State) -> None:
        """Write the first checkpoint, from when on the run can be resumed, and the resolved config.

        A resumed run writes both again, as its data may have moved and config.toml may have been edited or lost.
        """
        self.save(state)
        write_text(self.config, config.to_toml())

    def load(self) -> State:
        """Return the last checkpoint; raise `CheckpointError` where it is damaged or holds no run."""
        state = load_checkpoint(self.last)
        check_state(state, self.last)
        return state

    def recorded(self) -> dict[str, Any]:
        """Return the config of the run to resume, also where no more than folds of it have begun."""
        if self.last.exists() or not self.last_of_folds.exists():
            return self.load()["config"]
        config = RunFolder(self.last_of_folds.parents[1]).load()["config"]
        return config | {"split": {key: value for key, value in config["split"].items() if key != "fold"}}

    def _go_on(self, config: AnyConfig) -> State:
        """Return the last checkpoint, and cut the logs back to it."""
        state = self.load()
        check_same_run(state["config"], config)
        progress = state["progress"]
        for log, column in ((self.metrics, "epoch"), (self.steps, "step")):
            log.keep(column, below=progress[column])
        return state

    def _hold(self) -> None:
        with self._usable():
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            remove_leftovers(self.path)
            remove_leftovers(self.checkpoints)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise RunFolderError(f"{self.path} is in use by another cryoreg process") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunFolderError(f"cannot use run directory {self.path}: {reason}") from error

    def _clear(self, folders: list[Path]) -> None:
        """Leave nothing of a run that did not start: its lock, and of the folders made for it those that are empty."""
        (self.path / LOCK).unlink(missing_ok=True)
        with suppress(OSError):
            for folder in folders:
                folder.rmdir()

    def save(self, state: State) -> None:
        """Replace the last checkpoint."""
        save_checkpoint(self.last, state)

    def save_best(self, state: State) -> None:
        """Replace the best checkpoint."""
        save_checkpoint(self.best, state)


def with_run(task: str, layers: list[Layer], run_dir: Path) -> list[Layer]:
    """Return the layers of a run to resume: what its last checkpoint recorded comes first."""
    folder = RunFolder(run_dir)
    folder.require(resume=True)
    recorded = folder.recorded()
    if recorded["task"] != task:
        raise RunFolderError(f"{run_dir} holds a run of `cryoreg {recorded['task']}`; resume it with that command")
    return [Layer(str(folder.last), recorded), *layers]
