"""What cryoreg wrote before fine-tuning had learners still opens, and goes on.

``tests/data/old_run`` was written by commit ccc7400, on the demo's set of five subtomograms a class at 16³ without
noise: ``pretrain`` (SimCLR, RB3D of width 2), ``finetune`` from it (24 epochs), and ``interrupted``, which is the same
run as its folder was after 22 of them.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import cryoreg
from cryoreg.inference.embedding import embed
from cryoreg.runs.records import read_records
from cryoreg.runs.weights import load_weights
from cryoreg_cli.main import cryoreg as command_line

OLD = Path(__file__).parent / "data" / "old_run"


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "old_run"))


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_inspect_tells_the_same_of_it():
    classifier, encoder = read_records(OLD / "finetune")[:2]
    assert classifier.complaint == encoder.complaint == ""
    assert [component.name for component in classifier.components] == ["rb3d", "none", "demo"]
    assert classifier.classes == list(cryoreg.create_dataset("demo", per_class=5, box=16).classes)
    shown = CliRunner().invoke(command_line, ["inspect", str(OLD / "interrupted" / "checkpoints" / "last.ckpt")])
    assert shown.exit_code == 0
    assert "checkpoint of a run" in shown.output


def test_evaluate_gives_the_figures_of_then(old):
    then = json.loads((old / "finetune" / "evaluation_test.json").read_text())
    told = rows(old / "finetune" / "predictions_test.csv")
    now = cryoreg.evaluate(old / "finetune")
    assert now.confusion.tolist() == then["confusion"]
    assert now.temperature == then["temperature"]
    assert list(now.ids) == [row["id"] for row in told]
    np.testing.assert_allclose(now.confidences, [float(row["confidence"]) for row in told], atol=1e-4)


def test_predict_says_what_it_said_then():
    told = rows(OLD / "finetune" / "predictions.csv")
    now = cryoreg.predict(OLD / "finetune", device="cpu", workers=0)
    said = [now.classes[each] for each in now.predictions]
    # Two classes of the same chance, to its four digits, may change places on another processor.
    assert [row[name] for name, row in zip(said, told, strict=True)] == [row[row["class"]] for row in told]
    chances = [[float(row[name]) for name in now.classes] for row in told]
    # Four digits, and volumes that are simulated anew: from one processor to another 1e-4 was seen.
    np.testing.assert_allclose(now.probabilities, chances, atol=2.5e-4)


def test_the_encoders_open():
    tuned, pretrained = (cryoreg.create_encoder(pretrained=OLD / name) for name in ("finetune", "pretrain"))
    kept = load_weights(OLD / "finetune" / "classifier.safetensors").tensors
    assert all(torch.equal(kept[f"encoder.{name}"], value) for name, value in tuned.state_dict().items())
    assert not torch.equal(tuned.conv1.weight, pretrained.conv1.weight)
    assert embed(OLD / "pretrain", device="cpu", workers=0).features.shape == (50, tuned.num_features)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_it_went_then(old):
    cryoreg.finetune(old / "interrupted", resume=True)
    now, then = (rows(old / name / "metrics.csv") for name in ("interrupted", "finetune"))
    # Another number of threads sums in another order: last bits differ, which an epoch of training carried to 2e-4.
    for key in ("loss", "val_accuracy", "val_loss", "rankme"):
        np.testing.assert_allclose([float(row[key]) for row in now], [float(row[key]) for row in then], rtol=1e-3)
    tensors, known = (
        load_weights(old / name / "classifier.safetensors").tensors for name in ("interrupted", "finetune")
    )
    for name, tensor in known.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_new_runs_begin_from_its_weights(old, tmp_path):
    result = cryoreg.finetune(tmp_path / "new", pretrained=old / "pretrain", epochs=1, device="cpu", workers=0)
    card = load_weights(result.classifier).card
    assert card["config"]["encoder"]["width"] == 2
