"""Work given to another Python process, which imports what that needs while this one does something else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cryoreg.child_processes import safe_path
from cryoreg.quick_imports import import_quickly
from cryoreg.threads import in_threads

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor

Result = TypeVar("Result")


class Beside:
    """A process that works beside this one, one task after the other; or, where there is none, this one."""

    def __init__(self, other: Executor | None = None) -> None:
        self._other = other

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Leave a core to the other process meanwhile: small steps in several threads wait for one that has none."""
        import torch

        with in_threads(max(1, torch.get_num_threads() - (self._other is not None))):
            yield

    def ask(self, function: Callable[..., Result], *given: object) -> Callable[[], Result]:
        """Let a module's ``function`` begin, and return what waits for its result, or raises what it raised."""
        here = partial(function, *given)
        try:
            asked = self._other.submit(function, *given) if self._other is not None else None
        except BrokenExecutor:
            asked = None
        if asked is None:
            return here

        def result() -> Result:
            try:
                return asked.result()
            except BrokenExecutor:  # killed, as for its memory: nothing is lost but time
                return here()

        return result


@contextmanager
def beside(*modules: str) -> Iterator[Beside]:
    """Start a process that imports ``modules``, to be asked meanwhile, and end it.

    None is started where they have all been imported here, so that nothing is won, or there is one core alone.
    """
    other = None if all(module in sys.modules for module in modules) else _another()
    if other is None:
        yield Beside()
        return
    with safe_path():  # it is started by its first task
        other.submit(import_quickly, *modules)
    try:
        yield Beside(other)
    finally:
        other.shutdown(kill_workers=True)


def _another() -> ProcessPoolExecutor | None:
    """Return what starts a process; None where it would have no core, or the system has no semaphores."""
    from loky import ProcessPoolExecutor, cpu_count

    try:
        return ProcessPoolExecutor(1) if cpu_count() > 1 else None
    except OSError:
        return None
