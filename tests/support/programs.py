"""Run ``cryoreg ARGUMENTS`` in a process of its own that need not import torch.

Starting Python, torch and Lightning takes seconds; so a server forks (one per test process) that has imported what most
runs need. What tests want of a process stays: its own environment, folder, streams and exit status, and that it can be
killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([
    *("cryoreg_cli.main", "cryoreg.training.pretrain", "cryoreg.training.finetune", "cryoreg.inference.predict"),
    *("lightly.loss", "lightly.models.modules.heads"),
    *("sklearn.linear_model", "sklearn.metrics", "sklearn.neighbors", "sklearn.pipeline", "torch.utils.tensorboard"),
])  # fmt: skip


class Program:
    """A ``cryoreg`` that runs, with the interface of `subprocess.Popen` as far as it is needed."""

    def __init__(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None,
        one_stream: bool = False,
    ) -> None:  # fmt: skip
        """Start it in ``folder``, with all of ``environment``; ``one_stream`` joins what it prints to stderr."""
        self.arguments = [str(argument) for argument in arguments]
        self._files = tempfile.TemporaryDirectory()
        self._streams = [Path(self._files.name) / name for name in ("stdout", "stdout" if one_stream else "stderr")]
        for stream in self._streams:
            stream.touch()
        given = self.arguments, dict(environment or os.environ), str(folder or Path.cwd()), self._streams
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

    def finish(self, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Wait for its end."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        printed = [stream.read_text("utf-8", "replace") for stream in self._streams]
        return subprocess.CompletedProcess(self.arguments, self._process.exitcode, *printed)


def _run(arguments: list[str], environment: dict[str, str], folder: str, streams: list[Path]) -> None:
    from cryoreg_cli.main import main

    _become(environment, folder, streams)
    sys.argv = ["cryoreg", *arguments]
    main()


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
