"""Every registered method keeps the contract; each loss equals its paper's formula in loops. MoCo: test_moco.py."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cryoreg import registry
from cryoreg.contracts import Method
from cryoreg.encoders.rb3d import RB3D
from cryoreg.methods.byol import rising_momentum

NAMES = [component.name for component in registry.components("methods") if component.builtin]
HERE = ["byol", "simclr", "simsiam", "vicreg"]
EVERY = pytest.mark.parametrize("name", NAMES)


def build(name: str, seed: int = 0, **settings: object) -> Method:
    torch.manual_seed(seed)
    return registry.find("methods", name).spec()(**settings).build(RB3D(width=4))


def some_views(name: str, step: int = 0, batch: int = 6) -> list[Tensor]:
    """Return volumes and noisy copies, as many as the method takes."""
    generator = torch.Generator().manual_seed(step)
    volumes = torch.randn(batch, 1, 8, 8, 8, generator=generator)
    views = registry.find("methods", name).spec().views
    return [volumes + 0.3 * torch.randn(volumes.shape, generator=generator) for _ in range(views)]


def adam(method: Method) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-3)


def descend(method: Method, optimizer: torch.optim.Optimizer, views: list[Tensor]) -> float:
    loss = method(views).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train(method: Method, optimizer: torch.optim.Optimizer, name: str, steps: Sequence[int]) -> list[float]:
    losses = []
    for step in steps:
        losses.append(descend(method, optimizer, some_views(name, step)))
        method.after_step(step, 6)
    return losses


@EVERY
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_keeps_the_contract(name, precision):
    torch.manual_seed(0)
    encoder = RB3D(width=4)
    method = registry.find("methods", name).spec()().build(encoder)
    views = some_views(name)
    before = copy.deepcopy(views)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        output = method(views)
        features = encoder(views[0])
    assert isinstance(method, Method)
    assert method.encoder is encoder
    assert (output.loss.shape, output.loss.dtype) == ((), torch.float32)
    assert output.loss.isfinite()
    assert not output.features.requires_grad
    assert torch.equal(output.features, features)
    assert all(map(torch.equal, views, before))


@EVERY
def test_no_parameter_is_idle(name):
    """Gradients of a parameter that the loss does not depend on are zero but for rounding."""
    method = build(name)
    method(some_views(name)).loss.backward()
    sizes = {n: p.grad.norm().item() for n, p in method.named_parameters() if p.requires_grad and p.grad is not None}
    assert sizes.keys() == {n for n, p in method.named_parameters() if p.requires_grad}
    assert [n for n, size in sizes.items() if size < 1e-4 * max(sizes.values())] == []
    assert all(p.grad is None for p in method.parameters() if not p.requires_grad)


@EVERY
def test_loss_falls_on_a_fixed_batch(name):
    """Every late loss is below every early one. Without `after_step`, so that nothing but gradients moves."""
    method, views = build(name), some_views(name)
    optimizer = adam(method)
    losses = [descend(method, optimizer, views) for _ in range(40)]
    assert max(losses[-10:]) < min(losses[:10])


@EVERY
def test_restored_run_equals_an_uninterrupted_one_to_the_bit(name):
    method = build(name)
    optimizer = adam(method)
    train(method, optimizer, name, range(3))
    saved = copy.deepcopy((method.state_dict(), optimizer.state_dict()))
    expected = train(method, optimizer, name, range(3, 6))

    other = build(name, seed=1)
    other_optimizer = adam(other)
    other.load_state_dict(saved[0])
    other_optimizer.load_state_dict(saved[1])
    assert train(other, other_optimizer, name, range(3, 6)) == expected
    for key, value in method.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


@EVERY
def test_same_seed_same_run_and_another_seed_another(name):
    runs = []
    for seed in (0, 0, 1):
        method = build(name, seed)
        runs.append(train(method, adam(method), name, range(2)))
    assert runs[0] == runs[1] != runs[2]


@EVERY
def test_after_step_leaves_trained_parameters_alone(name):
    method = build(name)
    descend(method, adam(method), some_views(name))
    before = {n: p.clone() for n, p in method.named_parameters() if p.requires_grad}
    method.after_step(0, 6)
    assert all(torch.equal(p, before[n]) for n, p in method.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("name", HERE)
def test_heads_and_loss_are_float32_under_autocast(name):
    method, seen = build(name), []
    for part, module in method.named_children():
        if "encoder" not in part and part != "criterion":
            module.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    method.criterion.register_forward_hook(lambda _, inputs, __: seen.extend(each.dtype for each in inputs))
    with torch.autocast("cpu", torch.bfloat16):
        method(some_views(name))
    assert len(seen) >= 4
    assert set(seen) == {torch.float32}


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
    method, views = build(name, hidden_dim=12, output_dim=7, **settings), some_views(name)
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
    output = method(some_views(name))
    assert output.loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert output.features.std(0).max() == 0


def test_momentum_of_byol_rises_along_a_cosine():
    assert [rising_momentum(0.9, step, 12) for step in (0, 4, 6, 8, 12)] == pytest.approx([0.9, 0.925, 0.95, 0.975, 1])


@pytest.mark.parametrize(("step", "kept"), [(0, 0.9), (3, 0.95), (6, 1.0)])
def test_target_of_byol_follows_with_the_step_s_momentum(step, kept):
    method = build("byol", momentum=0.9)
    descend(method, adam(method), some_views("byol"))
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
    method(some_views(name)).loss.backward()
    assert not any(p.grad.any() for part in (method.encoder, method.head) for p in part.parameters())
    assert method.predictor.layers[-1].bias.grad.any()


def gradients(method: nn.Module, views: list[Tensor]) -> list[Tensor]:
    method(views).loss.backward()
    return [p.grad for p in method.parameters()]


def without_batchnorm(name: str) -> Method:
    """BatchNorm sees the batch of its process only, which is not what is compared here."""
    method = build(name)
    method.head = nn.Linear(method.encoder.num_features, 5)
    return method


def gradients_on_rank(rank: int, name: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    parallel = DistributedDataParallel(without_batchnorm(name))
    torch.save(gradients(parallel, [view[3 * rank : 3 * rank + 3] for view in some_views(name)]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "vicreg"])
def test_two_processes_have_the_gradients_of_one_with_the_whole_batch(name, tmp_path: Path):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(gradients_on_rank, args=(name, str(tmp_path)), nprocs=2)
    expected = gradients(without_batchnorm(name), some_views(name))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected, rtol=1e-4, atol=1e-5)
