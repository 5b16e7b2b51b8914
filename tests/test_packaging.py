"""The wheel and the editable install hold the same two packages."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.building import ROOT, CleanEnvironment, build_sdist, build_wheel

import cryoreg
from cryoreg.kinds import KINDS
from cryoreg.registry import group_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INFO = f"cryoreg-{cryoreg.__version__}.dist-info"
PACKAGES = {".": ROOT / "cryoreg", "cli": ROOT / "cli" / "cryoreg_cli"}
IN_SDIST = {"cryoreg", "cli", "docs", "tests", "mkdocs.yml", "pyproject.toml", "Makefile", ".gitignore", "PKG-INFO"}
IN_SDIST |= {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", ".pre-commit-config.yaml"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    """Nothing is missing either of what is not Python: types, studies, recipes, templates."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(ROOT / top).as_posix() for top, package in PACKAGES.items() for p in files_of(package)}
    assert {name for name in names if not name.startswith(f"{INFO}/")} == sources
    assert {name.split("/")[0] for name in names} == {"cryoreg", "cryoreg_cli", INFO}
    assert {"cryoreg/py.typed", "cryoreg/benchmark/studies/smoke.toml", "cryoreg/config/recipes/best.toml"} <= names
    assert f"{INFO}/licenses/LICENSE" in names


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = build_sdist(ROOT, tmp_path)
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    [unpacked] = (folder for folder in tmp_path.iterdir() if folder.is_dir())
    assert {path.name for path in unpacked.iterdir()} == IN_SDIST
    assert contents(build_wheel(unpacked, tmp_path)) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    archive = zipfile.ZipFile(wheel)
    return {name: archive.read(name) for name in archive.namelist()}


def files_of(package: Path) -> list[Path]:
    return [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.mark.slow
def test_wheel_declares_the_entry_points_of_pyproject(wheel: Path) -> None:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(zipfile.ZipFile(wheel).read(f"{INFO}/entry_points.txt").decode())
    declared = {section: dict(parser[section]) for section in parser.sections()}
    assert declared.pop("console_scripts") == PROJECT["scripts"]
    assert declared == PROJECT["entry-points"]


@pytest.mark.slow
def test_wheel_and_editable_install_list_the_same(wheel: Path, tmp_path: Path) -> None:
    environment = CleanEnvironment(tmp_path / "clean")
    assert environment.run("python", "-c", "import cryoreg").returncode == 1
    listings = []
    for install, source in ((environment.install, wheel), (environment.install_editable, ROOT)):
        install(source)
        result = environment.run("cryoreg", "list", "--verbose")
        assert (result.returncode, result.stderr) == (0, "")
        listings.append(result.stdout)
        code = "import cryoreg, cryoreg_cli.main, importlib.util as u; print(cryoreg.__file__, u.find_spec('cli'))"
        where = environment.run("python", "-c", code).stdout.split()
        assert Path(where[0]).is_relative_to(ROOT) == (source == ROOT)
        if source == wheel:  # an editable install puts the checkout itself on the path
            assert where[1] == "None", "a package called 'cli' would be in everyone's way"
        environment.uninstall("cryoreg")
    assert listings[0] == listings[1]
    assert "(broken)" not in listings[0]
    assert environment.run("python", "-c", "import cryoreg").returncode == 1


STUBS = {
    "old": (
        '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\ncase "$2" in *version_info*) exit 1;; esac',
        "cryoreg needs Python 3.11 or later, but './python' is Python 3.9.2",
    ),
    "without venv": ('case "$2" in *ensurepip*) exit 1;; esac', "'./python' lacks venv or ensurepip"),
}


@pytest.mark.parametrize(("script", "message"), STUBS.values(), ids=STUBS)
@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_says_what_an_unfit_python_lacks(tmp_path: Path, target: str, script: str, message: str) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    stub = tmp_path / "python"
    stub.write_text(f"#!/bin/sh\n{script}\n")
    stub.chmod(0o755)
    result = subprocess.run(
        ["make", target, "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode != 0
    assert result.stderr.startswith(message)
    assert not (tmp_path / ".venv").exists()


def test_make_sets_up_again_only_when_pyproject_changes(tmp_path: Path) -> None:
    def plan() -> str:
        command = ["make", "--dry-run", "demo"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    assert "pip install" in plan()
    ready = tmp_path / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    os.utime(tmp_path / "pyproject.toml", (1, 1))
    assert "pip install" not in plan()
    assert "cryoreg demo" in plan()
    os.utime(ready, (0, 0))
    assert "pip install" in plan()


COMMITTED = [
    "pyproject.toml",
    "Makefile",
    "mkdocs.yml",
    "CITATION.cff",
    ".ci/run",
    ".pre-commit-config.yaml",
    "CONTRIBUTING.md",
]


@pytest.mark.parametrize("name", COMMITTED)
def test_set_up_files_name_no_registry_and_no_path_of_a_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for foreign in ("index-url", "find-links", "pypi.org", "pytorch.org", "/root", "/home", str(ROOT)):
        assert foreign not in text


def test_every_entry_point_names_a_module_of_ours() -> None:
    kinds = {group_of(kind) for kind in KINDS}
    for group, entries in PROJECT["entry-points"].items():
        package = f"{group}." if group in kinds else "cryoreg_cli." if group == "cryoreg.commands" else "cryoreg."
        assert all(target.startswith(package) for target in entries.values()), group
        assert list(entries) == sorted(entries), f"keep [{group}] sorted"
