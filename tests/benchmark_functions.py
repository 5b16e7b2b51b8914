"""Functions that tests run as jobs, in child processes."""

import os
import time
from pathlib import Path

from cryoreg.errors import DataError


def add(folder, payload, needs):
    """Note that it ran, wait, and add its number to those of what it needs."""
    started = time.time()
    with Path(payload["ran"]).open("a") as file:
        file.write(f"{payload['number']}\n")
    time.sleep(payload.get("seconds", 0))
    before = sum(int((need / "number").read_text()) for need in needs)
    (folder / "number").write_text(str(before + payload["number"]))
    environment = {name: os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    return {"sum": before + payload["number"], "from": started, "to": time.time(), **environment}


def fail(folder, payload, needs):
    """Do nothing well."""
    raise DataError(f"{payload['file']} is damaged")
