"""The machine: Python, processors, memory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

from cryoreg.diagnosis.finding import Finding, ok, problem, warning

OLDEST_PYTHON = (3, 11)
_GB = 2**30
_LITTLE_MEMORY = 4
"""GB: torch, its libraries and a small data set take about half of it."""


def check() -> Iterator[Finding]:
    """Yield the interpreter, the cores and the memory that this process may use."""
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield problem(f"Python {version} is too old", f"make an environment with Python {oldest} or later")
    else:
        yield ok(f"Python {version} ({sys.executable}), {platform.system()} {platform.machine()}")
    yield ok(f"{usable_cores()} of {os.cpu_count()} cores may be used")
    yield _memory()


def usable_cores() -> int:
    """Return the cores that the scheduler gives to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Finding:
    total, free = (_pages(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    if total is None:
        return ok("memory: not known")
    text = f"{total:.1f} GB of memory" + ("" if free is None else f", {free:.1f} GB free")
    if total < _LITTLE_MEMORY:
        return warning(text, "use small batches and training.resident=false, or a larger machine")
    return ok(text)


def _pages(name: str) -> float | None:
    """Return what the system counts in pages, in GB; None where it does not count them."""
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") / _GB
    except (ValueError, OSError):
        return None
