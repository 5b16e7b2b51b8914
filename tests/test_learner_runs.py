"""Runs of the built-in learners: labels that are not shown are not used, settings reach them, files answer."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

import cryoreg
from cryoreg import registry
from cryoreg.config import Layer
from cryoreg.contracts import Sample, Subtomograms
from cryoreg.datasets.divisions import Division
from cryoreg.datasets.normalisation import normalise
from cryoreg.datasets.splits import Split
from cryoreg.errors import ConfigError
from cryoreg.inference.evaluate import run_evaluation
from cryoreg.inference.trained import Trained
from cryoreg.learners.specs import FixMatchSpec, FullSpec, MeanTeacherSpec, PartialSpec
from cryoreg.runs.networks import open_network
from cryoreg.runs.weights import load_weights
from cryoreg.testing.elsewhere import on_two_ranks
from cryoreg.testing.learner_checks import STEPS, _train_on_rank, learner_of, train
from cryoreg.testing.states import differing
from cryoreg.training.finetune import FinetuningPlan
from cryoreg.training.lessons import LessonLoader, others_order
from cryoreg.training.loading import BatchOrder, VolumeLoader
from cryoreg.turns import rotation_group
from cryoreg_cli.main import cryoreg as command

RUN = {
    "encoder": {"name": "rb3d", "width": 2},
    "pretrained": "scratch",
    "dataset": "demo",
    **{"epochs": 2, "batch_size": 4, "device": "cpu", "workers": 0, "precision": "fp32", "lr": 0.01},
}
LEARNERS = [c.name for c in registry.components("learners") if c.builtin]
SMALL = {"s4l": {"settings": {"hidden_dim": 8, "output_dim": 8}}, "fixmatch": {"threshold": 0.3}}
COUNT, LABELLED, TRAIN, VAL = 30, 8, 20, 26


class Noise(Subtomograms):
    """Thirty volumes of three classes; those of index 8 to 19 are the ones whose labels are not shown."""

    def __init__(self, hidden=0):
        self.labels = [(i + (hidden if LABELLED <= i < TRAIN else 0)) % 3 for i in range(COUNT)]
        self._volumes = torch.randn(COUNT, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
        for i in range(COUNT):
            self._volumes[i, 0, i % 3 :: 3] += 1

    classes, voxel_size, box = ("a", "b", "c"), 10.0, (8, 8, 8)
    ids, groups = tuple(map(str, range(COUNT))), (None,) * COUNT

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return Sample(self._volumes[index], self.labels[index], str(index), None)


@pytest.fixture
def tuned(monkeypatch, tmp_path):
    """Return a function that fine-tunes on `Noise` and returns the run's directory."""
    parts = Split(*(np.arange(*ends) for ends in ((TRAIN,), (TRAIN, VAL), (VAL, COUNT))))
    division = Division(parts, "particle", 0)
    monkeypatch.setattr("cryoreg.training.finetune.divide", lambda *given: division)
    monkeypatch.setattr("cryoreg.training.finetune.label_fraction", lambda *given, **named: np.arange(LABELLED))

    def tune(name, learner, hidden=0, **settings):
        monkeypatch.setattr("cryoreg.training.finetune.load_adapted", lambda *given: Noise(hidden))
        return cryoreg.finetune(tmp_path / name, learner=learner, **RUN | settings).run_dir

    return tune


def tensors(run):
    return load_weights(run / "classifier.safetensors").tensors


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_labels_that_are_not_shown_are_not_used(tuned, name):
    learner = {"name": name, **SMALL.get(name, {})}
    one, other = tensors(tuned("one", learner)), tensors(tuned("other", learner, hidden=1))
    assert one.keys() == other.keys()
    assert not differing(one, other)
    card = json.loads((tuned("one2", learner) / "card.json").read_text())
    assert card["config"]["learner"]["name"] == name
    assert card["config"]["packages"]["learner"].startswith("cryoreg ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "partial", "mean_teacher", "fixmatch", "s4l", "simclr_v2"])
def test_steps_see_single_views_whatever_features_are_averaged_over(name, tuned):
    """Also a teacher, which is evaluated; answers are means afterwards."""
    learner = {"name": name, **SMALL.get(name, {})}
    one, four = (tuned(f"turns {turns}", learner, encoder=RUN["encoder"] | {"turns": turns}) for turns in (1, 4))
    assert not differing(tensors(one), tensors(four))
    assert open_network(four).learner.encoder.turns == 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "norm"), [("s4l", "none"), ("fixmatch", "batch")])
