"""Cross-validation: who has seen what, known from learners that remember it; figures, and resuming."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from support.mrc_writing import write_mrc
from support.synthetic import write_classes

import cryoreg
from cryoreg.config import Layer, resolve
from cryoreg.contracts import Answer, StepOutput
from cryoreg.datasets.divisions import divide
from cryoreg.doubt.familiar_file import load_familiar
from cryoreg.doubt.out_of_fold import brought
from cryoreg.errors import CheckpointError, ConfigError, RunFolderError
from cryoreg.inference.trained import Trained
from cryoreg.learners.linear import LinearLearner
from cryoreg.learners.specs import FullSpec
from cryoreg.runs.run_folder import fold_of
from cryoreg.runs.weights import load_weights
from cryoreg.training.calibration import calibrate
from cryoreg.training.finetune import FinetuningPlan, run_finetuning

ENCODER = {"name": "rb3d", "width": 4}
FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32", "pretrained": "scratch", "epochs": 1}
CV = {"scheme": "cv", "folds": 3}
CLASSES, EACH = 3, 6


class Witness(LinearLearner):
    """Remembers a voxel of every labelled volume that it is shown, and answers 1 for what it knows, 0 for others."""

    def __init__(self, encoder, classes):
        super().__init__(encoder, classes)
        self.requires_grad_(False)
        self.register_buffer("memory", torch.full((64,), torch.nan))

    def begin_epoch(self, epoch, epochs, material):
        seen = torch.cat([volumes[:, 0, 0, 0, 0] for volumes, _ in material.labelled])
        self.memory[: len(seen)] = seen

    def classify(self, x):
        known = ((x[:, 0, 0, 0, 0, None] - self.memory).abs() < 1e-5).any(1)
        return Answer(torch.eye(self.head.out_features)[known.long()], self.encoder(x))

    def forward(self, lesson):
        return StepOutput(torch.zeros(()), torch.zeros(1, 1))

    def saved_state(self):
        return self.state_dict()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = write_classes(tmp_path_factory.mktemp("data") / "mrc", CLASSES, EACH)
    return {"name": "mrc_folder", "root": root}


@pytest.fixture
def tune(source, tmp_path):
    def run(name, split=CV, **settings):
        return cryoreg.finetune(
            tmp_path / name, encoder=ENCODER, dataset=source, augmentation="none", split=split, **FAST | settings
        )

    return run


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_each_is_judged_by_a_model_that_never_saw_its_label(tune, monkeypatch):
    monkeypatch.setattr(FullSpec, "build", lambda spec, encoder, classes: Witness(encoder, classes))
    run = tune("witness").run_dir
    evaluation = cryoreg.evaluate(run)
    assert evaluation.part == "cv"
    assert len(evaluation.ids) == CLASSES * EACH
    assert evaluation.predictions.tolist() == [0] * CLASSES * EACH, "1 is: seen"
    assert np.bincount(evaluation.folds).tolist() == [0, 6, 6, 6]
    assert cryoreg.evaluate(run, "train").predictions.tolist() == [1] * CLASSES * EACH, "the final model has seen all"
    for number in (1, 2, 3):
        fold = fold_of(run, number)
        assert set(cryoreg.evaluate(fold, "train").predictions) == {1}
        assert set(cryoreg.evaluate(fold, "val").predictions) == {0}
        held = set(np.array(evaluation.ids)[evaluation.folds == number])
        assert set(cryoreg.evaluate(fold).ids) == held


def test_what_is_familiar_is_learnt_out_of_fold(tune, monkeypatch):
    """Of what the final model was shown, and would call seen, nothing counts as new."""
    monkeypatch.setattr(FullSpec, "build", lambda spec, encoder, classes: Witness(encoder, classes))
    familiar = load_familiar(tune("witness").classifier)
    assert familiar.predictions.tolist() == [0] * CLASSES * EACH, "1 is: seen"
    assert familiar.reference.counts.tolist() == [CLASSES * EACH, 0, 0]
    assert any("feature" in name for name in familiar.reference.names), "a frozen encoder's features compare"
    assert len(familiar.reference.names) == familiar.reference.values.shape[1]


def test_scores_are_brought_to_the_scale_of_another_model():
    """Of one that says e times and 3 more to all, what is as strange as its median is as strange as the other's."""
    rng = np.random.default_rng(0)
    own = rng.uniform(1, 2, size=(50, 4))
    other = np.where([True, False, True, True], own * np.e, own + 3.0)  # energy may be negative, and is moved
    np.testing.assert_allclose(brought(own, own, other), other)


