"""Which job runs when: after what it needs, the one that most wait for first, none of them twice."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from cryoreg.benchmark.job_starters import LOG, Handle, Starter
from cryoreg.benchmark.jobs import JOB, Job, Say, folder_of, is_running, result_of, results
from cryoreg.errors import CryoregError, RunFolderError
from cryoreg.files import write_text
from cryoreg.training.signals import StopFlag

_CLAIM = ".claim"
_GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.1
_NAMED = 5
"""Failed jobs that the final error names."""


class _Started(NamedTuple):
    job: Job
    handle: Handle
    claim: FileLock
    """Held until it ends, so that no other scheduler starts it: also while it waits in a queue or still imports."""
    at: float
    log_begins: int
    """Bytes that earlier attempts left in its log."""


class Scheduler:
    """Some jobs, from the first to the last."""

    def __init__(self, jobs: list[Job], root: Path, start: Starter, slots: int, say: Say) -> None:
        """Take jobs in an order in which each comes after what it needs."""
        self._root, self._start_job, self._say = root, start, say
        self._done = set(results(jobs, root))
        self._open = [job for job in most_wanted_first(jobs) if job.key not in self._done]
        self._total, self._before = len(jobs), len(self._done)
        self._slots: dict[int, _Started | None] = dict.fromkeys(range(slots))
        self._failed: list[tuple[Job, str]] = []
        self._skipped: list[Job] = []
        self._elsewhere: set[str] = set()
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def run(self, flag: StopFlag) -> None:
        """Start jobs as their needs and slots allow, until none is left or a stop is asked for."""
        if self._before:
            self._say(f"{self._before} of {self._total} jobs are done already")
        try:
            while flag.signal is None and (self._open or self._running()):
                self._collect(stopped=False)
                self._skip()
                self._fill()
                time.sleep(_POLL_SECONDS)
            self._stop()
        finally:
            for started in self._running():
                started.handle.kill()

    def raise_failures(self) -> None:
        """Raise `CryoregError` that names the jobs that failed."""
        if not self._failed:
            return
        named = "; ".join(f"'{job.name}': {why} (see {self._log(job)})" for job, why in self._failed[:_NAMED])
        more = f"; and {len(self._failed) - _NAMED} more" if len(self._failed) > _NAMED else ""
        skipped = f", and {len(self._skipped)} that need them were skipped" if self._skipped else ""
        raise CryoregError(
            f"{len(self._failed)} of {self._total} jobs failed{skipped}: {named}{more}; "
            "the others are done, and the same command tries these again"
        )

    def _stop(self) -> None:
        """Ask what runs to save and end, and wait a minute for it."""
        for started in self._running():
            started.handle.stop()
        asked = time.monotonic()
        while self._running() and time.monotonic() - asked < _GRACE_SECONDS:
            self._collect(stopped=True)
            time.sleep(_POLL_SECONDS)

    def _running(self) -> list[_Started]:
        return [started for started in self._slots.values() if started is not None]

    # ---- ends

    def _collect(self, stopped: bool) -> None:
        for slot, started in self._slots.items():
            if started is not None and started.handle.ended():
                self._slots[slot] = None
                started.claim.release()
                self._finish(started, stopped)

    def _finish(self, started: _Started, stopped: bool) -> None:
        job, seconds = started.job, time.monotonic() - started.at
        if result_of(job, self._root) is not None:
            self._done.add(job.key)
            self._seconds[job.function].append(seconds)
            self._say(f"[{len(self._done)}/{self._total}] {job.name}  {_duration(seconds)}{self._left()}")
        elif stopped:
            self._say(f"stopped: {job.name}")
        else:
            self._fail(job, started.handle.fate() or _last_line(self._log(job), started.log_begins))

    def _fail(self, job: Job, why: str) -> None:
        self._failed.append((job, why))
        self._say(f"failed: {job.name}: {why} (see {self._log(job)})")

    def _log(self, job: Job) -> Path:
        return folder_of(job, self._root) / LOG

    def _left(self) -> str:
        """Say when all will be done, from the mean time of jobs with the same function."""
        rest = [*(started.job for started in self._running()), *self._open]
        if not rest:
            return ""
        every = [seconds for each in self._seconds.values() for seconds in each]
        work = sum(_mean(self._seconds.get(job.function) or every) for job in rest)
        return f"  about {_duration(work / min(len(self._slots), len(rest)))} left"

    # ---- starts

    def _skip(self) -> None:
        """Give up the jobs that need one that failed."""
        lost = {job.key for job, _ in self._failed} | {job.key for job in self._skipped}
        for job in [job for job in self._open if any(need.key in lost for need in job.needs)]:
            self._open.remove(job)
            self._skipped.append(job)
            self._say(f"skipped: {job.name}, which needs what failed")

    def _fill(self) -> None:
        """Start jobs whose needs are done, until the slots are full."""
        ready = iter([job for job in self._open if all(need.key in self._done for need in job.needs)])
        for slot in [slot for slot, started in self._slots.items() if started is None]:
            self._slots[slot] = next(filter(None, (self._start(job, slot) for job in ready)), None)

    def _start(self, job: Job, slot: int) -> _Started | None:
        """Start a job unless another call runs it; take over its result where that has finished it."""
        claim = self._claim(job)
        if claim is None:
            return None
        started = None
        try:
            self._open.remove(job)
            if result_of(job, self._root) is None:
                started = self._launched(job, slot, claim)
            else:
                self._done.add(job.key)
                self._say(f"[{len(self._done)}/{self._total}] {job.name}  done by another call")
        except (CryoregError, OSError) as error:
            self._fail(job, str(error))
        finally:
            if started is None:
                claim.release()
        return started

    def _claim(self, job: Job) -> FileLock | None:
        """Lock a job for this scheduler; None where another has it, or its process outlived the one that had."""
        folder = folder_of(job, self._root)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            claim = FileLock(folder / _CLAIM)
            claim.acquire(timeout=0)
            if not is_running(folder):
                return claim
            claim.release()
        except Timeout:
            pass
        except OSError as error:
            raise RunFolderError(f"cannot write {folder}: {error.strerror or error}") from error
        self._tell_elsewhere(job)
        return None

    def _tell_elsewhere(self, job: Job) -> None:
        if job.key not in self._elsewhere:
            self._elsewhere.add(job.key)
            self._say(f"another call runs {job.name}; its result will be taken")

    def _launched(self, job: Job, slot: int, claim: FileLock) -> _Started:
        folder = folder_of(job, self._root)
        needs = [str(folder_of(need, self._root).absolute()) for need in job.needs]
        write_text(folder / JOB, json.dumps({"name": job.name, "job": job.definition(), "needs": needs}, indent=1))
        log = self._log(job)
        begins = log.stat().st_size if log.exists() else 0
        return _Started(job, self._start_job(folder, slot), claim, time.monotonic(), begins)


def most_wanted_first(jobs: Sequence[Job]) -> list[Job]:
    """Sort jobs by how many wait for each, directly or through others; ``jobs`` come after what they need."""
    waiting: dict[str, set[str]] = {job.key: set() for job in jobs}
    for job in reversed(jobs):
        for need in job.needs:
            waiting[need.key] |= {job.key, *waiting[job.key]}
    return sorted(jobs, key=lambda job: -len(waiting[job.key]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _last_line(log: Path, begin: int) -> str:
    """Return what a job said last in this attempt."""
    try:
        lines = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
    except OSError:
        return "it left no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
