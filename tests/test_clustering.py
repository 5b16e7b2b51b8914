"""Clusters against known answers, formulas against slow ones, and the files of `cryoreg cluster`."""

from __future__ import annotations

import sys
from itertools import combinations, permutations
from math import log

import numpy as np
import pandas as pd
import pytest
import starfile
from click.testing import CliRunner
from matplotlib import image
from support.mrc_writing import noise, write_mrc
from support.synthetic import write_classes
from support.untrained import make_run

from cryoreg.analysis import cluster_montage
from cryoreg.analysis.clustering import agreement, cluster, neighbour_graph, principal_components, silhouette, stability
from cryoreg.analysis.clusters import Clustering, ClusterSettings, parse_clusters
from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.errors import ConfigError, DataError
from cryoreg_cli.main import cryoreg as command

METHODS = ["kmeans", "gmm", "leiden"]
SIZES = (50, 40, 30)


def blobs(spread=0.1, features=12):
    """Points about three far corners, of classes 0, 1, 2 in mixed order, and a feature that never changes."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([2, 0, 1], SIZES))
    points = 5 * rng.normal(size=(3, features))[labels] + spread * rng.normal(size=(len(labels), features))
    points[:, -1] = 3.0
    return points.astype(np.float32), labels


def few(method, **more):
    return ClusterSettings(method, range(2, 7), neighbours=25, **more)


@pytest.mark.parametrize("method", METHODS)
def test_blobs_apart_are_found_and_counted_largest_first(method):
    points, labels = blobs()
    found = cluster(points, few(method, components=2))
    assert found.sizes == list(SIZES)
    compared = agreement(found.clusters, labels.tolist(), 3)
    assert (compared.ari, compared.nmi, compared.purity, compared.accuracy) == pytest.approx((1, 1, 1, 1))
    assert found.stability == pytest.approx(1)
    assert np.all((found.confidence > 0.9) & (found.confidence <= 1))
    assert found.wanted == (None if method == "leiden" else 3)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_are_repeatable_and_matter(method):
    points = np.random.default_rng(1).normal(size=(150, 10))
    settings = ClusterSettings(method, range(6, 7))
    once, again, other = (cluster(points, settings._replace(seed=seed)) for seed in (3, 3, 4))
    for field in ("clusters", "confidence", "distance", "stability"):
        np.testing.assert_array_equal(getattr(once, field), getattr(again, field))
    assert not np.array_equal(once.clusters, other.clusters)
    assert once.stability < 0.95


def pairs_together(partition):
    return {(i, j) for i, j in combinations(range(len(partition)), 2) if partition[i] == partition[j]}


def rand_index_by_pairs(one, other):
    """Hubert & Arabie 1985: pairs that are together in both, above chance, over the most that there could be."""
    a, b = pairs_together(one), pairs_together(other)
    chance = len(a) * len(b) / (len(one) * (len(one) - 1) / 2)
    return (len(a & b) - chance) / ((len(a) + len(b)) / 2 - chance)


def entropy(values):
    values = list(values)
    shares = [values.count(value) / len(values) for value in set(values)]
    return -sum(share * log(share) for share in shares)


@pytest.fixture
def partitions():
    rng = np.random.default_rng(2)
    return rng.integers(0, 4, 40), rng.integers(0, 3, 40).tolist()


def test_agreement_as_by_hand(partitions):
    clusters, labels = partitions
    found = agreement(clusters, labels, 3)
    pairs = list(zip(clusters.tolist(), labels, strict=True))
    together, one, other = entropy(pairs), entropy(clusters.tolist()), entropy(labels)
    assert found.ari == pytest.approx(rand_index_by_pairs(clusters, labels))
    assert found.nmi == pytest.approx((one + other - together) / ((one + other) / 2))
    counts = [
        [sum(c == i and k == j for c, k in zip(clusters, labels, strict=True)) for j in range(3)] for i in range(4)
    ]
    np.testing.assert_array_equal(found.table, counts)
    assert found.purity == pytest.approx(sum(max(row) for row in counts) / 40)
    best = max(sum(counts[i][j] for j, i in enumerate(order)) for order in permutations(range(4), 3))
    assert found.accuracy == pytest.approx(best / 40)


def test_what_has_no_label_is_left_out_of_the_agreement(partitions):
    clusters, labels = partitions
    some = [None if number % 3 == 0 else label for number, label in enumerate(labels)]
    kept = [number for number in range(40) if number % 3]
    found = agreement(clusters, some, 3)
    assert found.ari == pytest.approx(rand_index_by_pairs(clusters[kept], [labels[number] for number in kept]))
    assert found.table.sum() == len(kept)
    assert agreement(clusters, [None] * 40, 0) is None


def test_stability_is_the_mean_over_pairs():
    runs = list(np.random.default_rng(3).integers(0, 3, (3, 30)))
    expected = np.mean([rand_index_by_pairs(a, b) for a, b in combinations(runs, 2)])
    assert stability(runs) == pytest.approx(expected)


def test_the_graph_joins_neighbours_by_cosine():
    points = np.random.default_rng(4).normal(size=(12, 3))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(12)
    nearest = [(i, int(j)) for i in range(12) for j in np.argsort(-cosines[i])[:2]]
    expected = {(min(pair), max(pair)): max(cosines[pair], 1e-6) for pair in nearest}
    edges, weights = neighbour_graph(points, 2)
    assert dict(zip(map(tuple, edges.tolist()), weights, strict=True)) == pytest.approx(expected)


def test_features_count_alike_whatever_their_scale():
    points, _ = blobs(spread=2.0)
    scaled = points * np.geomspace(1e-3, 1e3, points.shape[1], dtype=np.float32)
    one, other = (np.abs(principal_components(each, 4)) for each in (points, scaled))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_silhouette_as_by_hand_and_of_no_two_clusters():
    points, labels = blobs(spread=3.0)
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    means = np.stack([away[:, labels == number].sum(axis=1) for number in range(3)]) / np.bincount(labels)[:, None]
    own = means[labels, np.arange(120)] * (np.bincount(labels) / (np.bincount(labels) - 1))[labels]
    means[labels, np.arange(120)] = np.inf
    other = means.min(axis=0)
    assert silhouette(away, labels) == pytest.approx(np.mean((other - own) / np.maximum(own, other)), abs=1e-5)
    assert silhouette(away, np.zeros(120, int)) == silhouette(away, np.arange(120)) == -1


@pytest.mark.slow
def test_copies_are_no_more_clusters_than_there_are_points():
    features = np.repeat(np.random.default_rng(5).normal(size=(3, 6)), 8, axis=0)
    found = cluster(features, ClusterSettings("kmeans"))
    assert (found.wanted, found.sizes) == (3, [8, 8, 8])


def test_confidence_of_kmeans_and_distances_to_the_mean():
    points, _ = blobs(spread=2.0)
    found = cluster(points, ClusterSettings("kmeans", range(3, 4), components=5))
    reduced = principal_components(points, 5)
    means = np.stack([reduced[found.clusters == number].mean(axis=0) for number in range(3)])
    away = np.linalg.norm(reduced[:, None] - means, axis=2)
    np.testing.assert_allclose(found.distance, away.min(axis=1), atol=1e-3)
    near, after = np.sort(away, axis=1)[:, :2].T
    np.testing.assert_allclose(found.confidence, 1 - near / after, atol=1e-2)
    members = np.flatnonzero(found.clusters == 1)
    assert found.nearest(1, 2).tolist() == members[np.argsort(away[members, 1])][:2].tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.ones((20, 4)), "it has collapsed"),
        (np.full((20, 4), np.nan), "not finite"),
        (np.random.default_rng(0).normal(size=(2, 4)), "too few"),
    ],
)
def test_features_that_cannot_be_clustered(method, features, words):
    with pytest.raises(DataError, match=words):
        cluster(features, ClusterSettings(method))


def test_more_clusters_than_subtomograms():
    with pytest.raises(DataError, match="9 subtomograms are too few for 30 clusters"):
        cluster(np.random.default_rng(0).normal(size=(9, 4)), ClusterSettings("kmeans", range(30, 31)))


@pytest.mark.parametrize(("text", "expected"), [("auto", range(2, 21)), ("7", range(7, 8)), ("5-8", range(5, 9))])
def test_numbers_of_clusters(text, expected):
    assert parse_clusters(text) == expected


@pytest.mark.parametrize("text", ["1", "0", "-3", "many", "8-5", "", "3-", "1-4"])
def test_numbers_of_clusters_that_make_no_sense(text):
    with pytest.raises(ConfigError, match="--clusters"):
        parse_clusters(text)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run without classifier on 2 × 9 labelled volumes, as the current folder's ``run``."""
    monkeypatch.chdir(tmp_path)
    data = write_classes(tmp_path / "data", per_class=9)
    make_run(tmp_path / "run", width=4, classifier=False, dataset={"name": "mrc_folder", "root": str(data)})
    return tmp_path / "run"


