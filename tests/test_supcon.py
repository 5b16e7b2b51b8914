"""SupCon against the paper's equation in loops, and against lightly's NT-Xent where no label is known."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from support.methods import build, some_batch, unit

from cryoreg.methods.specs import SupConSpec
from cryoreg.methods.supcon import SupCon, own_class_if_unknown


def slow_loss(method: SupCon, views: list[torch.Tensor], labels: list[int]) -> float:
    """Equation 2 of Khosla et al. 2020, averaged over anchors; a label of -1 is shared with its other view only."""
    z = unit(torch.cat([method.head(method.encoder(view)) for view in views]))
    subtomogram = 2 * list(range(len(labels)))
    total = 0.0
    for i in range(len(z)):
        power = [math.exp(float(z[i] @ other) / method.temperature) for other in z]
        same = [
            j
            for j in range(len(z))
            if j != i and (subtomogram[j] == subtomogram[i] or labels[subtomogram[j]] == labels[subtomogram[i]] >= 0)
        ]
        total -= sum(math.log(power[j] / (sum(power) - power[i])) for j in same) / len(same)
    return total / len(z)


LABELLINGS = [
    [0, 0, 1, -1, -1, 1],
    [0, 0, 0, 0, 0, 0],
    [0, 1, 2, 3, 4, 5],
    [2, 2, 0, 0, 2, 1],
    [-1, -1, -1, -1, -1, 3],
]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("labels", LABELLINGS, ids=str)
def test_loss_equals_the_formula(labels, temperature):
    method, [views, _] = build("supcon", temperature=temperature), some_batch("supcon")
    loss = method(views, torch.tensor(labels)).loss.item()
    assert loss == pytest.approx(slow_loss(method, views, labels), rel=1e-5)


@pytest.mark.parametrize("labels", [None, [-1] * 6, [5, 4, 3, 2, 1, 0]], ids=["none", "unknown", "all different"])
def test_without_two_of_a_class_it_is_simclr(labels):
    method, [views, _] = build("supcon"), some_batch("supcon")
    expected = NTXentLoss(0.1)(*(method.head(method.encoder(view)) for view in views))
    loss = method(views, None if labels is None else torch.tensor(labels)).loss
    torch.testing.assert_close(loss, expected)


def test_unknown_labels_are_numbered_apart():
    assert own_class_if_unknown(torch.tensor([3, -1, 0, -1])).tolist() == [3, -2, 0, -4]


def test_collapsed_loss_counts_all_other_views():
    method, batch = build("supcon"), some_batch("supcon")
    method(*batch)
    assert method.collapsed_loss == pytest.approx(math.log(11))
    assert SupConSpec.uses_labels
