"""The wheel and the editable install hold the same two packages."""

from __future__ import annotations

import configparser
import tomllib
import zipfile
from pathlib import Path

import pytest
from building import ROOT, CleanEnvironment, build_wheel

import cryoreg

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INFO = f"cryoreg-{cryoreg.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "cryoreg").rglob("*.py")}
    sources |= {p.relative_to(ROOT / "cli").as_posix() for p in (ROOT / "cli").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert {name.split("/")[0] for name in names} == {"cryoreg", "cryoreg_cli", INFO}
    assert {"cryoreg/py.typed", f"{INFO}/licenses/LICENSE"} <= names
    assert not [name for name in names if "__pycache__" in name]


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


COMMITTED = ["pyproject.toml", "Makefile", ".ci/run", ".pre-commit-config.yaml", "CONTRIBUTING.md"]


@pytest.mark.parametrize("name", COMMITTED)
def test_set_up_files_name_no_registry_and_no_path_of_a_machine(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for foreign in ("index-url", "find-links", "pypi.org", "pytorch.org", "/root", "/home", str(ROOT)):
        assert foreign not in text


def test_every_entry_point_names_a_module_of_ours() -> None:
    for group, entries in PROJECT["entry-points"].items():
        package = "cryoreg_cli." if group == "cryoreg.commands" else f"{group}."
        assert all(target.startswith(package) for target in entries.values()), group
        assert list(entries) == sorted(entries), f"keep [{group}] sorted"