@pytest.mark.parametrize("learner", ["linear_probe", {"name": "full", "head": "probe"}], ids=str)
def test_the_final_model_tells_what_is_none_of_these(learner, tune, tmp_path):
    """New ones of the classes are as familiar as the folds' were; noise of another kind is not."""
    result = tune("known", learner=learner)
    fresh = write_classes(tmp_path / "fresh", CLASSES, 40, seed=7)
    found = cryoreg.predict(result.run_dir, dataset={"root": fresh}, device="cpu", none_of_these="mahalanobis")
    familiarity = found.doubts.strangers.familiarity
    assert np.median(familiarity) > 0.3  # uniform but for 18 known ones, or cautious
    rng = np.random.default_rng(0)
    for number in range(30):
        write_mrc(tmp_path / "odd" / "x" / f"{number}.mrc", np.cumsum(rng.normal(size=(8, 8, 8)), 0).astype(np.float32))
    odd = cryoreg.predict(result.run_dir, dataset={"root": tmp_path / "odd"}, device="cpu", none_of_these="mahalanobis")
    assert odd.doubts.strangers.familiarity.mean() < familiarity.mean() - 0.2


@pytest.mark.parametrize(("learner", "apart"), [("linear_probe", False), ("full", True)])
def test_scores_that_do_not_compare_between_encoders_are_warned_of(learner, apart, tune, source, capsys):
    """`full` at this rate gives each fold features of its own."""
    result = tune("known", learner=learner, lr=0.05)
    capsys.readouterr()
    for score in ("energy", "nearest", "max_softmax", "mahalanobis"):
        cryoreg.predict(result.run_dir, dataset=source, device="cpu", none_of_these=score)
        warned = f"warning: {score} does not compare between the models" in capsys.readouterr().err
        assert warned == (apart and score in ("energy", "nearest"))


def test_figures_are_of_the_table_that_is_written(tune):
    result = tune("probe", learner="linear_probe")
    evaluation = cryoreg.evaluate(result.run_dir)
    table = rows(result.run_dir / "predictions_cv.csv")
    right = np.array([row["label"] == row["prediction"] for row in table])
    assert len(table) == len({row["id"] for row in table}) == CLASSES * EACH
    assert evaluation.accuracy == result.val_accuracy == right.mean()
    assert {row["split"] for row in table} == {"test"}
    figures = json.loads((result.run_dir / "evaluation_cv.json").read_text())
    folds = np.array([int(row["fold"]) for row in table])
    for number, fold in enumerate(figures["folds"], start=1):
        assert fold == {"subtomograms": (folds == number).sum(), "accuracy": right[folds == number].mean()}
        assert cryoreg.evaluate(fold_of(result.run_dir, number)).accuracy == fold["accuracy"]
    assert figures["accuracy_interval"] == list(evaluation.proportion.interval)


def test_confidences_are_calibrated_out_of_fold(tune):
    run = tune("probe", learner="linear_probe").run_dir
    card = load_weights(run / "classifier.safetensors").card
    said = {}
    for number in (1, 2, 3):
        trained = Trained.classifier(fold_of(run, number), [Layer("test", {"training": {"precision": "fp32"}})])
        test = divide(trained.dataset, trained.config.split).parts.test
        said |= dict(zip(test.tolist(), trained.logits(test.tolist()), strict=True))
    logits = np.stack([said[index] for index in sorted(said)]).astype(np.float64)
    labels = np.array(trained.dataset.labels)
    expected = calibrate(logits, labels)
    assert card["calibration"]["temperature"] == pytest.approx(expected.temperature, rel=1e-5)
    assert card["calibration"]["subtomograms"] == CLASSES * EACH
    assert card["metrics"]["cv_accuracy"] == (logits.argmax(1) == labels).mean()
    assert "val_accuracy" not in card["metrics"]


