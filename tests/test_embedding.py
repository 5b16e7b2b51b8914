"""`cryoreg embed`: the table against plain torch, in every format, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from support.storing import layout, write_store
from support.synthetic import write_classes

import cryoreg
from cryoreg.datasets.normalisation import normalise
from cryoreg.datasets.splits import split
from cryoreg.errors import ConfigError, DataError
from cryoreg.inference.embedding import CARD_KEY, embed
from cryoreg.inference.subtomogram_table import readable
from cryoreg.runs.weights import load_weights
from cryoreg_cli.main import cryoreg as command

FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32", "epochs": 1}
ENCODER = {"name": "rb3d", "width": 4}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=3, per_class=10)
    return {"name": "mrc_folder", "root": root}


@pytest.fixture(scope="module")
def pretrained(source, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    cryoreg.pretrain(run, encoder=ENCODER, dataset=source, **FAST)
    return run


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tuned"
    cryoreg.finetune(run, pretrained=pretrained, augmentation="none", **FAST)
    return run


@pytest.fixture(scope="module")
def dataset(source):
    return cryoreg.create_dataset(source["name"], root=source["root"])


def by_hand(run, dataset):
    """Features of all subtomograms, by the exported encoder."""
    encoder = cryoreg.create_encoder(pretrained=run).eval()
    volumes = torch.stack([dataset[index].volume for index in range(len(dataset))])
    with torch.no_grad():
        return encoder(normalise(volumes)).numpy()


@pytest.mark.slow
def test_features_are_the_encoders(pretrained, tuned, dataset):
    for run in (pretrained, tuned):
        np.testing.assert_allclose(embed(run, precision="fp32").features, by_hand(run, dataset), rtol=1e-4, atol=1e-5)


def test_predictions_are_the_classifiers(tuned, dataset):
    weights, card = load_weights(tuned / "classifier.safetensors")
    logits = by_hand(tuned, dataset) @ weights["head.weight"].numpy().T + weights["head.bias"].numpy()
    logits /= card.get("calibration", {}).get("temperature", 1)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    embedding = embed(tuned, precision="fp32")
    assert embedding.predictions == [card["classes"][best] for best in chances.argmax(1)]
    np.testing.assert_allclose(embedding.confidences, chances.max(1), rtol=1e-3)


def test_an_encoder_predicts_nothing(pretrained):
    embedding = embed(pretrained)
    assert embedding.predictions is None
    assert not {"prediction", "confidence"} & embedding.columns().keys()


@pytest.mark.slow
def test_parts_are_those_of_the_run(tuned, dataset):
    parts = split(dataset)
    for name in ("train", "val", "test"):
        ids = {dataset.ids[index] for index in getattr(parts, name)}
        assert set(embed(tuned, name).ids) == ids
        table = pd.DataFrame(embed(tuned).columns())
        assert set(table.id[table.split == name]) == ids


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        known = {name: file[name] for name in file.files if name not in ("features", "card")}
        return pd.DataFrame(known), file["features"], json.loads(str(file["card"]))


@pytest.mark.slow
def test_all_formats_hold_the_same(tuned, tmp_path, dataset):
    for suffix in ("parquet", "csv", "npz"):
        result = CliRunner().invoke(command, ["embed", str(tuned), "--output", str(tmp_path / f"e.{suffix}")])
        assert result.exit_code == 0, result.output
    assert "30 subtomograms" in result.output
    expected = embed(tuned)
    names = [f"f{number:04d}" for number in range(expected.features.shape[1])]
    parquet, csv = pd.read_parquet(tmp_path / "e.parquet"), pd.read_csv(tmp_path / "e.csv")
    npz, features, card = read_npz(tmp_path / "e.npz")
    for table, values in ((parquet, parquet[names]), (csv, csv[names]), (npz, features)):
        assert table.id.tolist() == list(dataset.ids)
        assert table.label.tolist() == [dataset.classes[label] for label in dataset.labels]
        assert table.prediction.tolist() == expected.predictions
        np.testing.assert_allclose(table.confidence, expected.confidences)
        np.testing.assert_allclose(np.asarray(values, np.float32), expected.features, rtol=1e-6)
    assert parquet[names].dtypes.eq("float32").all()
    recorded = load_weights(tuned / "classifier.safetensors").card
    assert json.loads(pq.read_schema(tmp_path / "e.parquet").metadata[CARD_KEY]) == recorded == card


def test_another_set_keeps_its_files_and_rows_and_has_no_parts(pretrained, tmp_path):
    plan = layout(6, box=(8, 8, 8), labels=[0, None, 1, 0, 1, 0], groups=["t"] * 3 + [None] * 3)
    store = write_store(tmp_path / "s.h5", plan)
    out = tmp_path / "e.parquet"
    arguments = ["embed", str(pretrained), "--dataset", "store", "--data", str(store), "--output", str(out)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(out)
    assert table.label.tolist()[0] == "a"
    assert table.label.isna().tolist() == [False, True, False, False, False, False]
    assert table.tomogram.isna().sum() == 3
    assert table.split.isna().all()
    result = CliRunner().invoke(command, [*arguments, "--overwrite", "--part", "test"])
    assert result.exit_code == 1
    assert "no test part" in result.output


def test_names_that_are_no_unicode_become_readable():
    assert readable("b\udcff/ä") == "b\\xff/ä"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("e.pkl", ".parquet, .csv, .npz"),
        ("there.csv", "another name or say --overwrite"),
        ("nowhere/e.csv", "no folder"),
    ],
)
def test_refused_before_any_work(name, message, tmp_path):
    (tmp_path / "there.csv").write_text("mine")
    result = CliRunner().invoke(command, ["embed", str(tmp_path / "no run"), "--output", str(tmp_path / name)])
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_an_unknown_or_empty_part_is_refused(tuned, source, tmp_path):
    with pytest.raises(ConfigError, match="none of train, val, test, all"):
        embed(tuned, "tset")
    run = tmp_path / "run"
    cryoreg.pretrain(run, encoder=ENCODER, dataset=source, split={"fractions": [0.8, 0.2, 0]}, **FAST)
    with pytest.raises(DataError, match="test split is empty"):
        embed(run, "test")
