"""The contract between fine-tuning and what learns: a learner from elsewhere trains, resumes, and is asked by all."""

from __future__ import annotations

import copy
import csv
import itertools
import signal

import mrcfile
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.encoding import volumes
from support.synthetic import write_classes
from torch import nn

import cryoreg
from cryoreg.analysis.explain import run_explain
from cryoreg.analysis.report import report
from cryoreg.contracts import Answer, Learner, Lesson, StepOutput
from cryoreg.datasets.normalisation import normalise
from cryoreg.datasets.splits import split
from cryoreg.errors import CheckpointError
from cryoreg.inference.embedding import embed
from cryoreg.inference.network_export import run_export
from cryoreg.inference.trained import Trained
from cryoreg.learners.full import FullFineTuning
from cryoreg.learners.specs import FullSpec
from cryoreg.plans import LessonPlan, ViewPlan
from cryoreg.runs.networks import open_network
from cryoreg.runs.weights import load_weights
from cryoreg.training.finetune import FinetuningPlan

ENCODER = {"name": "rb3d", "width": 4}
FAST = {"batch_size": 4, "device": "cpu", "workers": 0, "precision": "fp32"}
SEEN: list[Lesson] = []


class Teacher(Learner):
    """A little mean teacher: its answers are a moving average's, and nothing else is saved."""

    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.num_features, classes)
        self.student, self.student_head = copy.deepcopy(encoder), copy.deepcopy(self.head)
        self.register_buffer("told", torch.zeros(3, dtype=torch.int64))
        for weight in (*self.encoder.parameters(), *self.head.parameters()):
            weight.requires_grad_(False)

    def lesson_plan(self):
        return LessonPlan(labelled=ViewPlan(1), unlabelled=ViewPlan(2), ratio=2)

    def begin_epoch(self, epoch, epochs, material):
        counts = [sum(len(x) for x, _ in part) for part in (material.labelled, material.validation)]
        self.told = torch.tensor([*counts, sum(map(len, material.unlabelled))])

    def forward(self, lesson):
        SEEN.append(lesson)
        features = self.student(lesson.views[0])
        loss = F.cross_entropy(self.student_head(features).float(), lesson.labels)
        one, other = (F.softmax(self.student_head(self.student(x)).float(), 1) for x in lesson.unlabelled)
        return StepOutput(loss + (one - other.detach()).square().mean(), features.detach())

    def after_step(self, step, total_steps):
        pairs = ((self.encoder, self.student), (self.head, self.student_head))
        for slow, fast in itertools.chain(*(zip(a.parameters(), b.parameters(), strict=True) for a, b in pairs)):
            slow.data.lerp_(fast.data, 0.3)

    def figures(self):
        return {"told": float(self.told.sum())}

    def classify(self, x):
        features = self.encoder(x)
        return Answer(self.head(features), features)

    def saved_state(self):
        return {f"slow.{name}": value for name, value in self.state_dict().items() if name.startswith(("enc", "head"))}

    def load_saved_state(self, saved):
        own = {name.removeprefix("slow."): value for name, value in saved.items()}
        self.load_state_dict(own, strict=False)


@pytest.fixture(autouse=True)
def _teacher(monkeypatch):
    SEEN.clear()
    monkeypatch.setattr(FullSpec, "build", lambda spec, encoder, classes: Teacher(encoder, classes))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=3, per_class=20)
    return {"name": "mrc_folder", "root": root}


@pytest.fixture
def given(source):
    return {"encoder": ENCODER, "dataset": source, "augmentation": "none", "labels": 0.25, "epochs": 3, **FAST}


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_full_fine_tuning_is_cross_entropy_of_a_linear_layer():
    torch.manual_seed(0)
    learner = FullFineTuning(cryoreg.create_encoder("rb3d", width=4), 3)
    nn.init.normal_(learner.head.weight)
    x, labels = volumes(5, (8, 8, 8)), torch.tensor([0, 2, 1, 1, 0])
    features = learner.encoder(x)
    logits = features @ learner.head.weight.T + learner.head.bias
    wanted = (logits.exp().sum(1).log() - logits[range(5), labels]).mean()
    output = learner(Lesson([x], labels))
    torch.testing.assert_close(output.loss, wanted)
    assert not output.features.requires_grad
    torch.testing.assert_close(learner.classify(x).logits, logits)


