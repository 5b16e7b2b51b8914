"""Features averaged over turned copies: which groups there are, what they do not change, and what is recorded."""

from __future__ import annotations

import math
from itertools import compress

import numpy as np
import pytest
import torch
from support.encoding import volumes
from support.synthetic import write_classes
from support.untrained import make_run

import cryoreg
from cryoreg import create_encoder
from cryoreg.config import Layer, build_spec, resolve
from cryoreg.datasets.normalisation import normalise
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.errors import ConfigError
from cryoreg.inference.evaluate import run_evaluation
from cryoreg.inference.trained import Trained
from cryoreg.turns import cube_rotations, of_turns, rotation_group


def matrices(count: int) -> set[bytes]:
    return {np.array(rotation.matrix()).tobytes() for rotation in rotation_group(count)}


@pytest.mark.parametrize("count", [1, 4, 8, 24])
def test_groups_are_closed_and_of_proper_rotations(count):
    found = [np.array(rotation.matrix()) for rotation in rotation_group(count)]
    assert len(matrices(count)) == count
    assert all(round(np.linalg.det(matrix)) == 1 for matrix in found)
    assert {(a @ b).tobytes() for a in found for b in found} == matrices(count)
    assert np.array_equal(found[0], np.eye(3))


def test_four_turn_about_the_beam_and_eight_keep_its_line():
    beam = np.array([1, 0, 0])
    kept = {rotation: np.array(rotation.matrix()) @ beam for rotation in cube_rotations()}
    assert set(rotation_group(4)) == {rotation for rotation in kept if np.array_equal(kept[rotation], beam)}
    assert set(rotation_group(8)) == {rotation for rotation in kept if abs(kept[rotation] @ beam) == 1}


def test_half_of_the_eight_keep_a_wedge_and_the_others_exchange_the_tilt_axes():
    """The wedge of tilts of ±60° about y: |kz| > tan 60° · |kx|; about x: |kz| > tan 60° · |ky|."""
    kz, ky, kx = torch.meshgrid(*3 * [torch.arange(-5.0, 6)], indexing="ij")
    about_y, about_x = (kz.abs() > math.tan(math.radians(60)) * across.abs() for across in (kx, ky))
    keeping = [rotation for rotation in rotation_group(8) if torch.equal(rotation(about_y), about_y)]
    others = set(rotation_group(8)) - set(keeping)
    assert [np.trace(rotation.matrix()) for rotation in keeping] == [3, -1, -1, -1]  # the identity and half turns
    assert keeping == [rotation for rotation in cube_rotations() if rotation.axes == (0, 1, 2)]
    assert len(others) == 4
    assert all(torch.equal(rotation(about_y), about_x) for rotation in others)


@pytest.mark.parametrize("count", [4, 8, 24])
def test_features_are_the_same_in_any_of_the_turns_and_the_mean_over_them(count):
    torch.manual_seed(0)
    network, x = RB3DSpec(width=4, turns=count).build().eval(), volumes(2, (6, 7, 8))
    with torch.no_grad():
        features = network(x)
        for rotation in rotation_group(count):
            assert torch.allclose(network(rotation(x)), features, atol=1e-6)
        alone = torch.stack([network.forward(rotation(x)) for rotation in rotation_group(count)])
    assert torch.allclose(alone.mean(0), features, atol=1e-6)
    assert not torch.allclose(alone[0], features, atol=1e-3)


def test_while_it_trains_volumes_are_seen_as_they_are():
    network, x = RB3DSpec(width=4, turns=8).build().train(), volumes(2, (8, 8, 8))
    with torch.no_grad():
        assert torch.equal(network(x), network.forward(x))


def test_the_number_of_turns_is_recorded_where_it_is_not_one():
    asked = Layer("--set", {"encoder": {"turns": 8}})
    assert resolve("finetune", [asked]).to_dict()["encoder"]["turns"] == 8
    assert "turns" not in resolve("finetune", []).to_dict()["encoder"]


