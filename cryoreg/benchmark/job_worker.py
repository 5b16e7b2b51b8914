"""Runs one job: `python -m cryoreg.benchmark.job_worker FOLDER`."""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
import traceback
from pathlib import Path

from cryoreg import registry
from cryoreg.benchmark.jobs import JOB, RESULT, lock_of
from cryoreg.errors import CryoregError
from cryoreg.files import write_text


def do_job(folder: Path) -> None:
    """Call the function that a folder's job names, and write what it returns as the folder's result.

    The folder is locked meanwhile; where another process was first, its result is taken.
    """
    with lock_of(folder):
        if not (folder / RESULT).exists():
            _do(folder)


def _do(folder: Path) -> None:
    record = json.loads((folder / JOB).read_text("utf-8"))
    module, _, name = record["job"]["function"].partition(":")
    started = time.monotonic()
    result = getattr(importlib.import_module(module), name)(
        folder, record["job"]["payload"], [Path(need) for need in record["needs"]]
    )
    seconds = time.monotonic() - started
    whole = {"name": record["name"], "job": record["job"], "result": result, "seconds": seconds, "machine": _machine()}
    write_text(folder / RESULT, json.dumps(whole, indent=1) + "\n")


def _machine() -> dict[str, object]:
    """Say what computed; torch is asked only where the job has loaded it."""
    torch = sys.modules.get("torch")
    known: dict[str, object] = {"python": platform.python_version(), "machine": platform.machine(), "cpu": _processor()}
    if torch is None:
        return known
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return known | {"torch": torch.__version__, "device": gpu or "cpu", "threads": torch.get_num_threads()}


def _processor() -> str:
    """Return the name of the CPU, which `platform` leaves empty on most Linux systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    try:
        do_job(Path(sys.argv[1]))
    except CryoregError as error:
        sys.exit(f"Error: {error}")
    except Exception as error:
        if blamed := registry.blamed(error):
            traceback.print_exc()
            sys.exit(f"Error: {blamed}")
        raise
