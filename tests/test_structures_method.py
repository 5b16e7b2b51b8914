"""The method `structures`: its loss against a slow one, what it takes from the data, what unlabelled ones do to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.methods import build, tiny_encoder
from support.synthetic import write_classes

from cryoreg import create_dataset, create_method, pretrain
from cryoreg.errors import ConfigError
from cryoreg.methods.specs import StructuresSpec


def slow_loss(z: np.ndarray, proxies: np.ndarray, labels: list[int], scale: float) -> float:
    """Return the mean of −log softmax, by loops, over those that have a label."""
    losses = []
    for vector, label in zip(z, labels, strict=True):
        if label < 0:
            continue
        cosines = [float(vector @ w / np.linalg.norm(vector) / np.linalg.norm(w)) for w in proxies]
        losses.append(math.log(sum(math.exp(scale * c) for c in cosines)) - scale * cosines[label])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("labels", [[0, 4, 2, 2], [0, -1, 3, -1]])
def test_the_loss_is_the_cross_entropy_of_scaled_cosines(labels: list[int]) -> None:
    torch.manual_seed(0)
    method = create_method("structures", tiny_encoder("structures"), classes=5, scale=7.0)
    x = torch.randn(4, 1, 16, 16, 16)
    loss = method([x], torch.tensor(labels)).loss
    z = method.head(method.encoder(x)).detach().double().numpy()
    expected = slow_loss(z, method.proxies.detach().double().numpy(), labels, 7.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_nothing_labelled_teaches_nothing() -> None:
    method = build("structures")
    loss = method([torch.randn(4, 1, 16, 16, 16)]).loss
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad.abs().max() == 0 for parameter in method.parameters())


def test_a_run_has_a_proxy_for_each_class_of_its_data(tmp_path) -> None:
    root = write_classes(tmp_path / "data", classes=3, per_class=14)
    run = pretrain(
        tmp_path / "run",
        method="structures",
        dataset={"name": "mrc_folder", "root": str(root)},
        augmentation="none",
        epochs=1,
        batch_size=8,
        device="cpu",
    )
    state = torch.load(run.run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert state["module"]["proxies"].shape == (3, 128)


def test_data_without_classes_are_refused(tmp_path) -> None:
    (tmp_path / "flat").mkdir()
    for file in write_classes(tmp_path / "data", classes=1, per_class=4).rglob("*.mrc"):
        file.rename(tmp_path / "flat" / file.name)
    dataset = create_dataset("mrc_folder", root=str(tmp_path / "flat"))
    with pytest.raises(ConfigError, match="structures"):
        StructuresSpec().for_data(dataset)
