"""MoCo against loops, closed forms, an uninterrupted run and a run on one process."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cryoreg.contracts import Encoder
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.methods.moco import MoCo
from cryoreg.methods.specs import MoCoSpec
from cryoreg.testing.elsewhere import on_two_ranks

SETTINGS = {"queue_size": 12, "momentum": 0.9, "hidden_dim": 8, "output_dim": 5}
BOTH = pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])


class TinyEncoder(Encoder):
    """One linear layer over the voxels, with BatchNorm on request."""

    num_features = 6

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 6)
        self.norm = nn.BatchNorm1d(6) if norm else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x.flatten(1)))[:, :, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).flatten(1)


def rb3d() -> Encoder:
    return RB3DSpec().build()


def tiny_moco(seed: int = 0, norm: bool = False, **settings: object) -> MoCo:
    torch.manual_seed(seed)
    method = MoCoSpec(**{**SETTINGS, **settings}).build(TinyEncoder(norm))
    with torch.no_grad():  # so that queries and keys come from different weights
        for parameter in method.key_encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return method


def two_views(step: int = 0, batch: int = 4, edge: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(batch, 1, edge, edge, edge, generator=generator) for _ in range(2)]


def sgd(method: MoCo) -> torch.optim.Optimizer:
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=0.1, momentum=0.9)


def take_step(module: nn.Module, optimizer: torch.optim.Optimizer, views: list[Tensor]) -> Tensor:
    """Take the engine's step; ``module`` is the method or the method in DDP."""
    loss = module(views).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    getattr(module, "module", module).after_step(0, 1)
    return loss.detach()


def unit_rows(vectors: Tensor) -> np.ndarray:
    rows = vectors.detach().double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def info_nce(queries: np.ndarray, keys: np.ndarray, negatives: np.ndarray, temperature: float) -> float:
    """The formula of He et al. 2020, equation 1, one query at a time."""
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp(float(query @ key) / temperature)
        negative = sum(math.exp(float(query @ other) / temperature) for other in negatives)
        total -= math.log(positive / (positive + negative))
    return total / len(queries)


@BOTH
@pytest.mark.parametrize("head", ["v1", "v2"])
def test_loss_equals_the_formula(head, symmetric):
    method = tiny_moco(head=head, symmetric=symmetric, temperature=0.3)
    first, second = two_views()
    queries = [unit_rows(method.head(method.encoder(view))) for view in (first, second)]
    keys = [unit_rows(method.key_head(method.key_encoder(view))) for view in (first, second)]
    negatives = method.queue.keys.double().numpy()
    expected = info_nce(queries[0], keys[1], negatives, 0.3)
    if symmetric:
        expected = (expected + info_nce(queries[1], keys[0], negatives, 0.3)) / 2
    assert method([first, second]).loss.item() == pytest.approx(expected, rel=1e-5)


@BOTH
def test_keys_enter_the_queue_after_the_step(symmetric):
    method = tiny_moco(symmetric=symmetric)
    first, second = two_views()
    before = method.queue.keys.clone()
    views = [second, first] if symmetric else [second]
    keys = np.concatenate([unit_rows(method.key_head(method.key_encoder(view))) for view in views])
    method([first, second])
    assert torch.equal(method.queue.keys, before)
    method.after_step(0, 1)
    np.testing.assert_allclose(method.queue.keys[: len(keys)].numpy(), keys, atol=1e-6)
    assert torch.equal(method.queue.keys[len(keys) :], before[len(keys) :])


def test_evaluation_leaves_the_queue_alone():
    method = tiny_moco()
    before = copy.deepcopy(method.queue.state_dict())
    with torch.no_grad():
        method(two_views())
    method.after_step(0, 1)
    assert all(torch.equal(value, before[name]) for name, value in method.queue.state_dict().items())


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999, 1.0])
def test_momentum_update_has_its_closed_form(momentum):
    """With fixed weights θ, n updates leave mⁿ·θ'₀ + (1 − mⁿ)·θ."""
    method = tiny_moco(momentum=momentum)
    start = [p.double() for p in method.key_encoder.parameters()]
    for step in range(5):
        method.after_step(step, 5)
    kept = momentum**5
    pairs = zip(start, method.encoder.parameters(), method.key_encoder.parameters(), strict=True)
    for first, target, now in pairs:
        torch.testing.assert_close(now.double(), kept * first + (1 - kept) * target.double(), rtol=0, atol=1e-6)


