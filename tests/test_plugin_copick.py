"""The copick plugin as cryoreg sees it where copick is not installed; with it, see the plugin's own tests."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

PLUGIN = ROOT / "plugins" / "cryoreg-copick"
SPECS = """
import sys

from cryoreg_copick.specs import CopickSpec

assert CopickSpec(root="project.json").box == 32
heavy = {"torch", "numpy", "zarr", "copick", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""


def project() -> dict:
    return tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_its_spec_is_light(tmp_path: Path) -> None:
    path = f"{PLUGIN / 'src'}:{ROOT}"
    done = subprocess.run([sys.executable, "-c", SPECS], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_cryoreg_shows_it_without_copick(
    site: Path, cryoreg_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    entry_points = project()["entry-points"]["cryoreg.datasets"]
    (site / "cryoreg_copick").symlink_to(PLUGIN / "src" / "cryoreg_copick")
    info = site / "cryoreg_copick-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cryoreg-copick\nVersion: 0.1.0\n")
    lines = [f"{name} = {target}" for name, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[cryoreg.datasets]", *lines]))
    shown = cryoreg_process("show", "dataset", "copick", path=site)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("dataset copick, from cryoreg-copick 0.1.0")
    if find_spec("copick"):
        pytest.skip("copick is installed; the rest is about its absence")
    opened = cryoreg_process("inspect", str(PLUGIN / "pyproject.toml"), "--dataset", "copick", path=site)
    assert opened.returncode == 1
    assert opened.stderr.count("\n") == 1
    assert "pip install copick" in opened.stderr


def test_it_and_cryoreg_can_share_an_environment() -> None:
    """copick pins zarr below 3, so neither cryoreg nor the plugin may ask for more."""
    core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    for requirement in map(Requirement, [*core, *project()["dependencies"]]):
        if requirement.name == "zarr":
            assert requirement.specifier.contains("2.18.7")
            assert requirement.specifier.contains("3.1.6")
