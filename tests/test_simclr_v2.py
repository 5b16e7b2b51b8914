"""SimCLR v2: its losses written out slowly, the layer that it takes from a start, and its runs."""

from __future__ import annotations

import json
import math
import signal
import tomllib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.encoding import volumes
from support.synthetic import write_classes
from torch import nn

import cryoreg
from cryoreg.config import build_spec
from cryoreg.contracts import Lesson, Material
from cryoreg.errors import ConfigError
from cryoreg.learners.simclr_v2 import SimCLRv2, distillation, first_layer
from cryoreg.learners.specs import SimCLRv2Spec
from cryoreg.runs.checkpoint import load_checkpoint
from cryoreg.runs.networks import left_by, open_network
from cryoreg.runs.weights import load_weights
from cryoreg.training.finetune import FinetuningPlan

BOX = (8, 8, 8)
RUN = {"batch_size": 4, "device": "cpu", "workers": 0, "precision": "fp32"}


def learner_of(seed=0, **settings):
    torch.manual_seed(seed)
    learner = SimCLRv2Spec(**settings).build(cryoreg.create_encoder("rb3d", width=4), 3)
    for head in (learner.head, learner.teacher.head):
        nn.init.normal_(head.weight)
    return learner


def slow_softmax(logits, temperature):
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_is_the_cross_entropy_of_tempered_answers(temperature):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 4, generator=generator) for _ in range(2))
    loss = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = slow_softmax(t, temperature), slow_softmax(s, temperature)
        loss -= sum(p[y] * math.log(q[y]) for y in range(4)) / 5
    assert distillation(student, teacher, temperature).item() == pytest.approx(loss, rel=1e-5)


def test_the_teacher_learns_from_labels_and_then_the_student_from_the_teacher():
    learner = learner_of(hidden_dim=6, temperature=0.7, weight=0.75)
    lesson = Lesson([volumes(3, BOX)], torch.tensor([0, 2, 1]), [volumes(4, BOX, seed=1)])
    everything, material = torch.cat([lesson.views[0], lesson.unlabelled[0]]), Material([], [], [])
    with torch.no_grad():
        layer, head = learner.teacher.encoder.layer, learner.teacher.head
        inner = learner.teacher.encoder.encoder(everything) @ layer.weight.T + layer.bias
        taught = (inner.clamp(min=0) @ head.weight.T + head.bias).tolist()
        said = (learner.encoder(everything) @ learner.head.weight.T + learner.head.bias).tolist()
    learner.begin_epoch(0, 2, material)
    by_labels = -sum(math.log(slow_softmax(taught[i], 1)[lesson.labels[i]]) for i in range(3)) / 3
    assert learner.train()(lesson).loss.item() == pytest.approx(by_labels, rel=1e-4)
    learner.begin_epoch(1, 2, material)
    distilled = 0.0
    for s, t in zip(said, taught, strict=True):
        p, q = slow_softmax(t, 0.7), slow_softmax(s, 0.7)
        distilled -= sum(p[y] * math.log(q[y]) for y in range(3)) / 7
    own = -sum(math.log(slow_softmax(said[i], 1)[lesson.labels[i]]) for i in range(3)) / 3
    assert learner.train()(lesson).loss.item() == pytest.approx(0.75 * distilled + 0.25 * own, rel=1e-4)


@pytest.mark.parametrize(
    ("epochs", "share", "turn"), [(2, 0.5, 1), (2, 0.1, 1), (2, 0.9, 1), (10, 0.3, 3), (5, 0.9, 4)]
)
def test_both_have_their_epochs(epochs, share, turn):
    learner = learner_of(finetuning=share)
    turns = []
    for epoch in range(epochs):
        learner.begin_epoch(epoch, epochs, Material([], [], []))
        turns.append(learner.figures()["distils"])
    assert turns == [0.0] * turn + [1.0] * (epochs - turn)


def test_one_epoch_is_too_few():
    with pytest.raises(ConfigError, match="--epochs 2 or more"):
        learner_of().begin_epoch(0, 1, Material([], [], []))