def test_key_encoder_keeps_its_own_batchnorm_statistics():
    method = tiny_moco(norm=True)
    first, second = two_views()
    outputs = method.key_encoder.linear(second.flatten(1))
    method([first, second])
    method.after_step(0, 1)
    torch.testing.assert_close(method.key_encoder.norm.running_mean, 0.1 * outputs.mean(0))
    assert not torch.equal(method.key_encoder.norm.running_mean, method.encoder.norm.running_mean)


@BOTH
def test_every_trainable_parameter_gets_a_gradient_and_no_other_does(symmetric):
    method = tiny_moco(symmetric=symmetric)
    method(two_views()).loss.backward()
    for name, parameter in method.named_parameters():
        is_key = name.startswith("key_")
        assert parameter.requires_grad is not is_key, name
        assert (parameter.grad is not None and bool(parameter.grad.any())) is not is_key, name


def test_output_is_float32_and_features_are_detached_under_autocast():
    method = MoCoSpec().build(rb3d())
    views = two_views(edge=8)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(views)
        plain = method.encoder(views[0])
    assert output.loss.dtype == torch.float32
    assert output.loss.shape == ()
    assert not output.features.requires_grad
    assert torch.equal(output.features, plain)


def test_features_of_the_second_view_are_those_of_the_encoder_that_saw_it():
    """The momentum encoder, unless the loss is symmetric."""
    first, second = two_views()
    asymmetric, symmetric = tiny_moco(), tiny_moco(symmetric=True)
    other_features = asymmetric([first, second]).other_features
    assert torch.equal(other_features, asymmetric.key_encoder(second))
    assert not torch.equal(other_features, asymmetric.encoder(second))
    assert torch.equal(symmetric([first, second]).other_features, symmetric.encoder(second))


def test_projection_and_loss_are_computed_in_float32_under_autocast():
    method = tiny_moco()
    seen = []
    method.head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    method.key_head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        method(two_views())
    assert seen == [torch.float32, torch.float32]


def test_state_has_all_that_training_needs_once():
    state = tiny_moco().state_dict()
    parts = {name.split(".")[0] for name in state}
    assert parts == {"encoder", "head", "key_encoder", "key_head", "criterion"}
    assert [name for name in state if name.endswith("pointer")] == ["criterion.memory_bank.pointer"]


@BOTH
def test_restored_run_equals_an_uninterrupted_one_to_the_bit(symmetric):
    method = tiny_moco(symmetric=symmetric, norm=True)
    optimizer = sgd(method)
    for step in range(3):
        take_step(method, optimizer, two_views(step))
    saved = copy.deepcopy((method.state_dict(), optimizer.state_dict()))

    other = tiny_moco(seed=1, symmetric=symmetric, norm=True)
    other_optimizer = sgd(other)
    other.load_state_dict(saved[0])
    other_optimizer.load_state_dict(saved[1])
    for step in range(3, 6):
        expected = take_step(method, optimizer, two_views(step))
        assert torch.equal(take_step(other, other_optimizer, two_views(step)), expected)
    for name, value in method.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("encoder", [TinyEncoder, rb3d])
def test_loss_falls_below_that_of_indistinguishable_keys(encoder, symmetric):
    """With key and 32 negatives all alike the loss is log 33, which is where an untrained RB3D starts."""
    torch.manual_seed(0)
    edge = 4 if encoder is TinyEncoder else 8
    method = MoCoSpec(queue_size=32, momentum=1.0, symmetric=symmetric).build(encoder())
    for step in range(1, 5):
        method(two_views(step, batch=8, edge=edge))
        method.after_step(step, 5)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    first = two_views(batch=8, edge=edge)[0]
    for _ in range(40):
        loss = method([first, first.flip(4)]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < math.log(33) - 0.3


def test_spec_builds_the_paper_s_moco():
    method = MoCoSpec().build(rb3d())
    assert method.queue.keys.shape == (128, 128)
    assert (method.momentum, method.criterion.temperature) == (0.999, 0.2)
    assert MoCoSpec.views == 2
    for own, key in zip(method.encoder.parameters(), method.key_encoder.parameters(), strict=True):
        assert torch.equal(own, key)
    head = MoCoSpec(head="v1").build(rb3d()).head
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(128, 256)]


def train_on_rank(rank: int) -> dict[str, Tensor]:
    method = tiny_moco(symmetric=True)
    parallel = DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = sgd(method)
    for step in range(3):
        take_step(parallel, optimizer, [view[2 * rank : 2 * rank + 2] for view in two_views(step)])
    return dict(method.state_dict())


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch():
    method = tiny_moco(symmetric=True)
    optimizer = sgd(method)
    for step in range(3):
        take_step(method, optimizer, two_views(step))
    for state in on_two_ranks(train_on_rank):
        torch.testing.assert_close(state, dict(method.state_dict()), rtol=1e-5, atol=1e-6)
