"""Scenes from several processes: the same bits as from one, in the same order. Workers import no torch."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

from cryoreg.child_processes import safe_path
from cryoreg.errors import ProcessLostError
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.simulator import BATCH, Scene, Simulator
from cryoreg.simulation.structures import Structure

AnyScene = TypeVar("AnyScene", covariant=True)


def simulate_scenes(
    structures: Sequence[Structure], settings: SceneSettings, seed: int, indices: Iterable[int], workers: int = 1
) -> Iterator[Scene]:
    """Simulate scenes in the order of their indices, in this process or in ``workers`` others, in bounded memory.

    Raises `ProcessLostError` where a worker was killed.
    """
    return scenes_of(functools.partial(Simulator, tuple(structures), settings, seed), indices, workers)


class SceneSource(Protocol[AnyScene]):
    """Makes scenes by their indices."""

    def scenes(self, indices: Iterable[int]) -> Iterator[AnyScene]:
        """Simulate scenes in the order of their indices."""


def scenes_of(
    make_source: Callable[[], SceneSource[AnyScene]], indices: Iterable[int], workers: int = 1
) -> Iterator[AnyScene]:
    """Do what `simulate_scenes` does, for whatever ``make_source`` makes, in each worker once."""
    if workers <= 1:
        return make_source().scenes(indices)
    return _in_processes(make_source, iter(indices), workers)


def _in_processes(
    make_source: Callable[[], SceneSource[AnyScene]], indices: Iterator[int], workers: int
) -> Iterator[AnyScene]:
    """Hand out batches, a few ahead of what is taken."""
    with safe_path():
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (make_source,))
    waiting: deque[Future[list[AnyScene]]] = deque()
    try:
        while True:
            while len(waiting) < 2 * workers and (batch := list(islice(indices, BATCH))):
                with safe_path():  # the first one starts the processes
                    waiting.append(pool.submit(_simulate_batch, batch))
            if not waiting:
                return
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ProcessLostError(
            "a worker was killed, perhaps for want of memory; repeat the command, with fewer --processes, to go on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_source: SceneSource[Any] | None = None
"""A worker's own."""


def _start_worker(make_source: Callable[[], SceneSource[Any]]) -> None:
    global _source
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _source = make_source()


def _end_with_parent() -> None:
    """Wait for the parent's end, after which nobody would stop this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _simulate_batch(indices: Sequence[int]) -> list[Any]:
    assert _source is not None, "workers are started by _start_worker"
    return list(_source.scenes(indices))