def cryoreg(*words):
    result = CliRunner().invoke(command, ["cluster", *(str(word) for word in words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_table_and_a_montage(run, tmp_path):
    status, output = cryoreg(run, "--clusters", "2-4", "--output", "c.csv", "--montage", "c.png")
    assert status == 0, output
    assert "silhouette" in output
    assert "stability" in output
    assert "ARI" in output
    assert "fine-tuned" not in output
    table = pd.read_csv("c.csv")
    assert list(table) == ["id", "file", "row", "tomogram", "label", "confidence", "cluster", "distance"]
    dataset = MrcFolder(tmp_path / "data")
    assert table["id"].tolist() == list(dataset.ids)
    assert table["label"].tolist() == [dataset.classes[label] for label in dataset.labels]
    assert table["file"].tolist() == [dataset.origin(index).file for index in range(18)]
    sizes = table["cluster"].value_counts().sort_index()
    assert list(sizes.index) == list(range(1, len(sizes) + 1))
    assert sizes.is_monotonic_decreasing
    assert image.imread("c.png").ndim == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_parquet_says_the_same_and_again(run, method):
    for file in ("c.csv", "c.parquet", "again.csv"):
        status, output = cryoreg(run, "--method", method, "--seed", 5, "--neighbours", 4, "--output", file)
        assert status == 0, output
    one, other = pd.read_csv("c.csv"), pd.read_parquet("c.parquet")
    for column in ("id", "cluster", "confidence", "label"):
        assert one[column].tolist() == other[column].tolist()
    with open("c.csv") as first, open("again.csv") as second:
        assert first.read() == second.read()


def test_without_labels_and_in_a_star_file(run, tmp_path):
    paths = [write_mrc(tmp_path / "flat" / f"{number}.mrc", noise((8, 8, 8), number)) for number in range(12)]
    particles = {"rlnImageName": [str(path) for path in reversed(paths)], "rlnLogLikeliContribution": np.arange(12) / 8}
    starfile.write({"particles": pd.DataFrame(particles)}, tmp_path / "p.star")
    words = ["--data", "p.star", "--clusters", 3, "--output"]
    for file in ("c.star", "c.csv"):
        status, output = cryoreg(run, *words, file)
        assert status == 0, output
        assert "ARI" not in output
    table, kept = pd.read_csv("c.csv"), starfile.read("c.star")
    assert table["label"].isna().all()
    assert kept["rlnClassNumber"].tolist() == table["cluster"].tolist()
    assert kept["rlnImageName"].tolist() == particles["rlnImageName"]
    assert kept["rlnLogLikeliContribution"].tolist() == list(particles["rlnLogLikeliContribution"])
    assert table["row"].tolist() == list(range(12))


def test_a_fine_tuned_network_is_no_witness(run, tmp_path):
    data = {"name": "mrc_folder", "root": str(tmp_path / "data")}
    make_run(tmp_path / "fine", width=4, dataset=data)
    assert "fine-tuned on labels" in cryoreg("fine", "--clusters", 2, "--output", "c.csv")[1]


def test_mean_slices_are_those_of_z_scored_volumes(run, tmp_path, monkeypatch):
    dataset = MrcFolder(tmp_path / "data")
    clusters = np.array([0, 1, 0] * 6)
    found = Clustering(clusters, np.ones(18), np.arange(18.0), {}, None, 1.0)
    volumes = np.stack([dataset[index].volume[0].numpy() for index in range(18)]).astype(float)
    scored = np.stack([(volume - volume.mean()) / volume.std() for volume in volumes])[:, 4]
    means = cluster_montage.mean_slices(dataset, found)
    np.testing.assert_allclose(means, [scored[clusters == number].mean(axis=0) for number in (0, 1)], atol=1e-5)
    monkeypatch.setattr(cluster_montage, "_MOST_ROWS", 1)
    figure = cluster_montage.draw_montage(dataset, found)
    assert "the 1 largest of 2 clusters" in figure.texts[0].get_text()
    first, *others = figure.axes[0].images
    np.testing.assert_allclose(first.get_array(), means[0], atol=1e-5)
    np.testing.assert_allclose(others[1].get_array(), scored[2], atol=1e-5)


BAD = {
    "no such run": (["nowhere", "--output", "c.csv"], "nowhere"),
    "no format": (["run", "--output", "c.txt"], "clusters are written as .csv, .parquet, .star, .tbl"),
    "exists": (["run", "--output", "there.csv"], "another name or say --overwrite"),
    "no folder": (["run", "--output", "no/c.csv"], "make it first"),
    "not a list": (["run", "--output", "c.tbl"], "not all of one list"),
    "no picture": (["run", "--output", "c.csv", "--montage", "c.jpg"], "is a .png"),
    "picture exists": (
        ["run", "--output", "c.csv", "--montage", "there.png"],
        "exists already; choose another name or say --overwrite",
    ),
    "no number": (["run", "--output", "c.csv", "--clusters", "some"], "should be auto, a number"),
    "number for Leiden": (["run", "--output", "c.csv", "--method", "leiden", "--clusters", "3"], "--resolution"),
    "too many": (["run", "--output", "c.csv", "--clusters", "40"], "too few for 40 clusters"),
    "other data": (["run", "--output", "c.csv", "--data", "gone"], "gone"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, name):
    words, expected = BAD[name]
    for file in ("there.csv", "there.png"):
        (tmp_path / file).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    status, output = cryoreg(*words)
    assert (status, output.count("\n")) == (1, 1), output
    assert expected in output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("library", ["igraph", "leidenalg"])
def test_a_missing_library_is_named(run, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    status, output = cryoreg(run, "--method", "leiden", "--output", "c.csv")
    assert (status, output.count("\n")) == (1, 1)
    assert f'needs {library}; pip install "cryoreg[cluster]"' in output
