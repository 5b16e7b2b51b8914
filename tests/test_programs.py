"""A forked ``cryoreg`` is to its tests what one from a shell is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import Program
from support.synthetic import write_classes


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["list"], ["list", "--kind", "colour"], ["inspect", "here"], []])
def test_it_prints_and_ends_as_a_process_started_anew(tmp_path: Path, arguments: list[str]) -> None:
    write_classes(tmp_path / "here", per_class=1)
    environment = os.environ | {"COLUMNS": "70", "LINES": "20"}
    words = [sys.executable, "-m", "cryoreg_cli", *arguments]
    usual = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    forked = Program(*arguments, folder=tmp_path, environment=environment).finish()
    assert forked.returncode == usual.returncode
    assert forked.stdout == usual.stdout
    assert forked.stderr == usual.stderr.replace("python -m cryoreg_cli", "cryoreg")


@pytest.mark.slow
def test_it_has_an_environment_of_its_own(tmp_path: Path) -> None:
    """The demo data are kept in the cache folder that the environment says."""
    small = [word for each in ("per_class=1", "box=16") for word in ("--set", f"dataset.{each}")]
    for folder in (tmp_path / "one", tmp_path / "other"):
        made = Program(
            *("convert", "--dataset", "demo", *small, "--output", tmp_path / f"{folder.name}.h5"),
            environment={"XDG_CACHE_HOME": str(folder)},
        ).finish()
        assert made.returncode == 0, made.stderr
        assert list(folder.glob("cryoreg/demo-*.npz"))
    assert os.environ.get("XDG_CACHE_HOME") != str(folder)


def test_a_signal_ends_it(tmp_path: Path) -> None:
    program = Program("pretrain", "--run-dir", tmp_path / "run", "--dataset", "demo", "--epochs", "99")
    assert program.poll() is None
    program.send_signal(signal.SIGKILL)
    assert program.finish().returncode == -signal.SIGKILL
