"""Each built-in learner against its formula, written out slowly, and what all of them may be asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from support.encoding import volumes

import cryoreg
from cryoreg.config.settings import FinetuneSettings
from cryoreg.contracts import Lesson, Material
from cryoreg.errors import ConfigError
from cryoreg.learners import logistic_regression
from cryoreg.learners.frozen_specs import LinearProbeSpec, PrototypesSpec
from cryoreg.learners.specs import FixMatchSpec, FullSpec, MeanTeacherSpec, PartialSpec, S4LSpec
from cryoreg.training.averaging import Averaged
from cryoreg.training.optimization import Schedule, create_optimizer
from cryoreg.turns import rotation_group

BOX = (8, 8, 8)


def learner_of(spec, classes=3, norm="none", seed=0):
    torch.manual_seed(seed)
    learner = spec.build(cryoreg.create_encoder("rb3d", width=4, norm=norm), classes)
    head = getattr(learner, "head", None)
    if head is not None:
        torch.nn.init.normal_(head.weight)
    return learner


def views(count, *seeds):
    return [volumes(count, BOX, seed=seed) for seed in seeds]


def test_linear_probe_of_single_labels_and_of_a_class_without_any():
    learner = learner_of(LinearProbeSpec(), classes=4)
    x, labels = volumes(3, BOX), torch.tensor([0, 1, 3])
    learner.begin_epoch(0, 1, Material([(x, labels)], [], []))
    logits = learner.eval().classify(x).logits
    assert logits.argmax(1).tolist() == [0, 1, 3]
    assert (logits.softmax(1)[:, 2] < 1e-6).all()
    assert learner.figures() == {"probe_c": 1.0}


def test_prototypes_are_means_of_directions_about_the_centre():
    learner = learner_of(PrototypesSpec(temperature=0.5), classes=4)
    x, labels = volumes(7, BOX), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    learner.begin_epoch(0, 1, Material([(x[:4], labels[:4]), (x[4:], labels[4:])], [], []))
    features = learner.encoder(x).detach().double().numpy()
    centre = features.mean(0)
    directions = [(f - centre) / np.linalg.norm(f - centre) for f in features]
    wanted = np.full((7, 3), np.nan)
    for i, direction in enumerate(directions):
        for c in range(3):
            mean = np.mean([directions[j] for j in range(7) if labels[j] == c], axis=0)
            wanted[i, c] = direction @ mean / np.linalg.norm(mean) / 0.5
    logits = learner.classify(x).logits
    np.testing.assert_allclose(logits[:, :3], wanted, atol=1e-4)
    assert (logits.softmax(1)[:, 3] < 1e-6).all(), "no label of it was shown"


def test_partial_rates_fall_from_the_head_and_the_first_layers_stay():
    learner = learner_of(PartialSpec(decay=0.5, frozen=0.25), norm="batch")
    convolutions = [n for n, m in learner.encoder.named_modules() if isinstance(m, torch.nn.Conv3d)]
    norms = [n for n, m in learner.encoder.named_modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert norms
    rates = learner.learning_rates()
    for number, name in enumerate(convolutions):
        assert rates[f"encoder.{name}.weight"] == 0.5 ** (len(convolutions) - number)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    settings = FinetuneSettings(optimizer="momentum", lr=1e-2, schedule="constant", momentum=0.0, weight_decay=0.0)
    optimizer = create_optimizer(learner, settings, rates)
    assert Schedule(optimizer, settings, 3).set(0) == pytest.approx(1e-2)
    learner.train()(Lesson(views(4, 0), torch.tensor([0, 1, 2, 0]))).loss.backward()
    optimizer.step()
    stays = convolutions[: round(0.25 * len(convolutions))]
    after = dict(learner.named_parameters())
    for name in convolutions:
        weight = after[f"encoder.{name}.weight"]
        if name in stays:
            assert torch.equal(weight, before[f"encoder.{name}.weight"])
        else:
            moved = before[f"encoder.{name}.weight"] - 1e-2 * rates[f"encoder.{name}.weight"] * weight.grad
            torch.testing.assert_close(weight.detach(), moved)
    first = norms[0]
    assert torch.equal(learner.encoder.get_submodule(first).running_mean, before[f"encoder.{first}.running_mean"])


def test_partial_of_low_rank_learns_at_the_rate_of_its_layer():
    learner = learner_of(PartialSpec(decay=0.5, rank=2))
    rates = learner.learning_rates()
    found = [{rates[f"{part}.{number}"] for part in ("rows", "columns")} for number in range(len(learner.adapted))]
    assert found == [{0.5 ** (len(found) - number)} for number in range(len(found))]
    assert {n for n, p in learner.named_parameters() if p.requires_grad} - rates.keys() == {"head.weight", "head.bias"}


def test_partial_of_low_rank_changes_matrices_by_that_rank_and_answers_as_it_learnt():
    learner = learner_of(PartialSpec(rank=2))
    before = {name: weight.detach().clone() for name, weight in learner.encoder.named_parameters()}
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], 0.05)
    x, labels = views(4, 0), torch.tensor([0, 1, 2, 0])
    for step in range(3):
        optimizer.zero_grad()
        learner(Lesson(x, labels)).loss.backward()
        optimizer.step()
        learner.after_step(step, 3)
    for name, weight in learner.encoder.named_parameters():
        change = (weight.detach() - before[name]).flatten(1) if weight.ndim > 1 else weight.detach() - before[name]
        ranks = torch.linalg.matrix_rank(change.double(), rtol=1e-4) if weight.ndim > 1 else change.count_nonzero()
        assert ranks <= (2 if weight.ndim > 1 else 0), name
    assert any(not torch.equal(w, before[n]) for n, w in learner.encoder.named_parameters())
    learnt = learner.train().classify(x[0]).logits
    torch.testing.assert_close(learner.eval().classify(x[0]).logits, learnt)
    assert {name.partition(".")[0] for name in learner.saved_state()} == {"encoder", "head"}


def test_mean_teacher_loss_weight_and_average_over_steps():
    spec = MeanTeacherSpec(weight=20.0, ramp=0.5, momentum=0.6, late_momentum=0.9)
    learner, total = learner_of(spec).train(), 8
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], 0.05)
    slow = {n: p.detach().clone().double().numpy() for n, p in learner.encoder.named_parameters()}
    labels = torch.tensor([0, 2])
    for step in range(total):
        lesson = Lesson(views(2, 4 * step, 4 * step + 1), labels, views(6, 4 * step + 2, 4 * step + 3))
        loss = learner(lesson).loss
        with torch.no_grad():
            own = [F.softmax(learner.student_head(learner.student(x[:1])), 1)[0].tolist() for x in _rows(lesson, 0)]
            taught = [F.softmax(learner.head(learner.encoder(x[:1])), 1)[0].tolist() for x in _rows(lesson, 1)]
        apart = sum((a - b) ** 2 for p, q in zip(own, taught, strict=True) for a, b in zip(p, q, strict=True)) / (8 * 3)
        w = 20.0 * math.exp(-5 * (1 - min(1.0, step / (0.5 * total))) ** 2)
        crossed = -sum(math.log(own[i][labels[i]]) for i in range(2)) / 2
        assert loss.item() == pytest.approx(crossed + w * apart, rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.after_step(step, total)
        momentum = min(1 - 1 / (step + 1), 0.6 if step < 0.5 * total else 0.9)
        for name, fast in learner.student.named_parameters():
            slow[name] = momentum * slow[name] + (1 - momentum) * fast.detach().double().numpy()
    for name, parameter in learner.encoder.named_parameters():
        np.testing.assert_allclose(parameter.detach(), slow[name], rtol=1e-4, atol=1e-6)
        assert parameter.grad is None


def _rows(lesson, view):
    return [x for part in (lesson.views[view], lesson.unlabelled[view]) for x in part.split(1)]


def test_fixmatch_learns_from_confident_aligned_answers():
    learner = learner_of(FixMatchSpec(threshold=0.85, weight=2.0, align_momentum=0.5)).train()
    shown = torch.tensor([0, 0, 0, 1, 2, 0])
    learner.begin_epoch(0, 1, Material([(volumes(6, BOX), shown)], [], []))
    wanted, mean, selected, asked = [4 / 6, 1 / 6, 1 / 6], [4 / 6, 1 / 6, 1 / 6], 0, 0
    for step in range(3):
        labels = torch.tensor([1, 2])
        lesson = Lesson(views(2, step), labels, views(5, 10 + step, 20 + step))
        loss, answers = 0.0, []
        with torch.no_grad():
            for i in range(2):
                loss -= math.log(F.softmax(learner.classify(lesson.views[0][i : i + 1]).logits, 1)[0, labels[i]]) / 2
            for i in range(5):
                p = F.softmax(learner.classify(lesson.unlabelled[0][i : i + 1]).logits, 1)[0].tolist()
                answers.append(p)
                q = [p[c] * wanted[c] / mean[c] for c in range(3)]
                q = [value / sum(q) for value in q]
                if max(q) >= 0.85:
                    strong = F.softmax(learner.classify(lesson.unlabelled[1][i : i + 1]).logits, 1)[0]
                    loss -= 2.0 * math.log(strong[q.index(max(q))]) / 5
                    selected += 1
                asked += 1
        assert learner(lesson).loss.item() == pytest.approx(loss, rel=1e-4)
        learner.after_step(step, 3)
        mean = [0.5 * mean[c] + 0.5 * sum(p[c] for p in answers) / 5 for c in range(3)]
    assert 0 < selected < asked, "both branches are met"
    assert learner.figures() == {"selected": pytest.approx(selected / asked)}
    assert learner.lesson_plan().ratio == 3


def test_s4l_is_cross_entropy_and_the_methods_loss_of_all():
    learner = learner_of(S4LSpec(method="simclr", weight=0.5, settings={"hidden_dim": 8, "output_dim": 4}))
    lesson = Lesson(views(3, 0, 1), torch.tensor([0, 1, 2]), views(3, 2, 3))
    both = [torch.cat([lesson.views[k], lesson.unlabelled[k]]) for k in range(2)]
    z = [F.normalize(learner.method.head(learner.encoder(x)), dim=1) for x in both]
    z = torch.cat(z).detach().double().numpy()
    similar = z @ z.T / learner.method.criterion.temperature
    contrast = np.mean(
        [np.log(sum(np.exp(similar[i, k]) for k in range(12) if k != i)) - similar[i, (i + 6) % 12] for i in range(12)]
    )
    crossed = F.cross_entropy(learner.classify(lesson.views[0]).logits, lesson.labels).item()
    assert learner(lesson).loss.item() == pytest.approx(crossed + 0.5 * contrast, rel=1e-4)


@pytest.mark.parametrize("method", ["supcon", "nrcl"])
def test_s4l_refuses_methods_that_want_labels_or_clean_copies(method):
    with pytest.raises(ConfigError, match=f"learner.method: '{method}'.*choose another"):
        learner_of(S4LSpec(method=method))


def test_turns_of_a_learner_take_the_place_of_its_encoder_s():
    """The mean of probabilities of single views, not of means over them."""
    learner, x = learner_of(FullSpec(turns=8)).eval(), volumes(3, BOX)
    wanted = learner.answer(x).logits
    learner.encoder.turns = 8
    torch.testing.assert_close(learner.answer(x).logits, wanted)
    assert learner.encoder.turns == 8


def test_a_probe_of_turned_copies_is_logistic_regression_of_all_of_them():
    """C is chosen with all copies of a subtomogram in one fold: by hand, the same folds and log-likelihoods."""
    learner = learner_of(LinearProbeSpec(unit_length=True, turns=4, folds=3, strengths=(0.1, 10.0, 1000.0)))
    learner.encoder.turns = 8
    x, labels = volumes(12, BOX), torch.arange(12) % 3
    learner.begin_epoch(0, 1, Material([(x[:7], labels[:7]), (x[7:], labels[7:])], [], []))
    with torch.no_grad(), learner.encoder.averaging(turns=1):
        copies = [F.normalize(learner.encoder(turn(x)), dim=1).double().numpy() for turn in rotation_group(4)]
    likelihoods = dict.fromkeys((0.1, 10.0, 1000.0), 0.0)
    for c in likelihoods:
        for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(np.zeros(12), labels):
            model = LogisticRegression(C=c, max_iter=5000)
            model.fit(np.concatenate([f[train] for f in copies]), np.tile(labels[train], 4))
            chances = model.predict_proba(np.concatenate([f[test] for f in copies]))
            likelihoods[c] -= log_loss(np.tile(labels[test], 4), chances)
    best = max(likelihoods, key=likelihoods.get)
    assert learner.figures() == {"probe_c": pytest.approx(best)}
    wanted = LogisticRegression(C=best, max_iter=5000).fit(np.concatenate(copies), np.tile(labels, 4))
    chances = sum(wanted.predict_proba(f) for f in copies) / 4
    torch.testing.assert_close(
        learner.eval().answer(x).logits.softmax(1).double(), torch.from_numpy(chances), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("turns", [4, 8])
def test_turns_average_probabilities_and_features_in_evaluation(turns):
    learner = learner_of(FullSpec(turns=turns)).eval()
    x = volumes(2, BOX)
    parts = [learner.classify(turn(x)) for turn in rotation_group(turns)]
    wanted = sum(F.softmax(part.logits.double(), 1) for part in parts) / turns
    found = learner.answer(x)
    torch.testing.assert_close(found.logits.double().softmax(1), wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.features, sum(part.features for part in parts) / turns)
    torch.testing.assert_close(learner.answer(rotation_group(turns)[1](x)).logits, found.logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(learner.train().answer(x).logits, learner.classify(x).logits)


def test_averaged_weights_follow_with_a_momentum_that_rises():
    learner = learner_of(FullSpec(), norm="batch")
    averaged, slow = Averaged(learner, 0.3), learner.head.weight.detach().double().numpy().copy()
    for step in range(6):
        with torch.no_grad():
            learner.head.weight += torch.randn_like(learner.head.weight)
        learner.train().classify(volumes(2, BOX, seed=step))
        averaged.follow(learner, step)
        m = min(0.3, (1 + step) / (10 + step))
        slow = m * slow + (1 - m) * learner.head.weight.detach().double().numpy()
    np.testing.assert_allclose(averaged.learner.head.weight.detach(), slow, rtol=1e-5)
    statistics = dict(learner.named_buffers())
    assert all(torch.equal(value, statistics[name]) for name, value in averaged.learner.named_buffers())


BEGIN_AS_PROBE = [FullSpec, PartialSpec, MeanTeacherSpec, FixMatchSpec, S4LSpec]


@pytest.mark.parametrize("spec", BEGIN_AS_PROBE)
def test_learners_with_a_linear_layer_may_begin_from_what_scikit_learn_fits(spec):
    """Before the first epoch alone, and with the answers of logistic regression on standardised features."""
    learner = learner_of(spec(head="probe"))
    x, labels = volumes(12, BOX), torch.arange(12) % 3
    material = Material([(x, labels)], [], [])
    random = learner.head.weight.clone()
    learner.begin_epoch(1, 2, material)
    assert torch.equal(learner.head.weight, random)
    learner.begin_epoch(0, 2, material)
    with torch.no_grad():
        features = learner.eval().encoder(x).double().numpy()
        answers = learner.classify(x).logits.softmax(1)
    found = logistic_regression.fit(features, labels.numpy(), 5, logistic_regression.STRENGTHS)
    scaled = (features - features.mean(0)) / np.where(features.std(0) > 0, features.std(0), 1)
    wanted = LogisticRegression(C=found.strength, max_iter=5000).fit(scaled, labels).predict_proba(scaled)
    torch.testing.assert_close(answers.double(), torch.from_numpy(wanted), atol=1e-3, rtol=0)
    layer = getattr(learner, "student_head", learner.head)
    torch.testing.assert_close(layer.weight, learner.head.weight)
    assert layer.weight.requires_grad


@pytest.mark.parametrize("spec", [*BEGIN_AS_PROBE[:-1], lambda **given: S4LSpec(weight=0, **given)])
def test_layers_that_see_directions_learn_the_same_of_features_of_any_length(spec):
    """Of s4l without its method, which sees the features themselves."""
    losses = []
    for scale in (1.0, 3.0):
        learner = learner_of(spec(unit_length=True)).train()
        for encoder in {learner.encoder, getattr(learner, "student", learner.encoder)}:
            encoder.register_forward_hook(lambda _, given, features, scale=scale: features * scale)
        plan = learner.lesson_plan()
        known = views(3, *range(plan.labelled.whole))
        unknown = views(3, *range(5, 5 + plan.unlabelled.whole)) if plan.unlabelled else []
        losses.append(learner(Lesson(known, torch.tensor([0, 1, 2]), unknown)).loss)
    torch.testing.assert_close(*losses)


def test_a_probe_of_unit_length_is_logistic_regression_of_directions():
    """How long features are is not seen: neither by what is fitted, nor in the answers."""
    learner = learner_of(LinearProbeSpec(unit_length=True))
    x, labels = volumes(12, BOX), torch.arange(12) % 3
    learner.begin_epoch(0, 1, Material([(x, labels)], [], []))
    with torch.no_grad():
        features = learner.eval().encoder(x).double().numpy()
        answers = learner.classify(x).logits.softmax(1)
    directions = features / np.sqrt((features**2).sum(1, keepdims=True))
    wanted = LogisticRegression(C=learner.figures()["probe_c"], max_iter=5000).fit(directions, labels)
    torch.testing.assert_close(answers.double(), torch.from_numpy(wanted.predict_proba(directions)), atol=1e-3, rtol=0)
    torch.testing.assert_close(learner.seen(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))
