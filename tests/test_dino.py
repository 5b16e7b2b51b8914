"""DINO against the paper's formula in loops; its center, teacher and temperature."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from support.methods import adam, build, descend, output_of, some_batch, train
from torch import nn

from cryoreg.methods.dino import DINO
from cryoreg.methods.specs import DINOSpec


def softmax(values: np.ndarray) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def slow_loss(method: DINO, views: list[torch.Tensor], teacher_temperature: float) -> float:
    """Equations 1 to 3 of the paper with centering: every student view but the teacher's own, averaged."""
    students = [method.head(method.encoder(view)).detach().double().numpy() for view in views]
    teachers = [method.teacher_head(method.teacher_encoder(view)).double().numpy() for view in views[:2]]
    center = method.criterion.center.double().numpy().ravel()
    terms = []
    for t, teacher in enumerate(teachers):
        for s, student in enumerate(students):
            if s != t:
                for i in range(len(student)):
                    p = softmax((teacher[i] - center) / teacher_temperature)
                    q = softmax(student[i] / method.criterion.student_temp)
                    terms.append(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
    return sum(terms) / len(terms)


@pytest.mark.slow
@pytest.mark.parametrize("local_views", [0, 2])
@pytest.mark.parametrize(("step", "temperature"), [(0, 0.04), (2, 0.055), (4, 0.07), (5, 0.07)])
def test_loss_equals_the_formula_at_every_temperature(local_views, step, temperature):
    method, views = build("dino"), some_batch("dino", 9)[0][: 2 + local_views]
    train(method, adam(method), "dino", range(step))
    assert method.teacher_temperature() == pytest.approx(temperature)
    assert method(views).loss.item() == pytest.approx(slow_loss(method, views, temperature), rel=1e-4)


def test_without_warmup_the_temperature_is_final_at_once():
    assert build("dino", warmup_steps=0).teacher_temperature() == pytest.approx(0.07)


@pytest.mark.slow
def test_center_is_a_moving_average_of_the_teacher_s_scores_moved_after_the_step():
    """Two batches before one step, as with accumulated gradients: both see the old center, both move it."""
    method = build("dino", center_momentum=0.8)
    train(method, adam(method), "dino", range(1))
    before, batches = method.criterion.center.clone(), [some_batch("dino", step) for step in (1, 2)]
    scores = [method.teacher_head(method.teacher_encoder(view)) for [views] in batches for view in views[:2]]
    for batch in batches:
        output_of(method, batch).loss.backward()
    assert torch.equal(method.criterion.center, before)
    method.after_step(1, 6)
    torch.testing.assert_close(method.criterion.center, 0.8 * before + 0.2 * torch.cat(scores).mean(0))


@pytest.mark.parametrize(("step", "kept"), [(0, 0.9), (3, 0.95), (6, 1.0)])
def test_teacher_follows_with_the_step_s_momentum(step, kept):
    method = build("dino", momentum=0.9, freeze_steps=0)
    descend(method, adam(method), some_batch("dino"))
    teacher = copy.deepcopy([*method.teacher_encoder.parameters(), *method.teacher_head.projection.parameters()])
    method.after_step(step, 6)
    student = [*method.encoder.parameters(), *method.head.projection.parameters()]
    moved = [*method.teacher_encoder.parameters(), *method.teacher_head.projection.parameters()]
    expected = [kept * own + (1 - kept) * other for own, other in zip(teacher, student, strict=True)]
    torch.testing.assert_close(moved, [each.detach() for each in expected], rtol=0, atol=1e-6)


def test_teacher_s_prototypes_are_of_unit_length():
    """Halfway between the unit vectors c and −c' that they follow there are shorter ones."""
    method = build("dino", momentum=0.5, freeze_steps=0)
    mine, theirs = method.teacher_head.prototypes.weight.clone(), method.head.prototypes
    with torch.no_grad():
        theirs.weight.copy_(-theirs.weight.roll(1, dims=0))
    method.after_step(0, 6)
    expected = nn.functional.normalize(mine + theirs.weight, dim=1)
    torch.testing.assert_close(method.teacher_head.prototypes.weight, expected)


def test_teacher_starts_as_the_student_and_sees_whole_views_only():
    method, seen = build("dino"), []
    for own, other in zip(method.teacher_head.parameters(), method.head.parameters(), strict=True):
        assert torch.equal(own, other)
    method.teacher_encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    output_of(method, some_batch("dino"))
    assert seen == [8, 8]


def test_state_has_center_and_step():
    assert {"criterion.center", "steps", "teacher_head.prototypes.weight"} <= build("dino").state_dict().keys()


def test_local_views_are_in_the_plan():
    assert DINOSpec(local_views=3, local_edge=0.5).view_plan() == (2, 0, 3, 0.5)
