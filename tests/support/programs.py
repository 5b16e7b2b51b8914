"""Run ``cryoreg ARGUMENTS``, or a study's job, in a process of its own that need not import torch.

Starting Python, torch and Lightning takes seconds; so a server forks (one per test process) that has imported what most
runs need. What tests want of a process stays: its own environment, folder, streams and exit status, and that it can be
killed.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryoreg.benchmark.job_starters import LOG

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([
    *("cryoreg_cli.main", "cryoreg.training.pretrain", "cryoreg.training.finetune", "cryoreg.inference.predict"),
    *("lightly.loss", "lightly.models.modules.heads"),
    *("sklearn.linear_model", "sklearn.metrics", "sklearn.neighbors", "sklearn.pipeline", "torch.utils.tensorboard"),
])  # fmt: skip


class Forked:
    """A process that is forked from the server, with the interface of `subprocess.Popen` as far as it is needed."""

    def __init__(
        self, work: Callable[[list[str]], None], arguments: Sequence[str], environment: Mapping[str, str], folder: Path,
        streams: Sequence[Path],
    ) -> None:  # fmt: skip
        """Do ``work`` there, in ``folder``, with all of ``environment``; ``streams`` are for stdout and stderr."""
        given = work, list(arguments), dict(environment), str(folder), list(streams)
        self._process = _SERVER.Process(target=_run, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit status, -N where signal N killed it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


class Program(Forked):
    """A ``cryoreg`` that runs."""

    def __init__(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None,
        one_stream: bool = False, fork_ranks: bool = False,
    ) -> None:  # fmt: skip
        """Start it in ``folder``, with all of ``environment``; ``one_stream`` joins what it prints to stderr.

        ``fork_ranks``: the processes of ``--devices`` are forked as well, and not spawned, each to import torch.
        """
        self.arguments = [str(argument) for argument in arguments]
        self._files = tempfile.TemporaryDirectory()
        self._streams = [Path(self._files.name) / name for name in ("stdout", "stdout" if one_stream else "stderr")]
        for stream in self._streams:
            stream.touch()
        work = _cryoreg_that_forks if fork_ranks else _cryoreg
        super().__init__(work, self.arguments, environment or os.environ, folder or Path.cwd(), self._streams)

    def finish(self, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        printed = [stream.read_text("utf-8", "replace") for stream in self._streams]
        return subprocess.CompletedProcess(self.arguments, self._process.exitcode, *printed)


class ForkedJob(Forked):
    """A study's job that runs: a `cryoreg.benchmark.job_starters.Handle`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start the job of a folder, with all of ``environment``."""
        log = folder / LOG
        log.touch()
        super().__init__(_job_worker, [str(folder.absolute())], environment, Path.cwd(), [log, log])

    def ended(self) -> bool:
        """Tell whether it runs no more."""
        return self.poll() is not None

    def fate(self) -> str:
        """Say nothing; its log does."""
        return ""

    def stop(self) -> None:
        """Ask it to save and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()


def _run(
    work: Callable[[list[str]], None], arguments: list[str], environment: dict[str, str], folder: str,
    streams: list[Path],
) -> None:  # fmt: skip
    _become(environment, folder, streams)
    work(arguments)


def _cryoreg(arguments: list[str]) -> None:
    from cryoreg_cli.main import main

    sys.argv = ["cryoreg", *arguments]
    main()


def _cryoreg_that_forks(arguments: list[str]) -> None:
    from cryoreg.training import launch

    launch.start_processes = functools.partial(launch.start_processes, start_method="fork")
    _cryoreg(arguments)


def _job_worker(arguments: list[str]) -> None:
    sys.argv = ["job_worker", *arguments]
    runpy.run_module("cryoreg.benchmark.job_worker", run_name="__main__")


def _become(environment: dict[str, str], folder: str, streams: list[Path]) -> None:
    """Take over what a process is started with."""
    import torch

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
