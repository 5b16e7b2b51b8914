"""SwAV against the paper's equations in loops; its queue, its frozen prototypes and its view plan."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.methods import adam, build, descend, output_of, some_batch, train, unit
from torch import nn

from cryoreg.methods.prototypes import Prototypes
from cryoreg.methods.specs import SwAVSpec
from cryoreg.methods.swav import SwAV


def scores_of(method: SwAV, views: list[torch.Tensor]) -> list[np.ndarray]:
    """Return the similarities of each view's projections to the prototypes; BatchNorm sees all views at once."""
    projections = method.head(torch.cat([method.encoder(view) for view in views]))
    similarity = unit(projections) @ method.prototypes.weight.detach().double().T
    return [each.numpy() for each in similarity.chunk(len(views))]


def assignments(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Section 3.1 of the paper: scale exp(s/ε) until prototypes have B/K each, then samples 1 each."""
    q = np.exp(scores / epsilon)
    samples, prototypes = q.shape
    for _ in range(iterations):
        for k in range(prototypes):
            q[:, k] *= samples / prototypes / q[:, k].sum()
        for i in range(samples):
            q[i] /= q[i].sum()
    return q


def slow_loss(method: SwAV, views: list[torch.Tensor], queued: list[np.ndarray] | None) -> float:
    """Equation 2 and its extension to local views in section 3.2."""
    scores, tau = scores_of(method, views), method.criterion.temperature
    total = 0.0
    for code_view in range(2):
        together = scores[code_view] if queued is None else np.concatenate([scores[code_view], queued[code_view]])
        q = assignments(together, method.criterion.sinkhorn_epsilon, method.criterion.sinkhorn_iterations)
        for view, s in enumerate(scores):
            if view != code_view:
                for i in range(len(s)):
                    normaliser = math.log(sum(math.exp(value / tau) for value in s[i]))
                    total -= sum(q[i, k] * (s[i, k] / tau - normaliser) for k in range(s.shape[1]))
    return total / len(views[0]) / 2 / (len(views) - 1)


@pytest.mark.parametrize("local_views", [0, 2])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.2, "epsilon": 0.1, "iterations": 5}], ids=str)
def test_loss_equals_the_formula_without_a_queue(settings, local_views):
    method, views = build("swav", queue_size=0, **settings), some_batch("swav")[0][: 2 + local_views]
    assert method(views).loss.item() == pytest.approx(slow_loss(method, views, None), rel=1e-5)


def test_loss_equals_the_formula_with_a_queue():
    method = build("swav")
    train(method, adam(method), "swav", range(3))
    views = some_batch("swav", 3)[0]
    halves = method.queue.keys.double().chunk(2, dim=1)
    queued = [(unit(half) @ method.prototypes.weight.detach().double().T).numpy() for half in halves]
    assert method(views).loss.item() == pytest.approx(slow_loss(method, views, queued), rel=1e-5)
    assert abs(slow_loss(method, views, queued) - slow_loss(method, views, None)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("step", "used"), [(0, False), (1, False), (2, True), (3, True)])
def test_queue_is_used_from_its_first_step_on(step, used):
    method, batch = build("swav", queue_start=2), some_batch("swav")
    optimizer = adam(method)
    train(method, optimizer, "swav", range(step))
    with torch.no_grad():
        loss = output_of(method, batch).loss
        method.queue.keys.copy_(torch.randn_like(method.queue.keys))
        assert (output_of(method, batch).loss != loss) == used


def test_projections_of_both_whole_views_enter_the_queue_after_the_step():
    method, batch = build("swav"), some_batch("swav")
    before = method.queue.keys.clone()
    projections = method.head(torch.cat([method.encoder(view) for view in batch[0]])).detach().chunk(4)
    method(*batch).loss.backward()
    assert torch.equal(method.queue.keys, before)
    method.after_step(0, 6)
    torch.testing.assert_close(method.queue.keys[:6], torch.cat(projections[:2], dim=1))
    assert torch.equal(method.queue.keys[6:], before[6:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swav", "dino"])
def test_prototypes_stay_exactly_as_they_began_and_are_of_unit_length_after(name):
    """With an optimizer that moves them also by weight decay and momentum."""
    method = build(name, freeze_steps=2)
    prototypes = method.prototypes if name == "swav" else method.head.prototypes
    start = prototypes.weight.detach().clone()
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        descend(method, optimizer, some_batch(name, step))
        assert not torch.equal(prototypes.weight, start)
        method.after_step(step, 4)
        assert torch.equal(prototypes.weight, start) == (step < 2)
        torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(len(start)))


def test_prototypes_give_cosine_similarities():
    prototypes, z = Prototypes(5, 3, freeze_steps=0), torch.randn(4, 5)
    expected = nn.functional.cosine_similarity(z[:, None], prototypes.weight, dim=2)
    torch.testing.assert_close(prototypes(z), expected)


def test_a_head_that_tells_nothing_apart_has_the_loss_ln_k():
    method = build("swav")
    nn.init.zeros_(method.head.layers[-1].weight)
    nn.init.zeros_(method.head.layers[-1].bias)
    assert method(*some_batch("swav")).loss.item() == pytest.approx(math.log(8), rel=1e-6)
    assert method.collapsed_loss == pytest.approx(math.log(8))


def test_local_views_are_in_the_plan():
    assert SwAVSpec().view_plan() == (2, 0, 4, 0.6)
    assert SwAVSpec(local_views=0, local_edge=0.5).view_plan() == (2, 0, 0, 0.5)


def test_state_has_queue_prototypes_and_step():
    state = build("swav").state_dict()
    assert {"queue.keys", "queue.pointer", "prototypes.weight", "steps"} <= state.keys()
