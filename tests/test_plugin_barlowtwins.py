"""A plugin's life in a clean environment: absent, installed, used, removed, missed."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from support.building import ROOT, CleanEnvironment, build_wheels

pytestmark = pytest.mark.slow
PLUGIN = ROOT / "plugins" / "cryoreg-barlowtwins"
TINY_DEMO = ["--set", "dataset.per_class=4", "--set", "dataset.box=16", "--batch-size", "8", "--device", "cpu"]
PRETRAIN = ["pretrain", "--method", "barlow_twins", "--encoder", "rb3d", "--dataset", "demo"]
PRETRAIN += ["--augmentation", "gupta2022", "--epochs", "1", *TINY_DEMO]


def methods(environment: CleanEnvironment) -> dict[str, tuple[str, str]]:
    """Return name -> (package, version) of the methods that `cryoreg list` shows."""
    listing = environment.run("cryoreg", "list", "--kind", "method", "--json")
    assert (listing.returncode, listing.stderr) == (0, "")
    return {entry["name"]: (entry["package"], entry["version"]) for entry in json.loads(listing.stdout)}


@pytest.fixture(scope="module")
def life(core: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CleanEnvironment, Path]:
    """An environment in which the plugin was installed, used for a run, and removed; and that run."""
    folder = tmp_path_factory.mktemp("plugin")
    environment, run = CleanEnvironment(folder / "clean", core), folder / "run"
    before = methods(environment)
    assert "barlow_twins" not in before
    assert environment.run("cryoreg", "show", "method", "barlow_twins").returncode == 1

    environment.install(*build_wheels([PLUGIN], folder / "wheels"))
    assert methods(environment) == before | {"barlow_twins": ("cryoreg-barlowtwins", "0.1.0")}
    line = next(li for li in environment.run("cryoreg", "list").stdout.splitlines() if "barlow_twins" in li)
    assert "cryoreg-barlowtwins 0.1.0" in line
    assert "lambda_param" in environment.run("cryoreg", "show", "method", "barlow_twins").stdout

    trained = environment.run("cryoreg", *PRETRAIN, "--run-dir", run)
    assert trained.returncode == 0, trained.stdout + trained.stderr

    environment.uninstall("cryoreg-barlowtwins")
    assert methods(environment) == before
    return environment, run


def test_a_run_with_the_plugin_trains(life: tuple[CleanEnvironment, Path]) -> None:
    _, run = life
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        losses = [float(value) for row in csv.DictReader(file) for key, value in row.items() if "loss" in key and value]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    card = (run / "card.json").read_text(encoding="utf-8")
    assert "cryoreg-barlowtwins 0.1.0" in card


def test_resuming_without_the_plugin_names_package_and_version(life: tuple[CleanEnvironment, Path]) -> None:
    environment, run = life
    resumed = environment.run("cryoreg", "pretrain", "--resume", "--run-dir", run)
    assert resumed.returncode == 1
    assert resumed.stderr.startswith("Error: unknown method 'cryoreg-barlowtwins:barlow_twins'")
    assert "cryoreg-barlowtwins 0.1.0" in resumed.stderr
    assert resumed.stderr.count("\n") == 1


def test_the_exported_encoder_needs_no_plugin(life: tuple[CleanEnvironment, Path], tmp_path: Path) -> None:
    """Only the method came from the plugin; its encoder is a built-in and goes on without it."""
    environment, run = life
    arguments = ["finetune", "--from", run, "--dataset", "demo", "--epochs", "1", *TINY_DEMO]
    tuned = environment.run("cryoreg", *arguments, "--run-dir", tmp_path / "tuned")
    assert tuned.returncode == 0, tuned.stderr


def test_an_encoder_of_a_missing_plugin_is_named(life: tuple[CleanEnvironment, Path], tmp_path: Path) -> None:
    """As if the plugin had brought the encoder: the card that travels with its weights says so."""
    from cryoreg.runs.weights import load_weights, save_weights

    environment, run = life
    tensors, card = load_weights(run / "encoder.safetensors")
    card["config"]["encoder"]["name"] = "absent_net"
    card["config"]["packages"]["encoder"] = "cryoreg-absent 3.1"
    weights = tmp_path / "absent.safetensors"
    save_weights(weights, tensors, card)
    tuned = environment.run("cryoreg", "finetune", "--from", weights, *TINY_DEMO, "--run-dir", tmp_path / "tuned")
    assert tuned.returncode == 1
    assert "absent_net" in tuned.stderr
    assert "cryoreg-absent 3.1" in tuned.stderr
    assert tuned.stderr.count("\n") == 1