def test_a_single_one_without_a_label_is_left_out_and_that_is_said(tuned, monkeypatch, capsys, name, norm):
    monkeypatch.setattr("cryoreg.training.finetune.label_fraction", lambda *given, **named: np.arange(TRAIN - 1))
    tuned("run", {"name": name, **SMALL.get(name, {})}, encoder={"name": "rb3d", "width": 2, "norm": norm})
    said = "note: 1 subtomogram without a label: too few for a batch, which needs 2: the labelled ones"
    assert f"{said} alone are learnt from" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("count", "world_size", "fewest", "size"), [(1, 1, 2, None), (3, 2, 2, None), (5, 4, 2, None), (5, 2, 2, 4)]
)
def test_others_make_batches_or_are_none(count, world_size, fewest, size):
    like = BatchOrder(torch.arange(8), 2 * world_size, 0, world_size=world_size, fewest=fewest)
    order = others_order(np.arange(count), like, 3)
    assert (order and order.batch_size) == size


def test_others_that_make_no_batch_are_refused_rather_than_waited_for():
    order = BatchOrder(torch.arange(4), 4, 0, fewest=2)
    labelled, others = (VolumeLoader(Noise(), each, torch.device("cpu")) for each in (order, order._replace(fewest=5)))
    with pytest.raises(ValueError, match="4 others make no batch"):
        LessonLoader(labelled, others)


def test_one_epoch_is_too_few_for_two_phases_and_that_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"simclr_v2 learns in two phases.*take --epochs 2 or more"):
        cryoreg.finetune(tmp_path / "run", learner="simclr_v2", **RUN | {"epochs": 1})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_needs_no_step_takes_none_and_answers(tuned):
    run = tuned("run", "linear_probe", augmentation="none")
    assert not (run / "steps.csv").exists()
    metrics = (run / "metrics.csv").read_text().splitlines()
    assert len(metrics) == 3
    assert "probe_c" in metrics[0]
    learner = open_network(run).learner
    data = Noise()
    x = normalise(torch.stack([data[i].volume for i in range(LABELLED)]))
    assert (learner.answer(x).logits.argmax(1) == torch.tensor(data.labels[:LABELLED])).double().mean() >= 0.6


@pytest.mark.slow
def test_averaged_weights_are_kept_and_a_resume_goes_on_with_them(tuned, tmp_path, monkeypatch):
    plain, whole = tensors(tuned("plain", "full")), tensors(tuned("whole", "full", ema=0.9))
    assert differing(plain, whole)
    step, count = FinetuningPlan.step, iter(range(100))

    def stopping(self, model, batch):
        if next(count) == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuningPlan, "step", stopping)
        with pytest.raises(SystemExit):
            tuned("cut", "full", ema=0.9)
    cryoreg.finetune(tmp_path / "cut", resume=True)
    assert not differing(tensors(tmp_path / "cut"), whole)


@pytest.mark.slow
def test_turns_may_be_asked_for_after_training(tmp_path):
    settings = {**RUN, "epochs": 1, "labels_per_class": 2}
    run = cryoreg.finetune(tmp_path / "run", learner="prototypes", **settings).run_dir
    turned = [Layer("test", {"learner": {"turns": 4}})]
    one, four = Trained.open(run), Trained.open(run, turned)
    assert (one.network.learner.turns, four.network.learner.turns) == (1, 4)
    volume = normalise(one.dataset[0].volume[None])
    module = four.module.cpu().eval()
    parts = [F.softmax(module.classify(turn(volume)).logits, 1) for turn in rotation_group(4)]
    found = np.exp(four.logits([0]))
    np.testing.assert_allclose(found, sum(parts).detach() / 4, atol=0.02)
    assert run_evaluation(run, "test", turned).accuracy > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [FullSpec(), PartialSpec(), MeanTeacherSpec(), FixMatchSpec(threshold=0.3)],
    ids=lambda spec: type(spec).__name__,
)
def test_two_processes_of_half_a_batch_are_one_of_a_whole(spec):
    learner = learner_of(spec)
    train(learner, torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], 3e-3), range(STEPS // 2))
    for state in on_two_ranks(_train_on_rank, spec):
        for name, value in learner.state_dict().items():
            torch.testing.assert_close(state[name], value, atol=2e-4, rtol=1e-3, msg=name)


def test_a_recipe_of_the_learner_goes_below_what_is_said():
    words = ["finetune", "--learner", "fixmatch", "--from", "scratch", "--set", "training.ema=0.5", "--dry-run"]
    said = CliRunner().invoke(command, words)
    assert said.exit_code == 0, said.output
    lines = {line.split()[0]: line for line in said.stdout.splitlines() if "." in line}
    assert "cryoet" in lines["augmentation_2.name"]
    assert "recipe of learner fixmatch" in lines["augmentation_2.name"]
    assert "0.5" in lines["training.ema"]