@pytest.mark.slow
def test_it_is_shown_the_labels_that_it_may_use_and_the_rest_of_the_train_split_without(given, source, tmp_path):
    cryoreg.finetune(tmp_path / "run", **given)
    dataset = cryoreg.create_dataset("mrc_folder", root=source["root"])
    known = {normalise(dataset[i].volume[None]).numpy().tobytes(): i for i in range(len(dataset))}

    def shown(view):
        return [known[x.numpy().tobytes()] for x in view.split(1)]

    labelled = [i for lesson in SEEN for i in shown(lesson.views[0])]
    assert [dataset.labels[i] for i in labelled] == torch.cat([lesson.labels for lesson in SEEN]).tolist()
    assert len(set(labelled)) == 9
    hidden = [i for lesson in SEEN for i in shown(lesson.unlabelled[0])]
    assert set(hidden) == set(split(dataset).train.tolist()) - set(labelled)
    assert [len(lesson.unlabelled[0]) for lesson in SEEN] == [8] * len(SEEN)
    assert len(set(hidden[:24])) == 24, "all are gone through before one comes again"
    assert float(rows(tmp_path / "run" / "metrics.csv")[-1]["told"]) == 9 + 12 + 27


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_resumed_run_is_the_same_to_the_bit_with_its_unlabelled_stream(given, tmp_path, monkeypatch, stop):
    cryoreg.finetune(tmp_path / "whole", **given)
    whole, step = list(SEEN), FinetuningPlan.step
    SEEN.clear()

    def stopping(self, model, batch):
        if len(SEEN) == stop:
            signal.raise_signal(signal.SIGTERM)
        return step(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuningPlan, "step", stopping)
        with pytest.raises(SystemExit):
            cryoreg.finetune(tmp_path / "cut", **given)
    assert len(SEEN) == stop + 1
    cryoreg.finetune(tmp_path / "cut", resume=True)
    for one, other in zip(SEEN, whole, strict=True):
        assert all(map(torch.equal, one.unlabelled, other.unlabelled))
    kept, wanted = (load_weights(tmp_path / name / "classifier.safetensors").tensors for name in ("cut", "whole"))
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)


@pytest.mark.slow
def test_without_others_it_learns_from_the_labelled_alone(given, tmp_path, monkeypatch):
    monkeypatch.setattr(Teacher, "forward", lambda self, lesson: _supervised(self, lesson))
    cryoreg.finetune(tmp_path / "run", **given | {"labels": 1.0})
    assert {len(lesson.unlabelled) for lesson in SEEN} == {0}


def _supervised(learner, lesson):
    SEEN.append(lesson)
    features = learner.student(lesson.views[0])
    return StepOutput(F.cross_entropy(learner.student_head(features), lesson.labels), features.detach())


@pytest.mark.slow
@pytest.mark.usefixtures("without_umap")
def test_all_who_use_a_trained_network_ask_the_learner(given, source, tmp_path):
    run = cryoreg.finetune(tmp_path / "run", **given).run_dir
    saved = load_weights(run / "classifier.safetensors")
    assert all(name.startswith("slow.") for name in saved.tensors)
    fresh = Teacher(cryoreg.create_encoder(pretrained=run).eval(), 3)
    fresh.load_saved_state(saved.tensors)
    dataset = cryoreg.create_dataset("mrc_folder", root=source["root"])
    x = normalise(torch.stack([dataset[i].volume for i in range(len(dataset))]))
    with torch.no_grad():
        logits, features = fresh.eval().classify(x)
    chances = F.softmax(logits / saved.card["calibration"]["temperature"], 1).numpy()

    np.testing.assert_allclose(cryoreg.predict(run, workers=0, precision="fp32").probabilities, chances, atol=1e-5)
    test = split(dataset).test
    np.testing.assert_array_equal(cryoreg.evaluate(run).predictions, logits.argmax(1)[test])
    embedded = embed(run, workers=0, precision="fp32")
    np.testing.assert_allclose(embedded.features, features, atol=1e-5)
    np.testing.assert_allclose(embedded.logits, logits, atol=1e-5)
    assert Trained.open(run).classifies
    assert report(run).exists()
    run_explain(Trained.open(run), [0], tmp_path / "explained")
    with mrcfile.open(next((tmp_path / "explained").glob("*_gradcam_class*.mrc"))) as mrc:
        assert mrc.data.shape == (8, 8, 8)
    run_export(run, tmp_path / "half.safetensors", classifier=True, half=True)
    assert open_network(tmp_path / "half.safetensors").learner is not None


@pytest.mark.slow
def test_the_best_epoch_by_its_own_answers_is_kept(given, tmp_path):
    run = cryoreg.finetune(tmp_path / "run", **given).run_dir
    best = max(rows(run / "metrics.csv"), key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    assert cryoreg.evaluate(run, "val").accuracy == pytest.approx(float(best["val_accuracy"]))


@pytest.mark.slow
def test_another_learners_file_is_one_line(given, tmp_path, monkeypatch):
    run = cryoreg.finetune(tmp_path / "run", **given).run_dir
    monkeypatch.setattr(FullSpec, "build", lambda spec, encoder, classes: FullFineTuning(encoder, classes))
    with pytest.raises(CheckpointError, match="holds the weights of something else") as error:
        cryoreg.predict(run, workers=0)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_encoders_file_holds_no_classifier_whatever_its_card_says_of_classes(given, tmp_path):
    run = cryoreg.finetune(tmp_path / "run", **given).run_dir
    with pytest.raises(CheckpointError, match="holds an encoder without a classifier"):
        cryoreg.predict(run / "encoder.safetensors", workers=0)
    assert open_network(run / "encoder.safetensors").learner is None
    assert open_network(run / "classifier.safetensors").learner is not None
