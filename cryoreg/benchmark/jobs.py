"""Jobs that are run once: named by the hash of what defines them, with a folder and a result each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cryoreg.errors import CryoregError

JOB = "job.json"
RESULT = "result.json"
_LOCK = ".lock"

Say = Callable[[str], None]
Result = dict[str, Any]
"""What a job's function returned: whatever JSON can hold."""


@dataclass(frozen=True)
class Job:
    """A function and what it is called with: ``function(folder, payload, folders of needs) -> result``.

    ``function`` is "package.module:name"; payload and result are what JSON can hold.
    """

    name: str
    """What people call it; two jobs that differ in it alone are one."""
    function: str
    payload: Mapping[str, object]
    needs: tuple[Job, ...] = ()

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits of SHA-256 over function, payload and the keys of what it needs."""
        return hashlib.sha256(json.dumps(self.definition(), sort_keys=True).encode()).hexdigest()[:16]

    def definition(self) -> dict[str, object]:
        """Return what the key is made of, as plain values."""
        plain = json.loads(json.dumps(dict(self.payload)))
        return {"function": self.function, "payload": plain, "needs": [job.key for job in self.needs]}


def folder_of(job: Job, root: Path) -> Path:
    """Return where a job's files are."""
    return root / "jobs" / job.key


def results(jobs: Iterable[Job], root: Path) -> dict[str, Result]:
    """Return key -> result of the jobs that are done; nothing is run. Raises `CryoregError` for a damaged result."""
    found = {}
    for job in with_needs(jobs):
        result = result_of(job, root)
        if result is not None:
            found[job.key] = result
    return found


def with_needs(jobs: Iterable[Job]) -> Iterator[Job]:
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


def result_of(job: Job, root: Path) -> Result | None:
    """Return a job's result, None where it is not done. Raises `CryoregError` where the file is damaged."""
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
