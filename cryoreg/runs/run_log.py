"""What a run writes down as it goes on, through the loggers that it names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from cryoreg import registry
from cryoreg.errors import ConfigError, CryoregError, message_of
from cryoreg.seams import LoggedRun, Logger

_FLUSH_SECONDS = 1.0


class RunLog:
    """The loggers of a run, by name, open while it is entered."""

    def __init__(self, run: LoggedRun, names: Sequence[str], say: Callable[[str], object]) -> None:
        """``say`` gets a line where a logger fails, without which the run then goes on."""
        self._run, self._names, self._say = run, names, say
        self._loggers: dict[str, Logger] = {}
        self._rows: list[Mapping[str, float]] = []
        self._flushed_at = time.monotonic()

    def __enter__(self) -> Self:
        try:
            for name in self._names:
                self._loggers[name] = _opened(name, self._run)
        except BaseException as error:
            self._close(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        self._close(error)

    def step(self, row: Mapping[str, float]) -> None:
        """Note a step, to be written within a second or so."""
        self._rows.append(row)
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Pass the steps since the last flush on."""
        rows, self._rows = self._rows, []
        if rows:
            self._tell(lambda logger: logger.steps(rows))
        self._flushed_at = time.monotonic()

    def epoch(self, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        """Pass an epoch's figures on, NaN where one is not known."""
        self._tell(lambda logger: logger.epoch(epoch, step, figures))

    def _close(self, error: BaseException | None) -> None:
        self._tell(lambda logger: logger.close(error))
        self._loggers = {}

    def _tell(self, action: Callable[[Logger], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                action(logger)
            except CryoregError:
                raise
            except (Exception, SystemExit) as error:
                del self._loggers[name]
                reason = f"{type(error).__name__}: {message_of(error)}"
                self._say(f"Warning: logger '{name}' failed ({reason}); the run goes on without it")


def require_loggers(names: Iterable[str]) -> None:
    """Raise a `CryoregError`, before anything slow is done, where a logger is not installed or cannot be loaded."""
    for name in names:
        registry.find_part("logger", name)


def _opened(name: str, run: LoggedRun) -> Logger:
    component = registry.find("loggers", name)
    try:
        logger: Logger = component.part()(run)
        return logger
    except (Exception, SystemExit) as error:
        if component.builtin or isinstance(error, CryoregError):
            raise
        raise ConfigError(
            f"training.loggers: '{name}' of {component.dist} {component.version} cannot begin: "
            f"{type(error).__name__}: {message_of(error)}; mend that, or leave it out, and go on with --resume"
        ) from error