@pytest.mark.slow
def test_the_epoch_of_the_final_model_is_the_median_of_the_folds(tune, monkeypatch):
    wanted = {1: 4, 2: 1, 3: 2}

    def scores(self):
        logits = torch.zeros(1, CLASSES)
        logits[0, 0] = float(self.asked == wanted[self.config.split.fold])
        self.asked += 1
        return logits, torch.zeros(1, dtype=torch.int64)

    monkeypatch.setattr(FinetuningPlan, "asked", 0, raising=False)
    monkeypatch.setattr(FinetuningPlan, "validate", scores)
    result = tune("full", epochs=5)
    folds = [load_weights(fold_of(result.run_dir, number) / "encoder.safetensors") for number in (1, 2, 3)]
    assert [fold.card["metrics"]["epoch"] for fold in folds] == [4, 1, 2]
    assert result.best_epoch == 2


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on(tune, tmp_path, monkeypatch):
    """In its first fold, a later one, and the run on all labels: all ends as without the cuts."""
    given = {"epochs": 2, "optimizer": "adam", "lr": 1e-3}
    whole = tune("whole", **given)
    end_epoch = FinetuningPlan.end_epoch

    def stop(self, model, epoch, folder):
        if (folder.path.name, epoch) == (stopped, 1):
            raise KeyboardInterrupt
        return end_epoch(self, model, epoch, folder)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuningPlan, "end_epoch", stop)
        for stopped in ("1", "2", "cut"):
            with pytest.raises(KeyboardInterrupt):
                tune("cut", **given) if stopped == "1" else cryoreg.finetune(tmp_path / "cut", resume=True)
            with pytest.raises(RunFolderError, match="not empty"):
                tune("cut", **given)
    resumed = cryoreg.finetune(tmp_path / "cut", resume=True)
    assert resumed[2:] == whole[2:]
    one, other = (load_weights(result.classifier).tensors for result in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_labels_of_a_class_are_enough(source, tmp_path):
    """As a biologist has them: two named particles of each class, and an epoch that nothing is left to choose by."""
    names = [f"class{k}/{number:03d}" for k in range(CLASSES) for number in range(2)]
    (tmp_path / "few.csv").write_text("id,label\n" + "".join(f"{name},kind {name[5]}\n" for name in names))
    chosen = {"encoder": ENCODER, "learner": {"name": "prototypes"}, "dataset": source, "split": {"scheme": "cv"}}
    layer = Layer("test", {**chosen, "training": FAST, "input": {"labels_from": tmp_path / "few.csv"}})
    result = run_finetuning(resolve("finetune", [layer]), tmp_path / "few")
    evaluation = cryoreg.evaluate(result.run_dir)
    assert list(evaluation.classes) == ["kind 0", "kind 1", "kind 2"]
    assert sorted(evaluation.ids) == names
    assert np.bincount(evaluation.folds).tolist() == [0, 3, 3]
    assert result.validation.total == 6
    card = load_weights(fold_of(result.run_dir, 1) / "classifier.safetensors").card
    assert (card["metrics"], "calibration" in card) == ({"epoch": 0}, False)


def test_a_fold_may_be_trained_alone_and_folds_that_are_gone_are_said(tune):
    result = tune("third", CV | {"fold": 3}, learner="prototypes")
    assert cryoreg.evaluate(result.run_dir).part == "test"
    with pytest.raises(ConfigError, match=r"split\.fold is 4, but there are 3 folds"):
        tune("fourth", CV | {"fold": 4}, learner="prototypes")
    run = tune("all", learner="prototypes").run_dir
    (fold_of(run, 2) / "classifier.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its folds were deleted"):
        cryoreg.evaluate(run)


def test_torchrun_is_told_how(tune, monkeypatch):
    monkeypatch.setattr("cryoreg.training.cross_validation.launched_processes", lambda: 2)
    with pytest.raises(ConfigError, match=r"one command for each fold: --set split\.fold=1"):
        tune("many")
