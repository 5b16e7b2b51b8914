"""Other processes, started by spawn, as data loaders and ranks are. They are kept for the checks that follow."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Concatenate, ParamSpec, TypeVar, cast

from cryoreg.child_processes import safe_path
from cryoreg.testing.checks import CheckFailed

Given = ParamSpec("Given")
Result = TypeVar("Result")
_Answer = tuple[bool, object]
"""Whether a job ended well, and its result or what went wrong."""

TIMEOUT = 300.0
"""Seconds after which a process that says nothing is given up."""


def elsewhere(function: Callable[Given, Result], *arguments: Given.args, **named: Given.kwargs) -> Result:
    """Return what a function returns in a spawned process; raise `CheckFailed` where it cannot go there, or raises."""
    job, worker = _pickled(functools.partial(function, *arguments, **named)), _worker(0)
    worker.send(job)
    return cast(Result, _result(worker.answer()))


def on_two_ranks(
    function: Callable[Concatenate[int, Given], Result], *arguments: Given.args, **named: Given.kwargs
) -> list[Result]:
    """Return what ``function(rank, *arguments)`` returns on each of two processes of one gloo group."""
    with tempfile.TemporaryDirectory() as folder:
        ranked = [functools.partial(function, rank, *arguments, **named) for rank in range(2)]
        jobs = [_pickled(functools.partial(_on_rank, rank, f"{folder}/meeting", ranked[rank])) for rank in range(2)]
        workers = [_worker(rank) for rank in range(2)]
        for worker, job in zip(workers, jobs, strict=True):
            worker.send(job)
        answers = [worker.answer() for worker in workers]  # all, or the next job would get one that is left
    if not all(works for works, _ in answers):
        _dismiss()  # torch counts groups, those that did not come about too: these two might never meet again
    return [cast(Result, _result(answer)) for answer in answers]


def _on_rank(rank: int, meeting: str, work: Callable[[], object]) -> object:
    from torch import distributed

    limit = timedelta(seconds=TIMEOUT / 3)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=limit)
    try:
        distributed.barrier()  # whoever leaves while the other still connects would break its connection
        return work()
    finally:
        distributed.destroy_process_group()


def _pickled(work: Callable[[], object]) -> bytes:
    try:
        return pickle.dumps((sys.path, pickle.dumps(work)))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise CheckFailed(
            f"pickling it fails: {error}; keep lambdas, open files and local classes out of it"
        ) from error


class _Worker:
    """A spawned process that does one job after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with safe_path():
            self.process.start()
        theirs.close()

    def send(self, job: bytes) -> None:
        self.connection.send_bytes(job)

    def answer(self) -> _Answer:
        """Wait for the end of the job; a process that hangs or died is replaced."""
        try:
            if self.connection.poll(TIMEOUT):
                answer: _Answer = pickle.loads(self.connection.recv_bytes())
                return answer
            failure = "it does not end"
        except (EOFError, OSError):
            failure = "the process died"
        _dismiss()
        return False, failure


def _result(answer: _Answer) -> object:
    works, result = answer
    if not works:
        raise CheckFailed(f"in a spawned process: {result}")
    return result


_WORKERS: dict[int, _Worker] = {}


def _worker(number: int) -> _Worker:
    if number not in _WORKERS:
        _WORKERS[number] = _Worker()
    return _WORKERS[number]


def _dismiss() -> None:
    """End the processes that there are; the next job gets new ones."""
    while _WORKERS:
        _WORKERS.popitem()[1].process.kill()


def _serve(connection: Connection) -> None:
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    import torch

    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    warnings.simplefilter("ignore")
    while True:
        try:
            job = connection.recv_bytes()
        except (EOFError, KeyboardInterrupt):
            return
        connection.send_bytes(pickle.dumps(_done(job)))


def _done(job: bytes) -> _Answer:
    """Do a job."""
    import torch

    try:
        torch.manual_seed(0)
        sys.path[:], work = pickle.loads(job)
        return True, pickle.loads(work)()
    except Exception as error:
        return False, f"{type(error).__name__}: {' '.join(str(error).split())}"
