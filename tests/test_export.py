import json
import random

import pytest
import safetensors.torch
import torch

from cryoreg.errors import CheckpointError
from cryoreg.runs.weights import load_weights, save_weights

TENSORS = {"conv.weight": torch.arange(24.0).view(2, 3, 4), "conv.bias": torch.tensor([1, 2], dtype=torch.bfloat16)}
CARD = {"config": {"encoder": {"name": "rb3d"}}, "voxel_size": 13.48, "box": [32, 32, 32], "metrics": {"x": 1e-3}}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_weights(path, TENSORS, CARD)
    return path


def test_round_trip(weights):
    tensors, card = load_weights(weights)
    assert card == CARD
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_safetensors_reads_it_and_the_card_lies_beside_it(weights):
    assert torch.equal(safetensors.torch.load_file(weights)["conv.weight"], TENSORS["conv.weight"])
    assert json.loads((weights.parent / "card.json").read_text()) == CARD


def test_channels_last_weights_keep_their_values(tmp_path):
    weight = torch.randn(4, 2, 3, 3, 3).to(memory_format=torch.channels_last_3d)
    save_weights(tmp_path / "w.safetensors", {"w": weight}, CARD)
    assert torch.equal(load_weights(tmp_path / "w.safetensors").tensors["w"], weight)


def test_a_flipped_bit_never_changes_what_is_read_unnoticed(weights):
    whole = weights.read_bytes()
    rng = random.Random(1)
    unnoticed = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        weights.write_bytes(damaged)
        try:
            tensors, card = load_weights(weights)
        except CheckpointError:
            continue
        unnoticed += 1  # padding, or white space of the header
        assert card == CARD
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert unnoticed < 20


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.unlink(), "there is no weights file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "cannot read weights"),
        (lambda path: path.write_bytes(b""), "cannot read weights"),
        (lambda path: path.write_bytes(b"hello, I am text"), "cannot read weights"),
        (lambda path: safetensors.torch.save_file(TENSORS, path), "no cryoreg card"),
    ],
)
def test_other_files_are_one_clear_line(weights, make, words):
    make(weights)
    with pytest.raises(CheckpointError, match=words) as error:
        load_weights(weights)
    assert str(weights) in str(error.value)
    assert "\n" not in str(error.value)
