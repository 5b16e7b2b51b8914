"""Data sets and results as tables of pandas and AnnData, and as what PyTorch's DataLoader takes."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from support.storing import layout, write_store
from support.synthetic import write_classes
from support.untrained import make_run
from torch.utils.data import DataLoader

import cryoreg
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=2, per_class=5, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    make_run(folder, width=4)
    return folder


# ---- torch


def test_volumes_have_mean_0_and_deviation_1(data) -> None:
    dataset = cryoreg.open_dataset(data)
    served = cryoreg.as_torch(dataset)
    volume, label = served[3]
    assert (volume.dtype, volume.shape) == (torch.float32, (1, 8, 8, 8))
    assert volume.mean().item() == pytest.approx(0, abs=1e-6)
    assert volume.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert label == dataset.labels[3]
    torch.testing.assert_close(cryoreg.as_torch(dataset, normalised=False)[3][0], dataset[3].volume)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loader_serves_batches_with_workers_and_without(data, workers) -> None:
    served = cryoreg.as_torch(cryoreg.open_dataset(data))
    batches = list(DataLoader(served, batch_size=4, num_workers=workers))
    volumes, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert [len(batch[0]) for batch in batches] == [4, 4, 2]
    torch.testing.assert_close(volumes, normalise(torch.stack([each.volume for each in served.dataset])))
    assert labels.tolist() == served.targets == [0] * 5 + [1] * 5
    assert served.classes == list(served.dataset.classes)


def test_what_has_no_label_has_minus_1(tmp_path) -> None:
    plan = layout(labels=[0, None, 1, None, 0, 1])
    served = cryoreg.as_torch(cryoreg.open_dataset(write_store(tmp_path / "set.h5", plan)))
    assert served.targets == [0, -1, 1, -1, 0, 1]
    assert [label for _, label in served] == served.targets  # it ends, as a sequence does
    assert served[-1][1] == 1
    with pytest.raises(IndexError, match="has 6 subtomograms"):
        served[6]


def test_a_transform_sees_normalised_volumes_and_the_set_can_be_sent(data) -> None:
    served = cryoreg.as_torch(cryoreg.open_dataset(data), transform=torch.abs)
    plain = cryoreg.as_torch(served.dataset)
    torch.testing.assert_close(served[0][0], plain[0][0].abs())
    torch.testing.assert_close(pickle.loads(pickle.dumps(served))[0][0], served[0][0])


@pytest.mark.parametrize("wrong", ["particles.star", None, 3])
def test_what_is_no_data_set_says_how_to_open_one(wrong) -> None:
    with pytest.raises(TypeError, match=r"as_torch\(\) needs an open data set, .*open_dataset"):
        cryoreg.as_torch(wrong)


@pytest.mark.slow
def test_a_file_that_has_gone_is_named_through_a_worker(tmp_path) -> None:
    served = cryoreg.as_torch(cryoreg.open_dataset(write_classes(tmp_path / "mrc", classes=2, per_class=2)))
    for file in (tmp_path / "mrc").rglob("*.mrc"):
        file.unlink()
    with pytest.raises(DataError, match=r"\.mrc"):
        list(DataLoader(served, num_workers=1))


# ---- pandas


def test_a_data_set_is_a_row_for_each_subtomogram(data) -> None:
    dataset = cryoreg.open_dataset(data)
    table = cryoreg.to_pandas(dataset)
    assert table["id"].tolist() == list(dataset.ids)
    assert table["label"].tolist() == [dataset.classes[label] for label in dataset.labels]
    assert table["file"].map(lambda name: name.endswith(".mrc")).all()
    assert table["tomogram"].isna().all()


def test_unknown_labels_and_rows_are_missing(tmp_path) -> None:
    plan = layout(labels=[0, None, 1, None, 0, 1])
    table = cryoreg.to_pandas(cryoreg.open_dataset(write_store(tmp_path / "set.h5", plan)))
    assert table["label"].isna().tolist() == [False, True, False, True, False, False]
    assert str(table["row"].dtype) == "Int64"


def test_predictions_are_what_the_file_says(run, data, tmp_path) -> None:
    predictions = cryoreg.predict(run, data=data, output=tmp_path / "p.csv", device="cpu")
    table, written = cryoreg.to_pandas(predictions), pd.read_csv(tmp_path / "p.csv")
    assert list(table.columns) == [name for name in written.columns if name != "label"]  # which the data say
    for name in ("id", "file", "prediction", "class_number", "unsure"):
        assert table[name].tolist() == written[name].tolist(), name
    chances = table[[name for name in table.columns if name.startswith("p_")]].to_numpy()
    np.testing.assert_array_equal(chances, predictions.probabilities)
    np.testing.assert_allclose(chances.max(1), written["confidence"], atol=5e-5)


def test_features_clusters_and_picks_are_tables(run, data, tmp_path) -> None:
    embedding = cryoreg.embed(run, data=data, device="cpu")
    table = cryoreg.to_pandas(embedding)
    assert table["f0001"].tolist() == embedding.features[:, 1].tolist()
    assert table["prediction"].tolist() == embedding.predictions
    clusters = cryoreg.to_pandas(cryoreg.cluster(run, data=data, clusters=2, device="cpu"))
    assert sorted(set(clusters["cluster"])) == [1, 2]
    assert clusters["id"].tolist() == table["id"].tolist()


def test_what_is_no_result_says_what_is() -> None:
    with pytest.raises(TypeError, match=r"to_pandas\(\) takes a data set, or what embed, predict"):
        cryoreg.to_pandas([1, 2])
    with pytest.raises(TypeError) as caught:
        cryoreg.to_anndata(pd.DataFrame({"a": range(100)}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


# ---- AnnData


class FakeAnnData:
    """Keeps what it is given, as AnnData does."""

    def __init__(self, X, obs) -> None:
        self.X, self.obs, self.uns, self.obsm = X, obs, {}, {}


def check_anndata(found, embedding) -> None:
    np.testing.assert_array_equal(found.X, embedding.features)
    assert list(found.obs.index) == embedding.ids
    assert list(found.obs["prediction"]) == embedding.predictions
    assert found.var_names[1] == "f0001"
    assert len(found.var_names) == embedding.features.shape[1]
    assert list(found.uns["classes"]) == embedding.classes
    np.testing.assert_array_equal(found.obsm["logits"], embedding.logits)


def test_anndata_gets_features_and_what_is_known(run, data, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", types.SimpleNamespace(AnnData=FakeAnnData))
    embedding = cryoreg.embed(run, data=data, device="cpu")
    check_anndata(cryoreg.to_anndata(embedding), embedding)


def test_the_real_anndata_takes_it_and_writes_it(run, data, tmp_path) -> None:
    anndata = pytest.importorskip("anndata")
    embedding = cryoreg.embed(run, data=data, device="cpu")
    embedding.labels[3], embedding.rows[:2] = None, [7, 8]
    found = cryoreg.to_anndata(embedding)
    check_anndata(found, embedding)
    assert "tomogram" not in found.obs  # none is known
    found.write_h5ad(tmp_path / "features.h5ad")
    again = anndata.read_h5ad(tmp_path / "features.h5ad")
    check_anndata(again, embedding)
    assert again.obs["label"].isna().tolist() == [label is None for label in embedding.labels]
    assert again.obs["row"][:2].tolist() == [7, 8]


def test_without_anndata_one_line_says_what_to_install(run, data, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    embedding = cryoreg.embed(run, data=data, device="cpu")
    with pytest.raises(ConfigError, match=r'needs anndata; pip install "cryoreg\[anndata\]"'):
        cryoreg.to_anndata(embedding)
    with pytest.raises(TypeError, match=r"takes what cryoreg\.embed returns"):
        cryoreg.to_anndata(embedding.features)
