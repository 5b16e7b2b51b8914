"""All plugins of this repository in one clean environment: no clash, and each keeps what cryoreg relies on."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from support.building import ROOT, CleanEnvironment, build_wheels

pytestmark = pytest.mark.slow
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
CHECKED = {
    "cryoreg-autoencoder": ["--set", "method.width=4"],
    "cryoreg-barlowtwins": ["--set", "method.hidden_dim=16", "--set", "method.output_dim=6"],
    "cryoreg-liu2019": ["--set", "learner.width=4"],
}
"""Packages that need nothing else, and small settings for them. copick's own tests check it where it is installed."""
PRETRAIN = ["pretrain", "--encoder", "rb3d", "--dataset", "demo", "--set", "dataset.per_class=4"]
PRETRAIN += ["--set", "dataset.box=16", "--batch-size", "8", "--epochs", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def environment(core: Path, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    folder = tmp_path_factory.mktemp("plugins")
    environment = CleanEnvironment(folder / "clean", core)
    environment.install(*build_wheels(PLUGINS, folder / "wheels"))
    return environment


def test_nothing_clashes_and_nothing_is_broken(environment: CleanEnvironment) -> None:
    listing = environment.run("cryoreg", "list", "--json")
    assert (listing.returncode, listing.stderr) == (0, "")
    entries = json.loads(listing.stdout)
    names = Counter((entry["kind"], entry["name"]) for entry in entries)
    assert [name for name, count in names.items() if count > 1] == []
    assert [entry["name"] for entry in entries if entry.get("error")] == []
    added = {(entry["package"], entry["name"]) for entry in entries if entry["package"] != "cryoreg"}
    assert added == {
        ("cryoreg-autoencoder", "autoencoder"),
        ("cryoreg-chimerax", "artiax"),
        ("cryoreg-chimerax", "chimerax"),
        ("cryoreg-barlowtwins", "barlow_twins"),
        ("cryoreg-copick", "copick"),
        ("cryoreg-liu2019", "autoencoding_classifier"),
        ("cryoreg-mlflow", "mlflow"),
        ("cryoreg-napari", "napari"),
        ("cryoreg-yu2020", "few_shot_adaptation"),
    }
    assert "(broken)" not in environment.run("cryoreg", "list").stdout


def test_the_plugins_command_is_one_of_cryoregs(environment: CleanEnvironment, tmp_path: Path) -> None:
    assert "chimerax " in environment.run("cryoreg", "--help").stdout
    refused = environment.run("cryoreg", "chimerax", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: {tmp_path}: holds no Grad-CAM")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("package", CHECKED)
def test_kit(environment: CleanEnvironment, package: str) -> None:
    checked = environment.run("cryoreg", "check", package, *CHECKED[package])
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 failed" in checked.stdout
    row = next(line for line in checked.stdout.splitlines() if "check_name_clashes_with_no_other" in line)
    assert "passed" in row


def test_autoencoder_pretrains_an_encoder(environment: CleanEnvironment, tmp_path: Path) -> None:
    trained = environment.run("cryoreg", *PRETRAIN, "--method", "autoencoder", "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    with (tmp_path / "run" / "metrics.csv").open(encoding="utf-8") as file:
        losses = [float(value) for row in csv.DictReader(file) for key, value in row.items() if "loss" in key and value]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    assert "cryoreg-autoencoder 0.1.0" in (tmp_path / "run" / "card.json").read_text(encoding="utf-8")


LEARNERS = {
    "autoencoding_classifier": ["--set", "learner.width=4"],
    "few_shot_adaptation": ["--set", 'learner.source_data={name = "demo", per_class = 6, box = 20}'],
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_of_plugins_fine_tune_and_predict(environment: CleanEnvironment, tmp_path: Path, name: str) -> None:
    run, data = tmp_path / "run", PRETRAIN[PRETRAIN.index("--dataset") : PRETRAIN.index("--epochs")]
    small = ["--labels-per-class", "2", "--epochs", "3", "--device", "cpu", "--set", "encoder.width=4"]
    words = ["--learner", name, "--from", "scratch", *data, *small, *LEARNERS[name]]
    tuned = environment.run("cryoreg", "finetune", *words, "--run-dir", run)
    assert tuned.returncode == 0, tuned.stdout + tuned.stderr
    assert ("boxes of 20 are brought to 16" in tuned.stderr) == (name == "few_shot_adaptation")
    predicted = environment.run("cryoreg", "predict", run, "--output", tmp_path / "p.csv")
    assert predicted.returncode == 0, predicted.stdout + predicted.stderr
    with (tmp_path / "p.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) > 0
