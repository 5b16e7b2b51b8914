"""Jobs that are run once: named by the hash of what defines them, in child processes, on GPUs or through SLURM."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock, Timeout

from cryoreg.errors import ConfigError, CryoregError
from cryoreg.files import write_text
from cryoreg.training.signals import Interrupted, StopFlag

JOB = "job.json"
RESULT = "result.json"
LOG = "log.txt"
_LOCK = ".lock"
_GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A function and what it is called with: ``function(folder, payload, folders of needs) -> result``.

    ``function`` is "package.module:name"; payload and result are what JSON can hold.
    """

    name: str
    """For people; two jobs that differ in it alone are one."""
    function: str
    payload: Mapping[str, Any]
    needs: tuple[Job, ...] = ()

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits of SHA-256 over function, payload and the keys of what it needs."""
        return hashlib.sha256(json.dumps(self.definition(), sort_keys=True).encode()).hexdigest()[:16]

    def definition(self) -> dict[str, Any]:
        """Return what the key is made of, as plain values."""
        plain = json.loads(json.dumps(dict(self.payload)))
        return {"function": self.function, "payload": plain, "needs": [job.key for job in self.needs]}


@dataclass(frozen=True)
class Execution:
    """Where jobs run."""

    processes: int = 1
    """Jobs at a time; with SLURM, so many in its queue."""
    gpus: int = 0
    """GPUs here that they are spread over; 0: each job takes what it finds."""
    slurm: Mapping[str, Any] | None = None
    """Parameters of submitit's executor (partition, timeout_min, ...); ``cluster`` chooses another than SLURM."""


def folder_of(job: Job, root: Path) -> Path:
    """Return where a job's files are."""
    return root / "jobs" / job.key


def results(jobs: Iterable[Job], root: Path) -> dict[str, dict[str, Any]]:
    """Return key -> result of the jobs that are done; nothing is run. Raises `CryoregError` for a damaged result."""
    found = {}
    for job in _with_needs(jobs):
        result = _result(job, root)
        if result is not None:
            found[job.key] = result
    return found


def run_jobs(jobs: Iterable[Job], root: Path, execution: Execution, say: Say) -> dict[str, dict[str, Any]]:
    """Run all jobs that are not done, and what they need first; return key -> result.

    A job that fails leaves its log; those that need it are skipped, the others go on, and in the end `CryoregError`
    names it. SIGTERM and Ctrl-C are handed to the running jobs, which save, and `Interrupted` is raised.
    """
    every = list(_with_needs(jobs))
    run = _Run(every, root, _launcher(execution, root), execution.processes, say)
    with StopFlag(run.stop) as flag:
        run.to_the_end(flag)
    if flag.signal is not None:
        raise KeyboardInterrupt if flag.signal == signal.SIGINT else Interrupted(flag.signal)
    run.raise_failures()
    return results(every, root)


