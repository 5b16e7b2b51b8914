"""kNN and linear probes of a frozen encoder, on features whose classes are known, and in a run's metrics."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.synthetic import write_classes
from torch import Tensor

import cryoreg
from cryoreg.config import Layer, resolve
from cryoreg.config.settings import PretrainSettings
from cryoreg.contracts import Encoder
from cryoreg.datasets.splits import label_fraction, split
from cryoreg.training.lightning import Fabric
from cryoreg.training.pretrain import probed_epochs, shown_labels
from cryoreg.training.probe import NEIGHBOURS, Probe

ENCODER = {"name": "rb3d", "width": 4}


class Flat(Encoder):
    """The voxels themselves; notes in which mode it is asked."""

    num_features = 8**3

    def forward_features(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return x.flatten(1)


class Constant(Flat):
    """Sees no difference between subtomograms."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=3, per_class=40)


def run_config(data: Path, **training: object):
    sections = {"dataset": {"name": "mrc_folder", "root": data}, "encoder": ENCODER, "training": training}
    return resolve("pretrain", [Layer("test", sections)])


def probe(data: Path, **training: object) -> Probe | None:
    config = run_config(data, **training)
    return Probe.of_run(config, config.spec("dataset").build(), Fabric(accelerator="cpu", devices=1))


def voxels(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return z-scored voxels and labels of a part, read one by one."""
    config = run_config(data)
    dataset = config.spec("dataset").build()
    samples = [dataset[i] for i in getattr(split(dataset, config.split.fractions, config.split.seed), part)]
    rows = np.stack([sample.volume.double().numpy().ravel() for sample in samples])
    rows = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    return rows, np.array([sample.label for sample in samples])


def test_knn_equals_a_vote_in_loops(data):
    (known, labels), (asked, truth) = voxels(data, "train"), voxels(data, "val")
    correct = 0
    for row, label in zip(asked, truth, strict=True):
        cosine = [1 - float(row @ each) / np.linalg.norm(row) / np.linalg.norm(each) for each in known]
        votes = [0.0] * 3
        for index in np.argsort(cosine)[:NEIGHBOURS]:
            votes[labels[index]] += 1 / cosine[index]
        correct += int(np.argmax(votes) == label)
    assert probe(data).figures(Flat())["knn_accuracy"] == pytest.approx(correct / len(truth))


def test_separable_classes_are_told_apart_linearly_and_a_constant_is_chance(data):
    assert probe(data).figures(Flat())["linear_accuracy"] > 0.9
    assert probe(data).figures(Constant()) == pytest.approx({"knn_accuracy": 1 / 3, "linear_accuracy": 1 / 3})


def test_the_encoder_goes_on_training_afterwards(data):
    encoder = Flat().train()
    probe(data).figures(encoder)
    assert encoder.training


def test_without_labels_or_wish_there_is_no_probe(data, tmp_path):
    assert probe(data, probe_every_epochs=0) is None
    one_class = write_classes(tmp_path / "one", classes=1, per_class=12)
    assert probe(one_class) is None


@pytest.mark.parametrize(
    ("epochs", "every", "expected"), [(10, 5, [4, 9]), (7, 5, [1, 6]), (3, 5, [2]), (3, 1, [0, 1, 2]), (3, 0, [])]
)
def test_the_last_epoch_is_always_probed(epochs, every, expected):
    assert list(probed_epochs(PretrainSettings(epochs=epochs, probe_every_epochs=every))) == expected


@pytest.mark.slow
def test_a_run_writes_the_figures_of_the_epochs_that_it_probes(data, tmp_path):
    cryoreg.pretrain(
        tmp_path / "run",
        method="simclr",
        encoder=ENCODER,
        dataset={"name": "mrc_folder", "root": data},
        **{"epochs": 3, "probe_every_epochs": 2, "device": "cpu", "batch_size": 8},
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for column in ("knn_accuracy", "linear_accuracy"):
        assert rows[1][column] == ""
        assert all(0 <= float(rows[epoch][column]) <= 1 for epoch in (0, 2))
    for column in ("feature_std", "rankme", "alignment", "uniformity"):
        assert all(math.isfinite(float(row[column])) for row in rows), column


def test_a_method_is_shown_the_labels_that_fine_tuning_would_have(data):
    config = run_config(data, labels=0.25)
    dataset = config.spec("dataset").build()
    train = split(dataset, config.split.fractions, config.split.seed).train
    chosen = set(label_fraction(dataset, train, 0.25, 0).tolist())
    shown = shown_labels(config, dataset)
    assert 0 < len(chosen) < len(train) < len(dataset)
    for index in range(len(dataset)):
        assert shown[index] == (dataset.labels[index] if index in chosen else -1)


@pytest.mark.slow
def test_the_alarm_knows_the_loss_of_a_method_that_knows_it_by_the_batch(data, tmp_path, capfd):
    """Nothing is learnt at a rate of 1e-12: SimCLR at a high temperature stays at ln(2B − 1)."""
    cryoreg.pretrain(
        tmp_path / "run",
        method={"name": "simclr", "temperature": 100.0},
        encoder=ENCODER,
        dataset={"name": "mrc_folder", "root": data},
        **{"epochs": 1, "probe_every_epochs": 0, "device": "cpu", "batch_size": 8, "lr": 1e-12},
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        [row] = csv.DictReader(file)
    assert float(row["loss"]) == pytest.approx(math.log(15), rel=0.01)
    assert row["collapsed"] == "1"
    assert "the loss is 2.708" in capfd.readouterr().err
