"""Runs jobs, each after what it needs: in child processes, on GPUs or through SLURM."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryoreg.benchmark import job_starters
from cryoreg.benchmark.jobs import Job, Result, Say, results, with_needs
from cryoreg.benchmark.scheduler import Scheduler
from cryoreg.errors import ConfigError
from cryoreg.training.signals import Interrupted, StopFlag

_QUEUED = 100
"""Jobs in a cluster's queue at a time, where ``processes`` does not say; each holds a file open here."""


@dataclass(frozen=True)
class Execution:
    """Where jobs run."""

    processes: int = 1
    """Jobs at a time, at least one for each GPU; with SLURM, so many in its queue, where it is above 1."""
    gpus: int = 0
    """GPUs here that they are spread over; 0: each job takes what it finds."""
    slurm: Mapping[str, object] | None = None
    """Parameters of submitit's executor (partition, timeout_min, ...); ``cluster`` chooses another than SLURM."""

    def __post_init__(self) -> None:
        if self.processes < 1 or self.gpus < 0:
            raise ConfigError(f"{self.processes} processes, {self.gpus} GPUs: at least 1 process and 0 GPUs")

    @property
    def slots(self) -> int:
        """Jobs that are started and not ended, at most."""
        if self.slurm is not None:
            return self.processes if self.processes > 1 else _QUEUED
        return max(self.processes, self.gpus)

    def starter(self, root: Path) -> job_starters.Starter:
        """Return what starts a job. Raises `ConfigError` where there is no such GPU or queue."""
        if self.slurm is not None:
            return job_starters.in_queue(self.slurm, root)
        return job_starters.in_processes(self.slots, self.gpus)


def run_jobs(jobs: Iterable[Job], root: Path, execution: Execution, say: Say) -> dict[str, Result]:
    """Run all jobs that are not done, and what they need first; return key -> result.

    A job that fails leaves its log; those that need it are skipped, the others go on, and in the end `CryoregError`
    names it. Several calls at a time, also on several machines, share the work. SIGTERM and Ctrl-C are handed
    to the running jobs, which save, and `Interrupted` or `KeyboardInterrupt` is raised.
    """
    every = list(with_needs(jobs))
    scheduler = Scheduler(every, root, execution.starter(root), execution.slots, say)
    with StopFlag() as flag:
        scheduler.run(flag)
    if flag.signal is not None:
        raise KeyboardInterrupt if flag.signal == signal.SIGINT else Interrupted(flag.signal)
    scheduler.raise_failures()
    return results(every, root)