@pytest.mark.parametrize("name", ["resnet10_3d", "vit_tiny_3d", "timm3d"])
def test_any_encoder_can_be_turned(name):
    network = create_encoder(name, turns=4)
    assert network.turns == 4
    assert network.state_dict().keys() == create_encoder(name).state_dict().keys()


def test_another_number_of_turns_is_refused():
    with pytest.raises(ConfigError, match=r"encoder\.turns.*1, 4, 8 or 24.*6"):
        build_spec("encoder", "rb3d", {"turns": 6})


def test_a_trained_network_can_be_asked_with_turns_that_its_run_did_not_have(tmp_path):
    module = make_run(tmp_path / "run", width=4)
    trained = Trained.open(tmp_path / "run", [Layer("--set", {"encoder": {"turns": 4}})])
    x = torch.stack([trained.dataset[i].volume for i in range(len(trained.dataset))])
    module.encoder.turns = 4
    with torch.no_grad():
        expected = module.classify(normalise(x)).logits
        assert not torch.allclose(module.encoder(normalise(x)), module.encoder.forward(normalise(x)), atol=1e-3)
    assert np.allclose(trained.logits(), expected, rtol=0.05, atol=0.05)
    loaded = create_encoder(pretrained=tmp_path / "run", turns=4)
    assert (loaded.turns, create_encoder(pretrained=tmp_path / "run").turns) == (4, 1)


def test_evaluate_takes_turns(tmp_path, monkeypatch):
    make_run(tmp_path / "run", width=4)
    asked: list[int] = []
    logits = Trained.logits

    def noting(trained, samples=None):
        asked.append(trained.module.encoder.turns)
        return logits(trained, samples)

    monkeypatch.setattr(Trained, "logits", noting)
    run_evaluation(tmp_path / "run", "train", [Layer("--set", {"encoder": {"turns": 8}})])
    assert set(asked) == {8}


def test_fine_tuning_compares_epochs_by_volumes_as_they_are(tmp_path):
    """Turns change neither training nor which epoch is kept, only what the network says afterwards."""
    data = {"name": "mrc_folder", "root": str(write_classes(tmp_path / "data", per_class=6, box=8))}
    common = {"dataset": data, "pretrained": "scratch", "epochs": 2, "batch_size": 4}
    for turns in (1, 4):
        cryoreg.finetune(tmp_path / f"{turns}", encoder={"name": "rb3d", "width": 4, "turns": turns}, **common)
    metrics = [(tmp_path / f"{turns}" / "metrics.csv").read_text().splitlines() for turns in (1, 4)]
    columns = [name in ("val_accuracy", "val_loss", "loss") for name in metrics[0][0].split(",")]
    kept = [[list(compress(line.split(","), columns)) for line in lines] for lines in metrics]
    assert kept[0] == kept[1]
    assert create_encoder(pretrained=tmp_path / "4").turns == 4


def test_another_number_of_turns_holds_for_as_long_as_it_is_asked_for():
    network, x = RB3DSpec(width=4, turns=8).build().eval(), volumes(2, (6, 7, 8))
    with torch.no_grad():
        with network.averaging(turns=1):
            assert torch.equal(network(x), network.forward(x))
        assert not torch.equal(network(x), network.forward(x))


@pytest.mark.parametrize("learns", [False, True])
def test_threads_ask_of_the_turned_copies_as_one_would(learns):
    """Of each copy, in order, in the precision and the mode of the caller, whose number of threads stays."""

    def asked(x):
        modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), (x.flatten() @ x.flatten()).dtype)
        return x.clone(), modes

    x, threads = torch.arange(24.0).reshape(1, 1, 2, 3, 4), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with torch.set_grad_enabled(learns), torch.autocast("cpu", torch.bfloat16):
            found = of_turns(asked, x, 8)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(copy, turn(x)) for (copy, _), turn in zip(found, rotation_group(8), strict=True))
    assert {modes for _, modes in found} == {(learns, False, torch.bfloat16)}


def test_what_fails_in_a_thread_fails():
    def fail(x):
        raise ValueError("no answer")

    with torch.no_grad(), pytest.raises(ValueError, match="no answer"):
        of_turns(fail, torch.zeros(1, 1, 2, 2, 2), 4)
