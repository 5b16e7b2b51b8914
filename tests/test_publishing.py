"""A run's encoder for others: no path of a machine in its card, and a package that passes the kit."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import torch
from click.testing import CliRunner
from support.synthetic import write_classes
from support.untrained import make_run

import cryoreg
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.runs.cards import names_places, portable, unsaid
from cryoreg.scaffold.plugin import create_plugin
from cryoreg.testing import run_checks
from cryoreg.weights_header import describe_card
from cryoreg_cli.main import cryoreg as command

PLACES = [
    "/home/ada/data",
    "~/data",
    "~ada/data",
    r"C:\Users\ada",
    "D:/data",
    r"\\server\share",
    "file:///data/x",
    "root=/data",
    "a (/tmp/x)",
]
HARMLESS = ["20 Å/voxel", "1/2", "https://empiar.org/10499", "doi:10.3389/fphys.2022.957484", "runs/pre", "a:b"]


@pytest.mark.parametrize("text", PLACES)
def test_a_path_of_a_machine_is_left_out_wherever_it_stands(text: str) -> None:
    encoder = {"name": "rb3d"}
    card = {"config": {"encoder": encoder, "dataset": {"name": "x", "root": text, "more": [text, 1]}}, "note": text}
    assert names_places(card)
    assert portable(card, Path("f")) == {"config": {"encoder": encoder, "dataset": {"name": "x", "more": [1]}}}
    with pytest.raises(CheckpointError, match="f: its encoder is set by a file of this machine"):
        portable({"config": {"encoder": {"name": "rb3d", "weights": text}}}, Path("f"))


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay(text: str) -> None:
    card = {"config": {"encoder": {"name": text}}, "note": [text, {"a": text}], "box": [8, 8, 8], "voxel_size": None}
    assert portable(card, Path("f")) == card


def test_voxel_size_and_contrast_must_be_known() -> None:
    assert unsaid({"voxel_size": 8.0, "contrast": "dark"}) == []
    assert unsaid({"voxel_size": None, "box": [8, 8, 8]}) == ["voxel_size", "contrast"]


def make(folder: Path, **known: object) -> Path:
    dataset = {"name": "mrc_folder", "root": str(write_classes(folder / "data", per_class=3, box=8)), **known}
    make_run(folder / "run", dataset=dataset, classifier=False, width=4)
    return folder / "run"


def test_a_card_in_words() -> None:
    config = {
        "task": "finetune",
        "encoder": {"name": "rb3d", "norm": "batch"},
        "augmentation": {"name": "cryoet"},
        "dataset": {"name": "star"},
        "training": {"epochs": 40, "pretrained": "rb3d_universe"},
    }
    card = {"config": config, "num_features": 256, "voxel_size": 13.6, "box": [16, 20, 24], "contrast": None}
    card |= {"normalisation": "per-volume z-score", "subtomograms": 80, "metrics": {"val_accuracy": 0.91234}}
    assert {name: text for name, text in describe_card(card).items() if text and name != "written"} == {
        "encoder": "rb3d (norm=batch), 256 features",
        "voxel size": "13.6 Å",
        "box": "16×20×24 voxels",
        "normalisation": "per-volume z-score",
        "trained": "fine-tuned for 40 epochs (cryoet) on 80 subtomograms of star, from rb3d_universe",
        "metrics": "val_accuracy 0.9123",
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make(tmp_path, voxel_size=10.0, contrast="bright")


def test_an_exported_file_is_small_and_tells_nothing_of_this_machine(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "w.safetensors"
    done = CliRunner().invoke(command, ["export", str(run), "--half", "--portable", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert str(tmp_path).encode() in (run / "encoder.safetensors").read_bytes()
    assert str(tmp_path).encode() not in output.read_bytes()
    with safetensors.safe_open(output, "pt") as file:
        card = json.loads(file.metadata()["card"])
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  (no mapping)
    assert card["config"]["dataset"] == {"name": "mrc_folder", "voxel_size": 10.0, "contrast": "bright"}
    assert cryoreg.create_encoder(pretrained=output).num_features == 32


def test_a_package_of_a_run_passes_the_kit(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["new", "plugin", "deep-sea", "--kind", "weights", "--run", str(run), "--dir", str(tmp_path)]
    done = CliRunner().invoke(command, [*words, "--license", "MIT"])
    assert done.exit_code == 0, done.output
    package = tmp_path / "cryoreg-deep-sea"
    assert '[project.entry-points."cryoreg.weights"]\ndeep_sea = ' in (package / "pyproject.toml").read_text()
    assert "| voxel size | 10 Å |" in (package / "README.md").read_text()
    assert not [f for f in package.rglob("*") if f.is_file() and str(tmp_path).encode() in f.read_bytes()]
    monkeypatch.syspath_prepend(package / "src")
    spec = importlib.import_module("cryoreg_deep_sea.specs").DeepSeaSpec
    results = list(run_checks(spec))
    assert [(result.check.name, result.message) for result in results if result.outcome == "failed"] == []
    assert sum(result.outcome == "passed" for result in results) > 10
    for module in ("cryoreg_deep_sea", "cryoreg_deep_sea.specs"):
        del sys.modules[module]


MISTAKES: dict[str, tuple[str, Callable[[Path], Path | None], type[Exception], str]] = {
    "no run": ("weights", lambda folder: None, ConfigError, "--kind weights and --run belong together"),
    "a run of no use": ("method", lambda folder: folder, ConfigError, "--kind weights and --run belong together"),
    "no encoder": ("weights", lambda folder: folder / "nothing", CheckpointError, "no weights file"),
    "contrast": ("weights", lambda folder: make(folder, voxel_size=10.0), CheckpointError, "does not say contrast"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_published_is_one_line_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    kind, run_of, error, words = MISTAKES[case]
    run = run_of(tmp_path)
    with pytest.raises(error, match=words) as caught:
        create_plugin("x", kind, tmp_path, run=run)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cryoreg-x").exists()
