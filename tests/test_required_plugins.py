"""`required_plugins` in a config: one line about what is missing, before anything is loaded; recorded with the run."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cryoreg.config import Layer, RunConfig, check_same_run, read_toml, resolve
from cryoreg.config.requirements import require_plugins
from cryoreg.errors import ConfigError
from cryoreg_cli.main import cryoreg

Install = Callable[..., Path]
TINY = "[cryoreg.encoders]\n{0} = {0}_specs:Tiny\n"


def requiring(*packages: str, source: str = "run.toml", **sections: object) -> Layer:
    return Layer(source, {"required_plugins": list(packages), **sections})


@pytest.fixture
def x(fake_plugin: Install) -> Path:
    """The package `cryoreg-x` 0.4."""
    return fake_plugin("cryoreg-x", TINY.format("cryoreg_x"), version="0.4")


@pytest.mark.parametrize(
    "required",
    [
        "cryoreg-x",
        "Cryoreg_X>=0.3",
        "cryoreg-x[gpu]~=0.4",
        "cryoreg-x==0.4,!=0.4.1",
        "pytest",
        "cryoreg-y; python_version < '3'",
    ],
)
@pytest.mark.usefixtures("x")
def test_what_is_here_is_no_mistake(required: str) -> None:
    assert len(resolve("pretrain", [requiring(required)]).required_plugins) == 1


@pytest.mark.parametrize(
    ("required", "needs", "command"),
    [
        (["cryoreg-y>=0.3"], "cryoreg-y>=0.3 (not installed)", "cryoreg-y>=0.3"),
        (["cryoreg-x>=0.5"], "cryoreg-x>=0.5 (0.4 is installed)", "cryoreg-x>=0.5"),
        (["cryoreg-x<0.4"], "cryoreg-x<0.4 (0.4 is installed)", "cryoreg-x<0.4"),
        (["cryoreg-y"], "cryoreg-y (not installed)", "cryoreg-y"),
        (["cryoreg-x", "b", "a>1"], "b (not installed), a>1 (not installed)", "b 'a>1'"),
    ],
)
@pytest.mark.usefixtures("x")
def test_what_is_missing_is_one_line_with_the_command(required: list[str], needs: str, command: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve("pretrain", [requiring(*required)])
    message, _, advice = str(error.value).rpartition("; ")
    assert message == f"required_plugins (run.toml): needs {needs}"
    assert shlex.split(advice) == shlex.split(f"run: python -m pip install {command}")


def test_the_shell_sees_no_more_than_names(fake_plugin: Install) -> None:
    """A config of a stranger is to be read before what it proposes is run; at least it cannot hide a second command."""
    with pytest.raises(ConfigError) as error:
        resolve("pretrain", [requiring("a ; python_version > '3'")])
    words = shlex.split(str(error.value).rpartition("install ")[2])
    assert words == ['a; python_version > "3"']


def test_a_plugin_that_the_allow_list_leaves_out_is_missing(x: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOREG_PLUGINS", "other")
    with pytest.raises(ConfigError, match=r"cryoreg-x \(CRYOREG_PLUGINS leaves it out\); add it to CRYOREG_PLUGINS$"):
        resolve("pretrain", [requiring("cryoreg-x")])
    monkeypatch.setenv("CRYOREG_PLUGINS", "cryoreg-x")
    resolve("pretrain", [requiring("cryoreg-x")])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("cryoreg-x", "should be a list of packages"),
        ([1], "should be a list of packages"),
        ({"a": 1}, "should be a list of packages"),
        (["not a name"], "'not a name' is no package with versions"),
        (["-r evil.txt"], "is no package with versions"),
        (["a>=one"], "'a>=one' is no package with versions"),
        (["a @ https://example.org/a.whl"], "names an address"),
    ],
)
def test_what_is_no_requirement_is_one_line(value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^required_plugins \(run\.toml\): ") as error:
        resolve("pretrain", [Layer("run.toml", {"required_plugins": value})])  # type: ignore[dict-item]
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_it_is_checked_before_anything_else(fake_plugin: Install) -> None:
    """The plugin's module raises when it is imported, and the config is wrong in two other ways."""
    fake_plugin("boom", "[cryoreg.methods]\nboom = boom_specs:X\n", module="raise SystemExit('imported')")
    wrong = {"method": {"name": "boom"}, "training": {"epochs": -1}, "nonsense": {"x": 1}}
    with pytest.raises(ConfigError, match=r"needs absent \(not installed\)"):
        resolve("pretrain", [requiring("absent", **wrong)])


def test_layers_add_up_and_the_run_records_them(x: Path, tmp_path: Path) -> None:
    config = resolve("pretrain", [requiring("cryoreg-x>=0.3", "pytest"), requiring("pytest", source="other")])
    assert config.required_plugins == ("cryoreg-x>=0.3", "pytest")
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert tomllib.loads(path.read_text())["required_plugins"] == ["cryoreg-x>=0.3", "pytest"]
    assert resolve("pretrain", [read_toml(path)]).to_dict() == config.to_dict()
    check_same_run(config.to_dict(), resolve("pretrain", []))  # what a run needs may be corrected when it goes on


def test_a_run_without_the_key_records_none() -> None:
    config: RunConfig = resolve("pretrain", [])
    assert config.required_plugins == require_plugins([]) == ()
    assert "required_plugins" not in config.to_dict()


def test_a_misspelt_key_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'required_plugins'"):
        resolve("pretrain", [Layer("run.toml", {"require_plugins": ["a"]})])  # type: ignore[dict-item]


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_the_command_line_says_it_and_writes_nothing(tmp_path: Path, task: str) -> None:
    config, run = tmp_path / "run.toml", tmp_path / "run"
    config.write_text('required_plugins = ["cryoreg-absent>=0.3"]\n[training]\nepochs = 1\n')
    result = CliRunner().invoke(cryoreg, [task, "--config", str(config), "--run-dir", str(run)])
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: required_plugins ({config}): needs cryoreg-absent>=0.3 (not installed); "
        "run: python -m pip install 'cryoreg-absent>=0.3'\n"
    )
    assert not run.exists()


def test_the_report_of_a_run_with_the_key_lists_its_settings(x: Path, tmp_path: Path) -> None:
    """The key is no table, as all other settings are."""
    from support.untrained import make_run

    from cryoreg.analysis.report.run_facts import sections
    from cryoreg.inference.trained import Trained
    from cryoreg.runs.weights import load_weights, save_weights

    make_run(tmp_path / "run")
    weights = tmp_path / "run" / "encoder.safetensors"
    tensors, card = load_weights(weights)
    card["config"]["required_plugins"] = ["cryoreg-x"]
    save_weights(weights, tensors, card)
    assert json.loads((weights.parent / "card.json").read_text())["config"]["required_plugins"] == ["cryoreg-x"]
    assert "encoder" in [section.name for section in sections(Trained.encoder(weights))]
