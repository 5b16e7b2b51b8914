"""SIGTERM and Ctrl-C: the handler only sets a flag; the loop finishes its step, saves and leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Interrupted(SystemExit):
    """The process was asked to stop, and all is saved. Its exit status is 128 + the signal: 143 for SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopFlag:
    """While it is entered, remembers the first SIGTERM or SIGINT; a second Ctrl-C interrupts at once.

    ``react``, where given, is called with the number of each signal but that second Ctrl-C.
    """

    def __init__(self, react: Callable[[int], None] | None = None) -> None:
        self.signal: int | None = None
        self._react = react
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._handle) for number in _CAUGHT}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if self._react is not None:
            self._react(number)
