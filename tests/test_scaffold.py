"""`cryoreg new plugin`: every kind works as it is written, alone and with the others; mistakes are one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from support.building import ROOT, CleanEnvironment, build_wheels
from support.synthetic import write_classes
from support.untrained import make_run

from cryoreg.errors import ConfigError, OutputError, RunFolderError
from cryoreg.kinds import SEAMS
from cryoreg.scaffold.plugin import EXAMPLES, create_plugin

BIN = Path(sys.executable).parent
Install = Callable[..., Path]
Given = Callable[[str], dict[str, Path]]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Return a function of a kind: what `create_plugin` needs beside it, for weights a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    data = str(write_classes(folder / "data", per_class=3))
    dataset = {"name": "mrc_folder", "root": data, "voxel_size": 10.0, "contrast": "bright"}
    make_run(folder / "run", dataset=dataset, classifier=False, width=4)
    return lambda kind: {"run": folder / "run"} if kind == "weights" else {}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def run_tool(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / command[0], *command[1:]], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_package_holds_what_publishing_needs(tmp_path: Path, kind: str, given: Given) -> None:
    package = create_plugin("Deep_Sea", kind, tmp_path, author='A "B" C', **given(kind))
    assert package == tmp_path / "cryoreg-deep-sea"
    source = "src/cryoreg_deep_sea"
    common = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore", ".github/workflows/ci.yml"}
    own = "deep_sea.safetensors" if kind == "weights" else f"{kind}.py"
    assert common | {f"{source}/__init__.py", f"{source}/py.typed", f"{source}/{own}"} <= files_of(package)
    project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["authors"] == [{"name": 'A "B" C'}]
    [(group, entries)] = project["entry-points"].items()
    plurals = {"weights": "weights", "query": "queries", "study": "studies"}
    assert group == f"cryoreg.{plurals.get(kind, f'{kind}s')}"
    assert list(entries) == ["deep-sea" if kind == "command" else "deep_sea"]
    assert "cryoreg>=0.1" in project["dependencies"]
    assert all("{{" not in path.read_text("utf-8").replace("${{", "") for path in package.rglob("*.md"))


@pytest.mark.parametrize("name", ["a", "a23456789-b23456789-c234567890"], ids=["short", "long"])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_ruff_finds_nothing_whatever_the_length_of_the_name(tmp_path: Path, kind: str, name: str, given: Given) -> None:
    package = create_plugin(name, kind, tmp_path, **given(kind))
    for command in (("ruff", "check", "--no-cache"), ("ruff", "format", "--no-cache", "--check")):
        found = run_tool(package, *command)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("license", "line"), [("Apache-2.0", "Apache License"), ("MIT", "Copyright (c)")])
def test_licence_is_a_choice(tmp_path: Path, license: str, line: str) -> None:
    package = create_plugin("x", "encoder", tmp_path, license, "Nobody")
    assert line in (package / "LICENSE").read_text("utf-8")
    assert f'license = "{license}"' in (package / "pyproject.toml").read_text("utf-8")
    assert ("Nobody" in (package / "LICENSE").read_text("utf-8")) == (license == "MIT")


REFUSED = {
    "empty": ("", "method", "is no name for a package; take letters, digits and hyphens, a letter first: my-method"),
    "path": ("../x", "method", "is no name for a package"),
    "digit first": ("3d", "method", "is no name for a package"),
    "not ASCII": ("größe", "method", "is no name for a package"),
    "prefix alone": ("cryoreg-", "method", "is no name for a package"),
    "long": ("x" * 31, "method", "has 31 characters; take a name of at most 30"),
    "keyword": ("none", "encoder", "the class None would hide another"),
    "imported": ("tensor", "encoder", "the class Tensor would hide another"),
    "its spec": ("encoder", "encoder", "the class Encoder would hide another"),
    "built-in": ("moco", "method", "method 'moco' is offered by cryoreg already"),
    "command": ("pretrain", "command", "command 'pretrain' is offered by cryoreg already"),
    "module": ("cli", "method", "a package 'cryoreg_cli' is installed already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unfit_names_are_refused_in_one_line_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    name, kind, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as caught:
        create_plugin(name, kind, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_plugins_component_is_not_offered_twice(fake_plugin: Install, tmp_path: Path) -> None:
    fake_plugin("elsewhere", "[cryoreg.encoders]\ntiny = elsewhere_specs:Tiny\n")
    with pytest.raises(ConfigError, match="encoder 'tiny' is offered by elsewhere already; choose another name"):
        create_plugin("tiny", "encoder", tmp_path)
    create_plugin("tiny", "method", tmp_path)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cryoreg-x").mkdir()
    with pytest.raises(OutputError, match=r"cryoreg-x: exists already; choose another name or another --dir"):
        create_plugin("x", "method", tmp_path)
    with pytest.raises(ConfigError, match=r"absent: is not a folder; create it"):
        create_plugin("x", "method", tmp_path / "absent")
    assert files_of(tmp_path) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="Permission denied"):
        create_plugin("x", "method", tmp_path)


def test_nothing_is_left_of_a_package_that_cannot_be_finished(
    tmp_path: Path, small_files_only: Callable[[int | None], None]
) -> None:
    small_files_only(1000)
    with pytest.raises(RunFolderError, match=r"cannot write .*cryoreg-x: File too large"):
        create_plugin("x", "method", tmp_path)
    small_files_only(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_command_line(cryoreg_process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    done = cryoreg_process("new", "plugin", "x", "--kind", "augmentation", "--dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"wrote {tmp_path}/cryoreg-x",
        f"next: cd {tmp_path}/cryoreg-x && pip install -e '.[dev]' && pytest",
    ]
    again = cryoreg_process("new", "plugin", "x", "--kind", "augmentation", "--dir", str(tmp_path))
    assert again.returncode == 1
    assert again.stderr.startswith("Error: ")
    assert again.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory, given: Given) -> dict[str, Path]:
    """A package of each kind: cryoreg-my-method, ..."""
    folder = tmp_path_factory.mktemp("packages")
    return {kind: create_plugin(f"my-{kind}", kind, folder, **given(kind)) for kind in EXAMPLES}


@pytest.fixture(scope="module")
def environment(core: Path, packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment in which cryoreg and all of them are installed, from wheels."""
    folder = tmp_path_factory.mktemp("scaffold")
    environment = CleanEnvironment(folder / "clean", core)
    environment.install(*build_wheels(list(packages.values()), folder / "wheels"))
    return environment


