"""Build wheels, and clean environments to install them in, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build_wheel(project: Path, into: Path) -> Path:
    """Build a project's wheel with the hatchling that is installed here."""
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, project)
    [wheel] = into.glob("*.whl")
    return wheel


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

    def __init__(self, folder: Path) -> None:
        """Create it in ``folder``, which must not exist yet."""
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
