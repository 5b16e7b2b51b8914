"""Checkpoints of the lab's code, written here in its layout, into encoders and fine-tuning runs."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from support.encoding import volumes
from support.synthetic import write_classes
from torch import Tensor, nn

import cryoreg
from cryoreg.contracts import Encoder
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.errors import CheckpointError
from cryoreg.runs.weights import load_weights

HEADS = {
    "linear": nn.Linear(256, 10),
    "projection": nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128)),
}


def rb3d(seed: int = 5, **parameters: object) -> Encoder:
    torch.manual_seed(seed)
    return RB3DSpec(**parameters).build()


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def lab_state(encoder: nn.Module, head: nn.Module = HEADS["linear"]) -> dict[str, Tensor]:
    """What the lab's MoCo saves: both encoders with their heads, and the queue."""
    state = {"module.queue": torch.randn(128, 128), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    for name, module in (("encoder_q", encoder), ("encoder_k", rb3d(seed=6))):
        state |= prefixed(f"module.{name}.", module) | prefixed(f"module.{name}.fc.", head)
    return state


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def lab_file(tmp_path):
    content = {"epoch": 200, "arch": "RB3D", "state_dict": lab_state(rb3d()), "optimizer": {"state": {}}}
    return saved(tmp_path / "checkpoint_0200.pth.tar", content)


@pytest.mark.parametrize("name", [None, "rb3d"])
def test_the_query_encoder_comes_out_of_a_moco_checkpoint(lab_file, name):
    encoder, x = cryoreg.create_encoder(name, pretrained=lab_file), volumes(2)
    with torch.no_grad():
        assert torch.equal(encoder(x), rb3d()(x))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("wrapped", [True, False])
def test_heads_are_dropped_with_and_without_a_container(tmp_path, head, wrapped):
    state = lab_state(rb3d(), HEADS[head])
    path = saved(tmp_path / "lab.pth", {"state_dict": state} if wrapped else state)
    assert torch.equal(cryoreg.create_encoder(pretrained=path).conv1.weight, rb3d().conv1.weight)


@pytest.mark.parametrize("prefix", ["module.encoder_q.", "encoder_q.", "module.encoder.", "encoder.", "module.", ""])
def test_usual_prefixes_are_known(tmp_path, prefix):
    state = prefixed(prefix, rb3d()) | prefixed(f"{prefix}fc.", HEADS["linear"])
    loaded = cryoreg.create_encoder(pretrained=saved(tmp_path / "lab.pt", state)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in rb3d().state_dict().items())


def test_parameters_are_the_users(tmp_path):
    path = saved(tmp_path / "lab.pth", lab_state(rb3d(width=16, norm="batch")))
    encoder = cryoreg.create_encoder("rb3d", pretrained=path, width=16, norm="batch")
    assert torch.equal(
        encoder.bottleneck_layers[3].conv4.weight, rb3d(width=16, norm="batch").bottleneck_layers[3].conv4.weight
    )


def test_other_encoders_load_theirs(tmp_path):
    torch.manual_seed(3)
    other = cryoreg.create_encoder("dsrf3d_v2")
    encoder = cryoreg.create_encoder("dsrf3d_v2", pretrained=saved(tmp_path / "x.pth", prefixed("module.", other)))
    assert torch.equal(encoder.layers[0].weight, other.layers[0].weight)


@pytest.mark.parametrize(
    ("trained", "wanted", "words"),
    [
        ({"width": 16}, {}, r"'\S*conv\d\.\w+' is 8.* in the file, but 16.*rb3d with encoder.width=16"),
        ({"norm": "batch"}, {}, "norm1.bias' is 16 in the file, but missing in the encoder"),
        ({}, {"norm": "group"}, "norm1.bias' is missing in the file, but 16 in the encoder"),
        ({}, {"name": "rb3d_fc"}, "'hidden.bias' is missing in the file, but 1024 in the encoder.*choose encoder rb3d"),
        ({}, {"name": "dsrf3d_v2"}, "'bottleneck_layers.0.conv1.bias' is 16 in the file, but missing in the encoder"),
    ],
)
def test_a_network_that_does_not_fit_is_one_clear_line(tmp_path, trained, wanted, words):
    path = saved(tmp_path / "lab.pth", lab_state(rb3d(**trained)))
    with pytest.raises(CheckpointError, match=words) as error:
        cryoreg.create_encoder(wanted.pop("name", "rb3d"), pretrained=path, **wanted)
    assert "\n" not in str(error.value)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"args": argparse.Namespace(lr=1), "state_dict": {}}, r"argparse.Namespace\), which could run code; refused"),
        ({"best": np.float64(0.9), "state_dict": {}}, "numpy.*which could run code; refused"),
        ([torch.ones(2)], "no state dict, but a list"),
        ({"state_dict": {}}, "no weights of an encoder"),
        ({"epoch": 3}, "no weights of an encoder"),
    ],
)
def test_what_holds_no_plain_state_dict_is_one_clear_line(tmp_path, content, words):
    path = saved(tmp_path / "lab.pth", content)
    with pytest.raises(CheckpointError, match=words) as error:
        cryoreg.create_encoder(pretrained=path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [torch.save, lambda evil, path: path.write_bytes(pickle.dumps(evil, protocol=2))])
