"""Build wheels, and clean environments to install them in, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_wheel(project: Path, into: Path) -> Path:
    """Build a project's wheel with the hatchling that is installed here."""
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, project)
    [wheel] = into.glob("*.whl")
    return wheel


_BUILD_ALL = """
import os, sys
from hatchling.build import build_wheel
into, *projects = sys.argv[1:]
for project in projects:
    os.chdir(project)
    build_wheel(into)
"""


def build_wheels(projects: Sequence[Path], into: Path) -> list[Path]:
    """Build the wheels of several projects in one process, which is faster."""
    into.mkdir(parents=True)
    _run(sys.executable, "-c", _BUILD_ALL, into, *projects)
    wheels = list(into.glob("*.whl"))
    assert len(wheels) == len(projects)
    return wheels


def install_core(folder: Path) -> None:
    """Install cryoreg, from its wheel, into a folder that `CleanEnvironment` can be given."""
    wheels = build_wheels([ROOT], folder.with_name(f"{folder.name}-wheel"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index")
    _run(*pip, "--target", folder, *wheels)


def build_sdist(project: Path, into: Path) -> Path:
    """Build a project's source distribution."""
    _run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", into, project)
    [sdist] = into.glob("*.tar.gz")
    return sdist


class CleanEnvironment:
    """A virtual environment with this one's libraries, but without cryoreg and its plugins.

    The libraries are links to the installed ones, metadata included; ``.pth`` files, which make an editable cryoreg
    importable, are not among them.
    """

    def __init__(self, folder: Path, core: Path | None = None) -> None:
        """Create it in ``folder``, which must not exist yet; ``core`` holds a cryoreg that it is to have."""
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.bin = folder / "venv" / "bin"
        self.home = folder
        libraries = folder / "libraries"
        libraries.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "cryoreg" not in entry.name and entry.suffix != ".pth":
                (libraries / entry.name).symlink_to(entry)
        [site] = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(f"{libraries}\n")
        if core is not None:
            self._link(core, libraries)

    def _link(self, core: Path, libraries: Path) -> None:
        for entry in core.glob("cryoreg*"):
            (libraries / entry.name).symlink_to(entry)
        _, _, code = (core / "bin" / "cryoreg").read_text("utf-8").partition("\n")
        (self.bin / "cryoreg").write_text(f"#!{self.bin / 'python'}\n{code}", "utf-8")
        (self.bin / "cryoreg").chmod(0o755)

    def install(self, *wheels: Path) -> None:
        """Install wheels; what they depend on is here already."""
        self._pip("install", "--no-deps", "--no-index", *wheels)

    def install_editable(self, project: Path) -> None:
        """Install a project in place."""
        self._pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--editable", project)

    def uninstall(self, package: str) -> None:
        """Remove a package."""
        self._pip("uninstall", "--yes", package)

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, away from the checkout."""
        return subprocess.run(
            [self.bin / program, *arguments], cwd=self.home, env=self._env(), capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    def _pip(self, *arguments: str | Path) -> None:
        # pip needs itself and hatchling in the environment; both are among the libraries.
        _run(self.bin / "python", "-m", "pip", "--disable-pip-version-check", *arguments, env=self._env())

    def _env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CRYOREG", "VIRTUAL_ENV"))}
        return kept | {"XDG_CACHE_HOME": str(self.home / "cache"), "OMP_NUM_THREADS": "1"}


def _run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
