"""`cluster`, `embed`, `report` and `explain` --from trained weights on data alone, without a run and without labels."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from support.mrc_writing import write_mrc
from support.synthetic import write_classes
from support.untrained import make_run

import cryoreg
from cryoreg.analysis.explain import choose
from cryoreg.config import Layer
from cryoreg.inference.embedding import embed
from cryoreg.inference.trained import Trained
from cryoreg_cli.main import cryoreg as command


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An encoder's file, 8³ voxels of 10 Å, with no run about it."""
    folder = tmp_path_factory.mktemp("weights")
    make_run(folder / "run", width=4, classifier=False)
    (folder / "run" / "encoder.safetensors").rename(folder / "lent.safetensors")
    return folder / "lent.safetensors"


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """Unlabelled volumes of the same size, flat in a folder, whose two kinds differ by where a blob sits."""
    folder = tmp_path_factory.mktemp("data")
    for path in sorted(write_classes(folder / "plan", per_class=12).rglob("*.mrc")):
        target = folder / "particles" / f"{path.parent.name}-{path.name}"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return folder / "particles"


def run(*words):
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_clusters_and_features(weights, particles, tmp_path):
    data = ["--from", weights, "--data", particles, "--device", "cpu"]
    status, text = run(
        "cluster", *data, "--clusters", "2", "--output", tmp_path / "c.csv", "--montage", tmp_path / "m.png"
    )
    assert status == 0, text
    assert len(pd.read_csv(tmp_path / "c.csv")) == 24
    status, text = run("embed", *data, "--precision", "fp32", "--output", tmp_path / "e.csv")
    assert status == 0, text
    table = pd.read_csv(tmp_path / "e.csv")
    assert table.split.isna().all()
    assert table.label.isna().all()
    again = embed(weights, dataset={"root": particles}, precision="fp32", device="cpu")
    np.testing.assert_allclose(table.filter(regex="f[0-9]{4}"), again.features, rtol=1e-5)


@pytest.mark.usefixtures("without_umap")
def test_a_report_shows_the_map_and_clusters_of_the_data(weights, particles, tmp_path):
    status, text = run(
        "report", "--from", weights, "--data", particles, "--device", "cpu", "--output", tmp_path / "r.html"
    )
    assert status == 0, text
    page = (tmp_path / "r.html").read_text()
    payload = json.loads(re.search(r'id="payload">(.*?)</script>', page).group(1))
    assert list(payload["colours"]) == ["cluster"]
    assert len(payload["colours"]["cluster"]["codes"]) == len(payload["ids"]) == 24
    assert "<h1>particles</h1>" in page
    assert 'id="clusters"' in page
    assert "nobody can tell" not in page


def test_without_labels_the_middles_of_clusters_are_explained(weights, particles, tmp_path):
    trained = Trained.open(weights, [Layer("test", {"dataset": {"root": particles}})])
    chosen, how = choose(trained, None, 4)
    assert len(set(chosen)) == 4
    assert "there are no classes to explain" in how
    status, text = run("explain", "--from", weights, "--data", particles, "--count", 2, "--output", tmp_path / "out")
    assert status == 0, text
    assert "note: there are no classes to explain, but features" in text
    assert len(list((tmp_path / "out").glob("*_gradcam_features.mrc"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cluster", "--output", "c.csv"], "say which network: a RUN, or --from"),
        (["embed", "a", "--from", "b", "--output", "c.csv"], "say which network: a RUN, or --from"),
        (["report", "--from", "rb3d_universe", "--data", "x"], "say --output FILE.html"),
        (
            ["embed", "--from", "rb3d_universe", "--output", "e.csv"],
            "come without data; say --data PATH",
        ),
        (["embed", "--from", "rb3d_univers", "--output", "e.csv"], "did you mean 'rb3d_universe'"),
    ],
)
def test_refused_in_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, text = run(*words)
    assert status in (1, 2)
    assert message in text.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_shipped_weights_take_any_grid(tmp_path):
    """32³ voxels of 10 Å, as most have them, become what the weights know, with a note."""
    for number in range(3):
        write_mrc(tmp_path / f"{number}.mrc", np.random.default_rng(number).normal(size=(32, 32, 32)).astype("f4"))
    trained = Trained.encoder("rb3d_universe", [Layer("test", {"dataset": {"root": tmp_path}})])
    card = trained.card
    assert (trained.dataset.voxel_size, list(trained.dataset.box)) == (card["voxel_size"], card["box"])
    assert trained.features().shape == (3, card["num_features"])
    assert trained.dataset.notes[0].startswith("voxels of 10 Å are brought to")
    assert cryoreg.create_encoder(pretrained="rb3d_universe").num_features == card["num_features"]
