"""Starts jobs: in child processes of this machine, or through submitit in the queue of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cryoreg.child_processes import SAFE_PATH, safe_path
from cryoreg.errors import ConfigError

if TYPE_CHECKING:
    from submitit import Job

LOG = "log.txt"
OUT_OF_MEMORY = "; perhaps memory ran out"


class Handle(Protocol):
    """A job that was started."""

    def ended(self) -> bool:
        """Tell whether it runs no more."""

    def fate(self) -> str:
        """Say how it ended where it was ended from outside; else nothing, as its log tells more."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it at once."""


Starter = Callable[[Path, int], Handle]
"""Starts the job of a folder in one of the slots, counted from 0."""


def in_processes(slots: int, gpus: int) -> Starter:
    """Return what starts a job as a child process with its share of the cores and, where there are any, one GPU.

    Raises `ConfigError` where ``CUDA_VISIBLE_DEVICES`` shows fewer GPUs than are asked for.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // slots)
    devices = _devices(gpus)

    def start(folder: Path, slot: int) -> Handle:
        environment = {"OMP_NUM_THREADS": str(threads)} | dict(os.environ) | SAFE_PATH
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
        return _Process(folder, environment)

    return start


def _devices(gpus: int) -> list[str]:
    """Return the GPUs to use, by the names that the user's ``CUDA_VISIBLE_DEVICES`` gives them."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [str(n) for n in range(gpus)] if shown is None else [each for each in shown.split(",") if each.strip()]
    if len(devices) < gpus:
        raise ConfigError(f"{gpus} GPUs asked for, but CUDA_VISIBLE_DEVICES={shown} shows {len(devices)}")
    return devices[:gpus]


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "cryoreg.benchmark.job_worker", str(folder.absolute())]


class _Process:
    """A job in a child process of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                _command(folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment,
                start_new_session=True,  # so that Ctrl-C reaches it once, by us
            )  # fmt: skip

    def ended(self) -> bool:
        return self._process.poll() is not None

    def fate(self) -> str:
        return _killed_by(self._process.returncode)

    def stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _killed_by(status: int | None) -> str:
    if status is None or status >= 0:
        return ""
    number = signal.Signals(-status)
    return f"killed by {number.name}" + OUT_OF_MEMORY * (number == signal.SIGKILL)


def in_queue(parameters: Mapping[str, object], root: Path) -> Starter:
    """Return what submits a job to a cluster's queue.

    ``parameters`` are those of submitit's executor for ``cluster``, SLURM where that is not given, without its name in
    front: partition, timeout_min, gpus_per_node, ... Raises `ConfigError` where one is unknown, where the
    cluster's programs are missing, and, when a job is submitted, where the queue refuses it.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("SLURM needs the package submitit: pip install 'cryoreg[slurm]'") from error
    own = dict(parameters)
    cluster = str(own.pop("cluster", "slurm"))
    try:
        executor = submitit.AutoExecutor(root.absolute() / "submitit", cluster=cluster)
        executor.update_parameters(**{f"{cluster}_{name.removeprefix(f'{cluster}_')}": own[name] for name in own})
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot submit jobs: {_first_line(error)}") from error

    def start(folder: Path, slot: int) -> Handle:
        try:
            with safe_path():
                return _Submitted(executor.submit(run_logged, str(folder.absolute())))
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise ConfigError(f"the queue refused it: {_first_line(error)}") from error

    return start


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def run_logged(folder: str) -> None:
    """Run the job of a folder in a child process, its output in the folder's log."""
    with (Path(folder) / LOG).open("ab") as log:
        subprocess.run(_command(Path(folder)), stdout=log, stderr=log, env=os.environ | SAFE_PATH, check=False)


class _Submitted:
    """A job in the queue of a cluster."""

    def __init__(self, job: Job[None]) -> None:
        self._job = job

    def ended(self) -> bool:
        return bool(self._job.done())

    def fate(self) -> str:
        state = str(self._job.state)
        return "" if state in ("COMPLETED", "FINISHED", "UNKNOWN") else f"the cluster says {state}"

    def stop(self) -> None:
        self._job.cancel()

    def kill(self) -> None:
        self._job.cancel()
