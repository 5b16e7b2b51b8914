"""Losses of simclr, vicreg, byol and simsiam against their papers' formulas in loops, and momentum updates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.methods import adam, build, descend, some_batch, train
from torch import Tensor, nn

from cryoreg.contracts import Method
from cryoreg.momentum import rising_momentum


def rows(vectors: Tensor) -> np.ndarray:
    return vectors.detach().double().numpy()


def unit(row: np.ndarray) -> np.ndarray:
    return row / math.sqrt(sum(value * value for value in row))


def slow_simclr(method: Method, views: list[Tensor]) -> float:
    """Equation 1 of Chen et al. 2020, averaged over all 2B anchors as in algorithm 1."""
    z = [unit(row) for view in views for row in rows(method.head(method.encoder(view)))]
    count, total = len(z), 0.0
    for i in range(count):
        similarity = [math.exp(float(z[i] @ z[k]) / method.criterion.temperature) for k in range(count)]
        total -= math.log(similarity[(i + count // 2) % count] / (sum(similarity) - similarity[i]))
    return total / count


def slow_vicreg(method: Method, views: list[Tensor]) -> float:
    """Equations 1 to 6 of Bardes et al. 2022, scaled as their code scales them."""
    z = [rows(method.head(method.encoder(view))) for view in views]
    count, dim = z[0].shape
    apart = sum((p - q) ** 2 for p, q in zip(z[0].flat, z[1].flat, strict=True)) / (count * dim)
    spread = decorrelation = 0.0
    for each in z:
        centred = [[value - sum(column) / count for value in column] for column in each.T]
        cov = [[sum(p * q for p, q in zip(a, b, strict=True)) / (count - 1) for b in centred] for a in centred]
        spread += sum(max(0.0, 1 - math.sqrt(cov[i][i] + 1e-4)) for i in range(dim)) / dim / 2
        decorrelation += sum(cov[i][j] ** 2 for i in range(dim) for j in range(dim) if i != j) / dim
    weights = method.criterion
    return weights.lambda_param * apart + weights.mu_param * spread + weights.nu_param * decorrelation


def slow_byol(method: Method, views: list[Tensor]) -> float:
    """Equation 2 of Grill et al. 2020 and its mirror image, which run from 0 to 8 together; ours from −1 to 1."""
    total = 0.0
    for one, other in (views, views[::-1]):
        predictions = rows(method.predictor(method.head(method.encoder(one))))
        targets = rows(method.target_head(method.target_encoder(other)))
        for q, z in zip(predictions, targets, strict=True):
            total += sum((a - b) ** 2 for a, b in zip(unit(q), unit(z), strict=True))
    return total / len(views[0]) / 4 - 1


def slow_simsiam(method: Method, views: list[Tensor]) -> float:
    """Equations 1 and 2 of Chen & He 2021."""
    z = [method.head(method.encoder(view)) for view in views]
    pairs = [(rows(method.predictor(z[0])), rows(z[1])), (rows(method.predictor(z[1])), rows(z[0]))]
    cosines = [float(unit(p) @ unit(q)) for ps, qs in pairs for p, q in zip(ps, qs, strict=True)]
    return -sum(cosines) / len(cosines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "slow"),
    [
        ("simclr", {"temperature": 0.5}, slow_simclr),
        ("simclr", {"temperature": 0.1, "batch_norm": True}, slow_simclr),
        ("vicreg", {}, slow_vicreg),
        ("vicreg", {"invariance": 3, "variance": 0, "covariance": 0}, slow_vicreg),
        ("vicreg", {"invariance": 0, "variance": 0, "covariance": 5}, slow_vicreg),
        ("byol", {}, slow_byol),
        ("simsiam", {"predictor_dim": 4}, slow_simsiam),
    ],
)
def test_loss_equals_the_formula(name: str, settings: dict[str, object], slow: Callable[..., float]):
    method, views = build(name, hidden_dim=12, output_dim=7, **settings), some_batch(name)[0]
    train(method, adam(method), name, range(2))  # so that momentum copies differ from what they follow
    assert method(views).loss.item() == pytest.approx(slow(method, views), rel=1e-4)


def _forget(layer: nn.Module) -> None:
    for parameter in layer.parameters(recurse=False):
        nn.init.zeros_(parameter)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("simclr", math.log(11)), ("vicreg", 25 * (1 - math.sqrt(1e-4))), ("byol", 0.0), ("simsiam", 0.0)],
)
def test_collapsed_features_show(name, expected):
    """All maps to one point: SimCLR guesses among 11; BatchNorm leaves nothing of BYOL's and SimSiam's targets."""
    method = build(name)
    for part, module in method.named_children():
        if part.endswith("encoder"):
            module.apply(_forget)
    output = method(some_batch(name)[0])
    assert output.loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert output.features.std(0).max() == 0


def test_momentum_rises_along_a_cosine():
    assert [rising_momentum(0.9, step, 12) for step in (0, 4, 6, 8, 12)] == pytest.approx([0.9, 0.925, 0.95, 0.975, 1])


@pytest.mark.parametrize(("step", "kept"), [(0, 0.9), (3, 0.95), (6, 1.0)])
def test_target_of_byol_follows_with_the_step_s_momentum(step, kept):
    method = build("byol", momentum=0.9)
    descend(method, adam(method), some_batch("byol"))
    pairs = [(method.target_encoder, method.encoder), (method.target_head, method.head)]
    expected = [
        kept * own.detach().double() + (1 - kept) * other.detach().double()
        for target, online in pairs
        for own, other in zip(target.parameters(), online.parameters(), strict=True)
    ]
    method.after_step(step, 6)
    moved = [p.double() for target, _ in pairs for p in target.parameters()]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_no_gradient_flows_through_the_target(name):
    """With a predictor that answers the same to all, only the target depends on the encoder."""
    method = build(name)
    nn.init.zeros_(method.predictor.layers[-1].weight)
    method(some_batch(name)[0]).loss.backward()
    assert not any(p.grad.any() for part in (method.encoder, method.head) for p in part.parameters())
    assert method.predictor.layers[-1].bias.grad.any()