@pytest.mark.slow
def test_packages_pass_their_own_tests(environment: CleanEnvironment, packages: dict[str, Path]) -> None:
    """On the installed wheels, without the source that lies beside the tests; in one process, which is faster."""
    tests = [path / "tests" for path in packages.values()]
    options = ["-q", "-rs", "-o", "pythonpath=", "-p", "no:cacheprovider", "--import-mode", "importlib"]
    result = environment.run("python", "-m", "pytest", *options, *tests)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SKIPPED" in result.stdout, "some checks do not apply to some kinds"
    assert "no installed package declares" not in result.stdout


@pytest.mark.slow
def test_what_has_no_spec_is_listed_and_can_be_checked(environment: CleanEnvironment) -> None:
    """All of them were checked by their own tests."""
    known = {each["name"]: each for each in json.loads(environment.run("cryoreg", "list", "--json").stdout)}
    for seam in SEAMS:
        assert known[f"my_{seam}"]["error"] is None
        assert known[f"my_{seam}"]["summary"]
    for seam in ("viewer", "format"):
        checked = environment.run("cryoreg", "check", f"cryoreg-my-{seam}")
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_mypy_finds_nothing(packages: dict[str, Path]) -> None:
    """In all at once, with the strictest settings that one of them has; what mypy learns of torch is kept."""
    names = [path.name.replace("-", "_") for path in packages.values()]
    arguments = [each for name in names for each in ("-p", name)]
    search = os.pathsep.join(str(path / "src") for path in packages.values())
    configuration = packages["command"] / "pyproject.toml"
    found = subprocess.run(
        [BIN / "mypy", "--config-file", configuration, "--cache-dir", ROOT / ".mypy_cache" / "scaffold", *arguments],
        env=os.environ | {"MYPYPATH": search},
        cwd=packages["command"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def write_dataset(folder: Path) -> Path:
    """Twenty noisy volumes of 8³ voxels in two classes, one from each tomogram, as the scaffolded reader wants them."""
    rng = np.random.default_rng(0)
    rows = ["file,class,tomogram"]
    for number in range(20):
        np.save(folder / f"{number}.npy", rng.normal(size=(8, 8, 8)).astype(np.float32))
        rows.append(f"{number}.npy,{'ab'[number % 2]},TS_{number}")
    (folder / "subtomograms.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_run_of_all_four_components_trains(environment: CleanEnvironment, tmp_path: Path) -> None:
    data = write_dataset(tmp_path)
    chosen = [f"--{kind}=my_{kind}" for kind in ("method", "encoder", "augmentation", "dataset")]
    options = ["--data", data, "--epochs", "1", "--batch-size", "4", "--device", "cpu"]
    trained = environment.run("cryoreg", "pretrain", *chosen, *options, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))
    for kind in ("method", "encoder", "augmentation", "dataset"):
        assert config["packages"][kind] == f"cryoreg-my-{kind} 0.1.0"


@pytest.mark.slow
def test_the_command_works(environment: CleanEnvironment, tmp_path: Path) -> None:
    data = write_dataset(tmp_path)
    output = tmp_path / "average.mrc"
    made = environment.run("cryoreg", "my-command", "--dataset", "my_dataset", "--data", data, "--output", output)
    assert (made.returncode, made.stderr) == (0, "")
    volumes = np.stack([np.load(data / f"{number}.npy") for number in range(20)]).astype(float)
    mean, sd = (f(volumes, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    with mrcfile.open(output) as file:
        np.testing.assert_allclose(file.data, ((volumes - mean) / sd).mean(0), atol=1e-5)


def test_every_kind_of_component_has_an_example() -> None:
    from cryoreg_cli.commands.new import ADDED

    assert set(EXAMPLES) == set(ADDED)