def test_only_the_one_whose_turn_it_is_changes():
    learner = learner_of(hidden_dim=6)
    optimizer = torch.optim.SGD(learner.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    lesson = Lesson([volumes(3, BOX)], torch.tensor([0, 2, 1]), [volumes(4, BOX, seed=1)])
    for epoch, resting in ((0, ("encoder.", "head.")), (1, ("teacher.",))):
        learner.begin_epoch(epoch, 2, Material([], [], []))
        learner.train()
        before = {name: value.clone() for name, value in learner.named_parameters()}
        for _ in range(2):
            optimizer.zero_grad()
            learner(lesson).loss.backward()
            optimizer.step()
        for name, value in learner.named_parameters():
            assert torch.equal(value, before[name]) == name.startswith(resting), name


METHODS = {
    "simclr": {"hidden_dim": 5, "batch_norm": False},
    "supcon": {"hidden_dim": 5},
    "moco": {"hidden_dim": 5},
    "vicreg": {"hidden_dim": 5},
    "structures": {"classes": 4, "hidden_dim": 5},
}


@pytest.mark.parametrize("name", METHODS)
def test_the_first_layer_is_that_of_the_method_s_head(name):
    """With the BatchNorm after it, in evaluation: what the modules of the head themselves make of features."""
    torch.manual_seed(0)
    method = build_spec("method", name, METHODS[name]).spec.build(cryoreg.create_encoder("rb3d", width=4))
    for norm in method.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for value, low in ((norm.running_mean, -1), (norm.running_var, 0.5), (norm.weight.data, 0.5)):
                value.uniform_(low, 2)
            norm.bias.data.uniform_(-1, 1)
    x = torch.randn(7, method.encoder.num_features)
    inner, wanted = next(m for m in method.head.modules() if isinstance(m, nn.Sequential)).eval(), x
    for part in inner:
        wanted = part(wanted)
        if isinstance(part, nn.ReLU):
            break
    found = first_layer(method.state_dict())
    torch.testing.assert_close(F.relu(x @ found.weight.T + found.bias), wanted)


def test_a_head_of_one_matrix_has_no_first_layer_and_neither_has_nothing():
    encoder = cryoreg.create_encoder("rb3d", width=4)
    for name in ("rotation", "moco"):
        method = build_spec("method", name, {"head": "v1"} if name == "moco" else {}).spec.build(encoder)
        assert first_layer(method.state_dict()) is None
    assert first_layer({}) is None


def test_another_width_than_the_head_s_is_an_error():
    left = {"head.0.weight": torch.zeros(5, 32), "head.0.bias": torch.zeros(5), "head.2.weight": torch.zeros(2, 5)}
    assert SimCLRv2Spec().for_start(lambda: left).hidden_dim == 5
    assert SimCLRv2Spec().for_start(dict).hidden_dim == 0
    learner = learner_of(hidden_dim=6)
    assert "a new layer of 6" in learner.take_up(dict)
    with pytest.raises(ConfigError, match=r"learner.hidden_dim: .*begins with a layer of 5, not 6"):
        learner.take_up(lambda: left)
    with pytest.raises(ConfigError, match="student_settings are those of"):
        build_spec("learner", "simclr_v2", {"student_settings": {"width": 2}})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simclr")
    dataset = {"name": "mrc_folder", "root": write_classes(folder / "mrc", classes=3, per_class=20)}
    method = {"name": "simclr", "hidden_dim": 6, "output_dim": 4}
    encoder = {"name": "rb3d", "width": 4}
    given = {"encoder": encoder, "method": method, "dataset": dataset, "epochs": 1, "probe_every_epochs": 0, **RUN}
    return cryoreg.pretrain(folder / "run", **given).run_dir


def tuned(run, pretrained, learner=None, **settings):
    given = {"epochs": 4, "labels": 0.25, **RUN, **settings}
    return cryoreg.finetune(run, pretrained=pretrained, learner={"name": "simclr_v2", **(learner or {})}, **given)


@pytest.mark.slow
def test_a_run_begins_with_the_head_and_the_weights_of_its_start(pretrained, tmp_path, monkeypatch):
    begun, begin = [], SimCLRv2.begin_epoch

    def watching(self, epoch, *rest):
        if epoch == 0:
            begun.append({name: value.clone() for name, value in self.state_dict().items()})
        begin(self, epoch, *rest)

    monkeypatch.setattr(SimCLRv2, "begin_epoch", watching)
    run = tuned(tmp_path / "run", pretrained).run_dir
    left, [state] = left_by(pretrained), begun
    layer = {name: state[f"teacher.encoder.layer.{name}"] for name in ("weight", "bias")}
    assert all(torch.equal(value, left[f"head.layers.0.{name}"]) for name, value in layer.items())
    for name, value in load_weights(pretrained / "encoder.safetensors").tensors.items():
        assert torch.equal(state[f"teacher.encoder.encoder.{name}"], value)
        assert torch.equal(state[f"encoder.{name}"], value)
    assert tomllib.loads((run / "config.toml").read_text())["learner"]["hidden_dim"] == 6
    kept = load_weights(run / "classifier.safetensors").tensors
    assert {name.partition(".")[0] for name in kept} == {"encoder", "head"}
    assert left_by(run) == {}, "a fine-tuned run has a classifier, and no projection head"
    assert load_checkpoint(run / "checkpoints" / "last.ckpt")["module"]["distils"]


@pytest.mark.slow
def test_no_epoch_is_kept_before_the_student_has_learnt(pretrained, tmp_path, monkeypatch):
    """Though the first ones validate best."""
    accuracy = iter([0.9, 0.8, 0.2, 0.3])
    given = "cryoreg.training.finetune.validation_scores"
    monkeypatch.setattr(given, lambda *rest: {"val_accuracy": next(accuracy, 0.3), "val_loss": 1.0})
    run = tuned(tmp_path / "run", pretrained).run_dir
    assert load_checkpoint(run / "checkpoints" / "best.ckpt")["epoch"] == 3
    shown = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    column = shown[0].index("val_accuracy")
    assert [float(row[column]) for row in shown[1:]] == [0.9, 0.8, 0.2, 0.3]


@pytest.mark.slow
def test_another_student_is_what_is_kept_and_answers(pretrained, tmp_path):
    student = {"student": "rb3d", "student_settings": {"width": 2}}
    run = tuned(tmp_path / "run", pretrained, student).run_dir
    for file in ("encoder.safetensors", "classifier.safetensors"):
        network = open_network(run / file)
        assert network.card["config"]["encoder"]["width"] == 2
        assert network.encoder.num_features == network.card["num_features"] == 16
    assert network.learner.encoder is network.encoder
    answered = cryoreg.predict(run, workers=0, precision="fp32").probabilities
    assert np.isfinite(answered).all()
    again = cryoreg.finetune(tmp_path / "again", pretrained=run, epochs=1, **RUN).run_dir
    assert json.loads((again / "card.json").read_text())["config"]["encoder"]["width"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 7, 11])
