"""Functions that tests run as jobs, in child processes."""

import os
import signal
import sys
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


def kill_itself(folder, payload, needs):
    """End as the system ends what takes too much memory."""
    print("epoch 3 of 50", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def exit_saying(folder, payload, needs):
    """Fail with the words of a file, which may be none."""
    sys.exit(Path(payload["file"]).read_text() or 1)


def save_at_sigterm(folder, payload, needs):
    """Do as the training engine: save when asked to end, then exit 143."""

    def save(number, frame):
        (folder / "saved").touch()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, save)
    (folder / "begun").touch()
    time.sleep(60)