def _with_needs(jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield every job once, after what it needs."""
    seen: set[str] = set()

    def visit(job: Job) -> Iterator[Job]:
        if job.key not in seen:
            seen.add(job.key)
            for need in job.needs:
                yield from visit(need)
            yield job

    for job in jobs:
        yield from visit(job)


def _result(job: Job, root: Path) -> dict[str, Any] | None:
    path = folder_of(job, root) / RESULT
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["job"] != job.definition():
            raise CryoregError(f"{path} is of another job than its folder's name says; remove the folder")
        return dict(record["result"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CryoregError(f"cannot read {path}: {error}; remove the file, and the job is run again") from error


class Handle(Protocol):
    """A job that was started."""

    def ended(self) -> bool:
        """Tell whether it runs no more."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it at once."""


Launcher = Callable[[Path, int], Handle]
"""Starts the job of a folder in one of the slots, counted from 0."""


class _Started(NamedTuple):
    job: Job
    handle: Handle
    at: float


class _Run:
    """Some jobs, from the first to the last."""

    def __init__(self, jobs: list[Job], root: Path, launch: Launcher, slots: int, say: Say) -> None:
        self.root, self.launch, self.say = root, launch, say
        self.done = set(results(jobs, root))
        self.open = [job for job in jobs if job.key not in self.done]
        self.total, self.skipped_at_start = len(jobs), len(self.done)
        self.slots: dict[int, _Started | None] = dict.fromkeys(range(slots))
        self.failed: list[Job] = []
        self.begun = time.monotonic()

    def to_the_end(self, flag: StopFlag) -> None:
        """Start jobs as their needs and slots allow, until none is left or a stop is asked for."""
        if self.skipped_at_start:
            self.say(f"{self.skipped_at_start} of {self.total} jobs are done already")
        asked = None
        try:
            while self._running() or (self.open and flag.signal is None):
                self._collect()
                if flag.signal is None:
                    self._start_ready()
                elif asked is None:
                    asked = time.monotonic()
                elif time.monotonic() - asked > _GRACE_SECONDS:
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            for started in self._running():
                started.handle.kill()

    def stop(self, number: int) -> None:
        """Ask what runs to save and end."""
        for started in self._running():
            started.handle.stop()

    def raise_failures(self) -> None:
        """Raise `CryoregError` where jobs failed."""
        if self.failed:
            first = self.failed[0]
            raise CryoregError(
                f"{len(self.failed)} of {self.total} jobs failed or need one that did, first '{first.name}': "
                f"{_last_line(self.root, first)} (see {folder_of(first, self.root) / LOG}); "
                "the others are done, and the same command tries these again"
            )

    def _running(self) -> list[_Started]:
        return [started for started in self.slots.values() if started is not None]

    def _collect(self) -> None:
        for slot, started in self.slots.items():
            if started is not None and started.handle.ended():
                self.slots[slot] = None
                self._finish(started)

    def _finish(self, started: _Started) -> None:
        job = started.job
        if _result(job, self.root) is None:
            self.failed.append(job)
            self.say(f"failed: {job.name}: {_last_line(self.root, job)}")
            return
        self.done.add(job.key)
        seconds = time.monotonic() - started.at
        self.say(f"[{len(self.done)}/{self.total}] {job.name}  {seconds:.0f} s  {self._left()}")

    def _left(self) -> str:
        made = len(self.done) - self.skipped_at_start
        rest = self.total - len(self.done) - len(self.failed)
        minutes = (time.monotonic() - self.begun) / max(1, made) * rest / 60
        return f"about {minutes:.0f} min left" if rest else ""

    def _start_ready(self) -> None:
        for slot, started in self.slots.items():
            if started is None:
                self.slots[slot] = self._start_one(slot)

    def _start_one(self, slot: int) -> _Started | None:
        failed = {job.key for job in self.failed}
        for job in list(self.open):
            if any(need.key in failed for need in job.needs):
                self.open.remove(job)
                self.failed.append(job)
                self.say(f"skipped: {job.name}, which needs what failed")
                failed.add(job.key)
            elif all(need.key in self.done for need in job.needs):
                started = self._start(job, slot)
                if started is not None:
                    return started
        return None

    def _start(self, job: Job, slot: int) -> _Started | None:
        """Start a job unless another invocation runs it; take over its result where that has finished it."""
        folder = folder_of(job, self.root)
        folder.mkdir(parents=True, exist_ok=True)
        if is_running(folder):
            return None
        self.open.remove(job)
        if _result(job, self.root) is not None:
            self.done.add(job.key)
            return None
        needs = [str(folder_of(need, self.root).absolute()) for need in job.needs]
        write_text(folder / JOB, json.dumps({"name": job.name, "job": job.definition(), "needs": needs}, indent=1))
        return _Started(job, self.launch(folder, slot), time.monotonic())


def lock_of(folder: Path) -> FileLock:
    """Return the lock that a job's process holds as long as it runs, also where who started it was killed."""
    return FileLock(folder / _LOCK)


def is_running(folder: Path) -> bool:
    """Tell whether some process works on a job."""
    try:
        with lock_of(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _last_line(root: Path, job: Job) -> str:
    try:
        lines = (folder_of(job, root) / LOG).read_text("utf-8", "replace").split("\n")
    except OSError:
        return "it left no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _launcher(execution: Execution, root: Path) -> Launcher:
    if execution.slurm is None:
        return lambda folder, slot: _Process(folder, _environment(execution, slot))
    return _submitter(dict(execution.slurm), root)


class _Process:
    """A job in a child process of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                command(folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment,
                start_new_session=True,  # so that Ctrl-C reaches it once, by us
            )  # fmt: skip

    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def command(folder: Path) -> list[str]:
    """Return the command that runs the job of a folder."""
    return [sys.executable, "-m", "cryoreg.benchmark.job_worker", str(folder.absolute())]


def _environment(execution: Execution, slot: int) -> dict[str, str]:
    """Share cores between the jobs, and give each a GPU."""
    threads = max(1, len(os.sched_getaffinity(0)) // execution.processes)
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    if execution.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % execution.gpus)
    return environment


def _submitter(parameters: dict[str, Any], root: Path) -> Launcher:
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("SLURM needs the package submitit: pip install 'cryoreg[slurm]'") from error
    executor = submitit.AutoExecutor(root / "submitit", cluster=parameters.pop("cluster", "slurm"))
    executor.update_parameters(**parameters)
    return lambda folder, slot: _Submitted(executor.submit(run_logged, str(folder.absolute())))


def run_logged(folder: str) -> None:
    """Run the job of a folder in a child process, its output in the folder's log."""
    with (Path(folder) / LOG).open("ab") as log:
        subprocess.run(command(Path(folder)), stdout=log, stderr=log, check=False)


class _Submitted:
    """A job in the queue of a cluster."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def ended(self) -> bool:
        return bool(self._job.done())

    def stop(self) -> None:
        self._job.cancel()

    def kill(self) -> None:
        self._job.cancel()
