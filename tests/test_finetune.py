"""Fine-tuning and evaluation, on a set that a tiny network learns."""

import csv
import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.synthetic import write_classes

import cryoreg
from cryoreg.config import Layer, resolve
from cryoreg.config.settings import FinetuneSettings
from cryoreg.datasets.normalisation import normalise
from cryoreg.datasets.splits import split
from cryoreg.errors import CheckpointError, ConfigError, DataError
from cryoreg.runs.weights import load_weights
from cryoreg.training.device import make_fabric
from cryoreg.training.finetune import FinetuningPlan, validated_epochs
from cryoreg.training.pretrain import pretraining_samples
from cryoreg_cli.main import cryoreg as command_line

ENCODER = {"name": "rb3d", "width": 4}
FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32"}
LEARNING = FAST | {"epochs": 12, "optimizer": "adam", "lr": 1e-2}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=3, per_class=20)
    return {"name": "mrc_folder", "root": root}


@pytest.fixture(scope="module")
def pretrained(source, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "pretrained"
    cryoreg.pretrain(run_dir, encoder=ENCODER, dataset=source, split={"seed": 3}, epochs=1, **FAST)
    return run_dir


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "tuned"
    cryoreg.finetune(run_dir, pretrained=pretrained, augmentation="none", **LEARNING)
    return run_dir


def wilson(right, total, z=1.959964):
    """The roots of (right/total - p)² = z² p (1 - p) / total, slowly."""
    share = right / total
    return sorted(np.roots([1 + z**2 / total, -2 * share - z**2 / total, share**2]).real)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def job(source, **training):
    layer = {"encoder": ENCODER, "dataset": source, "training": training}
    config = resolve("finetune", [Layer("test", layer)])
    return FinetuningPlan(config, config.spec("dataset").build(), make_fabric(config.training))


@pytest.mark.slow
def test_it_learns(tuned):
    epochs = rows(tuned / "metrics.csv")
    assert float(epochs[-1]["loss"]) < 0.5 * float(epochs[0]["loss"])
    assert cryoreg.evaluate(tuned).accuracy > 0.8


def test_the_epoch_that_validates_best_is_exported(tuned):
    best = max(rows(tuned / "metrics.csv"), key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    metrics = load_weights(tuned / "classifier.safetensors").card["metrics"]
    assert metrics["epoch"] == int(best["epoch"])
    assert cryoreg.evaluate(tuned, "val").accuracy == pytest.approx(float(best["val_accuracy"]))


def test_validating_less_often_keeps_the_best_of_fewer_epochs_and_changes_no_step(source, tmp_path):
    given = {"pretrained": "scratch", "encoder": ENCODER, "dataset": source, "augmentation": "none", **LEARNING}
    often, seldom = tmp_path / "often", tmp_path / "seldom"
    cryoreg.finetune(often, **given, validate_every_epochs=1)
    cryoreg.finetune(seldom, **given, validate_every_epochs=5)
    assert [row["loss"] for row in rows(seldom / "metrics.csv")] == [row["loss"] for row in rows(often / "metrics.csv")]
    assert list(rows(seldom / "metrics.csv")[0]) == list(rows(often / "metrics.csv")[0])
    known = {row["epoch"]: (row["val_accuracy"], row["val_loss"]) for row in rows(often / "metrics.csv")}
    asked = {
        row["epoch"]: (row["val_accuracy"], row["val_loss"])
        for row in rows(seldom / "metrics.csv")
        if row["val_accuracy"]
    }
    assert list(asked) == ["1", "6", "11"]
    assert asked == {epoch: known[epoch] for epoch in asked}
    best = max(asked, key=lambda epoch: (float(asked[epoch][0]), -float(asked[epoch][1])))
    assert load_weights(seldom / "classifier.safetensors").card["metrics"]["epoch"] == int(best)


@pytest.mark.parametrize(
    ("epochs", "learnt", "validating", "every"),
    # by hand: to learn from 50 takes as long as to validate 200, a fifth of 1,000; 50 epochs are validated ten times
    [(50, 50, 1000, 5), (50, 10, 1000, 5), (200, 10, 1000, 20), (50, 750, 1000, 1), (3, 10, 1000, 1), (100, 8, 100, 3)],
)
def test_validating_takes_no_longer_than_learning(epochs, learnt, validating, every):
    expected = sorted(range(epochs - 1, -1, -every))
    assert list(validated_epochs(FinetuneSettings(epochs=epochs), learnt, validating)) == expected


def test_a_run_without_a_validation_split_is_never_validated():
    assert list(validated_epochs(FinetuneSettings(epochs=9), 5, 0)) == []


def test_encoder_data_and_split_come_from_the_pretraining_run(tuned, pretrained, source):
    card = load_weights(tuned / "encoder.safetensors").card
    assert card["config"]["encoder"]["width"] == ENCODER["width"]
    assert card["config"]["dataset"]["root"] == str(source["root"])
    assert card["config"]["split"]["seed"] == 3
    assert card["config"]["training"]["pretrained"] == str(pretrained)


def test_pretraining_never_sees_validation_or_test(source):
    config = resolve("pretrain", [Layer("test", {"dataset": source})])
    dataset = config.spec("dataset").build()
    parts = split(dataset, config.split.fractions, config.split.seed)
    assert set(pretraining_samples(config, dataset)) == set(parts.train)
    everything = resolve("pretrain", [Layer("test", {"dataset": source, "training": {"part": "all"}})])
    assert len(pretraining_samples(everything, dataset)) == len(dataset)


def test_label_fractions_nest_and_leave_validation_alone(source):
    jobs = [job(source, labels=fraction) for fraction in (0.25, 0.5, 0.75, 1.0)]
    used = [set(j.loader.order.samples.tolist()) for j in jobs]
    assert [len(part) for part in used] == [9, 18, 27, 36]
    assert all(small < large for small, large in itertools.pairwise(used))
    assert len({tuple(j.val_loader.order.samples.tolist()) for j in jobs}) == 1
    labels = [jobs[0].loader.dataset.labels[i] for i in used[0]]
    assert Counter(labels) == {0: 3, 1: 3, 2: 3}


def test_scratch_differs_from_pretrained_in_the_encoder_alone(source, pretrained, tmp_path, monkeypatch):
    starts = {}

    def keep_start(self):
        starts[self.folder.path.name] = {k: v.clone() for k, v in self.plan.module.state_dict().items()}

    monkeypatch.setattr("cryoreg.training.engine.Engine.run", keep_start)
    monkeypatch.setattr("cryoreg.training.finetune._write_best", lambda *_: None)
    cryoreg.finetune(tmp_path / "scratch", encoder=ENCODER, dataset=source, **FAST)
    cryoreg.finetune(tmp_path / "pretrained", pretrained=pretrained, **FAST)
    scratch, tuned = starts["scratch"], starts["pretrained"]
    assert torch.equal(scratch["head.weight"], tuned["head.weight"])
    saved = load_weights(pretrained / "encoder.safetensors").tensors
    assert all(torch.equal(tuned[f"encoder.{name}"], value) for name, value in saved.items())
    assert not torch.equal(scratch["encoder.conv1.weight"], tuned["encoder.conv1.weight"])


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit(source, tmp_path, monkeypatch):
    given = {"encoder": ENCODER, "dataset": source, **LEARNING, "epochs": 4}
    cryoreg.finetune(tmp_path / "whole", **given)
    with monkeypatch.context() as patch:
        patch.setattr(FinetuningPlan, "end_epoch", _stop_at_epoch_2(FinetuningPlan.end_epoch))
        with pytest.raises(KeyboardInterrupt):
            cryoreg.finetune(tmp_path / "cut", **given)
    cryoreg.finetune(tmp_path / "cut", resume=True)
    drop_speed = [
        [{**r, "subtomograms_per_s": 0} for r in rows(tmp_path / n / "metrics.csv")] for n in ("whole", "cut")
    ]
    assert drop_speed[0] == drop_speed[1]
    one, other = (load_weights(tmp_path / n / "classifier.safetensors").tensors for n in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def _stop_at_epoch_2(end_epoch):
    def stopping(self, model, epoch, folder):
        if epoch == 2:
            raise KeyboardInterrupt
        return end_epoch(self, model, epoch, folder)

    return stopping


@pytest.mark.slow
def test_evaluation_agrees_with_plain_torch_and_numpy(tuned):
    evaluation = cryoreg.evaluate(tuned)
    tensors, card = load_weights(tuned / "classifier.safetensors")
    encoder = cryoreg.create_encoder(pretrained=tuned).eval()
    dataset = cryoreg.create_dataset("mrc_folder", root=card["config"]["dataset"]["root"])
    test = split(dataset, seed=3).test
    with torch.no_grad():
        features = encoder(normalise(torch.stack([dataset[i].volume for i in test])))
    logits = (features @ tensors["head.weight"].T + tensors["head.bias"]).numpy()
    predictions, labels = logits.argmax(1), np.array([dataset.labels[i] for i in test])
    assert evaluation.ids == tuple(dataset.ids[i] for i in test)
    np.testing.assert_array_equal(evaluation.predictions, predictions)
    assert evaluation.accuracy == np.mean(predictions == labels)
    f1 = []
    for c in range(3):
        hits = np.sum((predictions == c) & (labels == c))
        f1.append(2 * hits / max(1, np.sum(predictions == c) + np.sum(labels == c)))
    assert evaluation.macro_f1 == pytest.approx(np.mean(f1))
    logits = logits / card["calibration"]["temperature"]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(evaluation.confidences, probabilities.max(1), rtol=1e-4)


def test_evaluation_writes_figures_and_predictions(tuned):
    evaluation = cryoreg.evaluate(tuned)
    figures = json.loads((tuned / "evaluation_test.json").read_text())
    assert figures["accuracy"] == evaluation.accuracy
    assert sum(map(sum, figures["confusion"])) == figures["subtomograms"] == 12
    p = figures["accuracy"]
    assert figures["accuracy_standard_error"] == (pytest.approx((p * (1 - p) / 12) ** 0.5) if 0 < p < 1 else None)
    assert figures["accuracy_interval"] == pytest.approx(wilson(round(12 * p), 12))
    table = rows(tuned / "predictions_test.csv")
    assert np.mean([row["label"] == row["prediction"] for row in table]) == p


def test_a_data_set_that_moved_is_named_anew(tuned, source, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.symlink_to(source["root"])
    assert cryoreg.evaluate(tuned, dataset={"root": moved}).accuracy == cryoreg.evaluate(tuned).accuracy


@pytest.mark.slow
def test_copies_in_other_parts_are_told(tuned, source, tmp_path):
    data = shutil.copytree(source["root"], tmp_path / "copied")
    dataset = cryoreg.create_dataset("mrc_folder", root=data)
    parts = split(dataset, seed=3)
    tested, learnt = dataset.ids[parts.test[0]], dataset.ids[parts.train[0]]
    shutil.copyfile(data / f"{learnt}.mrc", data / f"{tested}.mrc")
    assert cryoreg.evaluate(tuned, dataset={"root": data}).copied == (tested,)
    assert json.loads((tuned / "evaluation_test.json").read_text())["copied_in_other_parts"] == [tested]
    said = CliRunner().invoke(command_line, ["evaluate", str(tuned), "--data", str(data)])
    assert said.exit_code == 0
    assert f"warning: 1 of them are in another part as well, voxel by voxel (the first: {tested})" in said.stderr
    assert cryoreg.evaluate(tuned).copied == ()


def test_voxel_size_box_and_normalisation_are_on_the_card(pretrained):
    card = json.loads((pretrained / "card.json").read_text())
    assert (card["voxel_size"], card["box"], card["normalisation"]) == (10.0, [8, 8, 8], "per-volume z-score")
    assert card["config"]["packages"]["method"] == f"cryoreg {cryoreg.__version__}"


def one_line(error):
    assert "\n" not in str(error.value)


def test_mistakes_are_one_clear_line(pretrained, tuned, source, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match="holds an encoder with name = 'rb3d', not 'rb3d_fc'") as error:
        cryoreg.finetune(run, pretrained=pretrained, encoder="rb3d_fc", **FAST)
    one_line(error)
    with pytest.raises(CheckpointError, match="no weights file") as error:
        cryoreg.finetune(run, pretrained=tmp_path / "nothing", **FAST)
    one_line(error)
    with pytest.raises(CheckpointError, match="an encoder without a classifier; `cryoreg finetune`") as error:
        cryoreg.evaluate(pretrained)
    one_line(error)
    with pytest.raises(ConfigError, match=r"training\.labels") as error:
        cryoreg.finetune(run, dataset=source, labels=0, **FAST)
    one_line(error)
    with pytest.raises(ConfigError, match="did you mean 'adam'") as error:
        cryoreg.finetune(run, dataset=source, encoder=ENCODER, optimizer="adm", **FAST)
    one_line(error)
    with pytest.raises(ConfigError, match="did you mean 'cosine'") as error:
        cryoreg.finetune(tmp_path / "run2", dataset=source, encoder=ENCODER, schedule="cosin", **FAST)
    one_line(error)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "words"), [(1, "single class"), (0, "no labels")])
def test_data_without_classes_to_tell_apart_is_one_clear_line(tmp_path, classes, words):
    root = write_classes(tmp_path / "data", classes=1)
    root = root if classes else root / "class0"
    with pytest.raises(DataError, match=words) as error:
        cryoreg.finetune(tmp_path / "run", dataset={"name": "mrc_folder", "root": root}, encoder=ENCODER, **FAST)
    one_line(error)
    assert not (tmp_path / "run").exists()
    cryoreg.pretrain(
        tmp_path / "pre",
        dataset={"name": "mrc_folder", "root": root},
        encoder=ENCODER,
        epochs=1,
        **FAST | {"batch_size": 4},
    )


@pytest.mark.parametrize("change", [{"lr": 3.0}, {"epochs": 99}])
def test_evaluation_takes_no_other_training_settings(tuned, change):
    with pytest.raises(ConfigError, match="the run to evaluate has"):
        cryoreg.evaluate(tuned, **change)


def test_another_split_would_test_on_what_was_learnt_so_changed_data_are_refused(tuned, source, tmp_path):
    root = Path(shutil.copytree(source["root"], tmp_path / "mrc"))
    moved = cryoreg.evaluate(tuned, dataset={"root": root})
    assert moved.ids == cryoreg.evaluate(tuned).ids
    next((root / "class0").iterdir()).unlink()
    with pytest.raises(DataError, match=r"the data set \(59 subtomograms\) is not the one of"):
        cryoreg.evaluate(tuned, dataset={"root": root})


def test_there_are_three_parts(tuned):
    with pytest.raises(ConfigError, match="'tests' is none of train, val, test"):
        cryoreg.evaluate(tuned, "tests")


def test_weights_of_something_else_are_one_line(tuned, tmp_path):
    with pytest.raises(CheckpointError, match="tensors differ") as error:
        cryoreg.finetune(tmp_path / "x", pretrained=tuned / "classifier.safetensors", **FAST)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


def test_a_lost_best_checkpoint_is_missed_before_training(tuned, tmp_path):
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        cryoreg.finetune(run, resume=True)