def test_evil_pickles_do_not_run(tmp_path, write):
    write({"state_dict": Evil(tmp_path / "evil")}, tmp_path / "lab.pth.tar")
    with pytest.raises(CheckpointError, match="refused") as error:
        cryoreg.create_encoder(pretrained=tmp_path / "lab.pth.tar")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "there is no checkpoint"),
        (lambda path: path.write_text("hello"), "cannot read checkpoint"),
        (lambda path: path.write_bytes(b""), "cannot read checkpoint"),
        (lambda path: path.write_bytes(path.read_bytes()[:-500]), "cannot read checkpoint"),
    ],
)
def test_damaged_files_are_one_clear_line(lab_file, damage, words):
    damage(lab_file)
    with pytest.raises(CheckpointError, match=words) as error:
        cryoreg.create_encoder(pretrained=lab_file)
    assert "\n" not in str(error.value)


@pytest.fixture
def source(tmp_path):
    return {"name": "mrc_folder", "root": write_classes(tmp_path / "mrc", classes=2, per_class=6)}


FAST = {"epochs": 1, "batch_size": 8, "lr": 1e-12, "weight_decay": 0, "device": "cpu", "precision": "fp32"}


@pytest.mark.slow
def test_finetuning_starts_from_a_lab_checkpoint_with_the_users_settings(lab_file, source, tmp_path):
    cryoreg.finetune(tmp_path / "run", pretrained=lab_file, dataset=source, augmentation="none", **FAST)
    tensors, card = load_weights(tmp_path / "run" / "encoder.safetensors")
    for name, tensor in rb3d().state_dict().items():
        torch.testing.assert_close(tensors[name], tensor)
    assert card["config"]["encoder"]["name"] == "rb3d"
    assert card["config"]["training"]["pretrained"] == str(lab_file)


def test_finetuning_refuses_another_width_or_a_missing_file(lab_file, source, tmp_path):
    encoder = {"name": "rb3d", "width": 16}
    with pytest.raises(CheckpointError, match=r"encoder\.width=32"):
        cryoreg.finetune(tmp_path / "run", pretrained=lab_file, encoder=encoder, dataset=source, **FAST)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        cryoreg.finetune(tmp_path / "run", pretrained=tmp_path / "other.pth", dataset=source, **FAST)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_takes_a_lab_checkpoint(lab_file, source, tmp_path, cryoreg_process):
    settings = [f"--set=training.{key}={value}" for key, value in FAST.items()]
    data = ["--dataset", "mrc_folder", f"--set=dataset.root={source['root']}"]
    done = cryoreg_process("finetune", "--from", str(lab_file), *data, *settings, "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "classifier.safetensors").exists()