def test_a_run_resumed_in_either_phase_is_the_same_to_the_bit(pretrained, tmp_path, monkeypatch, stop):
    """Three steps an epoch: the teacher learns for six, the student for six; the start may be gone meanwhile."""
    student = {"student": "rb3d", "student_settings": {"width": 2}}
    tuned(tmp_path / "whole", pretrained, student)
    step, count = FinetuningPlan.step, iter(range(100))

    def stopping(self, model, batch):
        if next(count) == stop:
            signal.raise_signal(signal.SIGTERM)
        return step(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuningPlan, "step", stopping)
        with pytest.raises(SystemExit):
            tuned(tmp_path / "cut", pretrained, student)
    with monkeypatch.context() as patch:
        patch.setattr("cryoreg.training.finetune.left_by", None)
        cryoreg.finetune(tmp_path / "cut", resume=True)
    last = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("cut", "whole"))
    kept, wanted = (state["module"] for state in last)
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)


@pytest.mark.slow
def test_folds_of_a_cross_validation_begin_like_one_run(pretrained, tmp_path):
    student = {"student": "rb3d", "student_settings": {"width": 2}}
    given = {"epochs": 2, "labels": 0.25, "split": {"scheme": "cv", "folds": 2}}
    run = tuned(tmp_path / "run", pretrained, student, **given).run_dir
    for folder in (run, run / "folds" / "1", run / "folds" / "2"):
        assert tomllib.loads((folder / "config.toml").read_text())["learner"]["hidden_dim"] == 6
        assert json.loads((folder / "card.json").read_text())["config"]["encoder"]["width"] == 2
    assert cryoreg.evaluate(run).folds is not None


@pytest.mark.slow
def test_two_processes_go_through_both_phases(pretrained, tmp_path):
    run = tuned(tmp_path / "run", pretrained, devices=2).run_dir
    assert load_checkpoint(run / "checkpoints" / "last.ckpt")["progress"]["epoch"] == 4


@pytest.mark.slow
def test_a_start_without_a_head_is_said(pretrained, tmp_path, capsys):
    encoder = pretrained / "encoder.safetensors"
    run = tuned(tmp_path / "run", encoder, epochs=2).run_dir
    notes = [line for line in capsys.readouterr().err.splitlines() if "projection head" in line]
    assert notes == ["note: no projection head comes with the start: the linear layer begins at the encoder's features"]
    assert tomllib.loads((run / "config.toml").read_text())["learner"]["hidden_dim"] == 0
