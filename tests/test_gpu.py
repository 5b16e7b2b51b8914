"""What runs on a CPU runs on a GPU and says the same. `CRYOREG_GPU_TESTS_ON=cpu` rehearses these tests without one."""

import csv
import os

import numpy as np
import pytest
import torch

import cryoreg
from cryoreg.inference.embedding import embed
from cryoreg.randomness import SampleRng

DEVICE = os.environ.get("CRYOREG_GPU_TESTS_ON", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"),
]
DATA = {"name": "demo", "per_class": 24, "box": 16, "voxel_size": 18.0}
ENCODER = {"name": "rb3d", "norm": "batch"}


def pretrained(folder, device, **settings):
    chosen = {"encoder": ENCODER, "dataset": DATA, "augmentation": "cryoet", "method": "vicreg", "epochs": 2}
    cryoreg.pretrain(folder, device=device, probe_every_epochs=0, **{**chosen, **settings})
    return folder


def losses(folder):
    with (folder / "steps.csv").open() as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("gpu") / "run", DEVICE)


@pytest.mark.parametrize("name", ["cryoet", "gupta2022", "strong"])
def test_views_are_drawn_alike(name):
    augment = cryoreg.create_augmentation(name)
    x = torch.randn(6, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    views = []
    for device in ("cpu", DEVICE):
        rng = SampleRng.for_batch(1, 2, torch.arange(6, device=device), 0)
        views.append(augment(x.to(device), rng))
    assert views[1].device.type == DEVICE
    assert (views[1].cpu() - views[0]).abs().max() < 0.02 * views[0].abs().max()


def test_a_run_in_fp32_takes_the_course_that_it_takes_on_a_cpu(tmp_path):
    here, there = (
        losses(pretrained(tmp_path / name, device, precision="fp32", epochs=1))
        for name, device in (("here", "cpu"), ("there", DEVICE))
    )
    np.testing.assert_allclose(there[:3], here[:3], rtol=0.02)


@pytest.mark.parametrize("method", ["moco", "simclr", "swav", "dino", "structures"])
def test_methods_learn_in_the_default_precision(method, tmp_path):
    found = losses(pretrained(tmp_path / "run", DEVICE, method=method, epochs=1))
    assert np.isfinite(found).all()


def test_features_are_those_of_a_cpu(run):
    here, there = (embed(run, device=device, precision="fp32").features for device in ("cpu", DEVICE))
    assert np.abs(there - here).max() < 0.02 * np.abs(here).max()


def test_a_classifier_is_trained_and_evaluated(run, tmp_path):
    cryoreg.finetune(tmp_path / "fine", pretrained=run, epochs=4, optimizer="adamw", lr=1e-3, device=DEVICE)
    evaluation = cryoreg.evaluate(tmp_path / "fine", device=DEVICE)
    assert evaluation.accuracy > 0.1 - 2 * evaluation.accuracy_error
    same = cryoreg.evaluate(tmp_path / "fine", device="cpu")
    assert np.mean(same.predictions == evaluation.predictions) > 0.9
