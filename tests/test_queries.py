"""Queries against their formulas, and `cryoreg suggest` from labels to a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from support.synthetic import write_classes
from support.untrained import make_run

from cryoreg.contracts import Pool
from cryoreg.errors import CryoregError
from cryoreg.labelling.classifier import pool_of
from cryoreg.labelling.suggestions import suggest
from cryoreg.learners.logistic_regression import UNVALIDATED
from cryoreg.queries.specs import (
    CoreSetSpec,
    EntropySpec,
    GradNormSpec,
    HALSpec,
    MarginSpec,
    RandomSpec,
    TypiClustSpec,
)
from cryoreg_cli.main import cryoreg as command


def chosen(spec, pool, count, seed=0):
    return spec.build().choose(pool, count, np.random.default_rng(seed)).tolist()


def scored(probabilities, labels=None, features=None):
    chances = np.array(probabilities, float)
    features = np.ones((len(chances), 2), np.float32) if features is None else np.array(features, np.float32)
    return Pool(features, np.array(labels or [-1] * len(chances)), chances)


def test_margin_and_entropy_differ_where_their_formulas_do():
    pool = scored([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.9, 0.1, 0.0]])
    assert chosen(MarginSpec(), pool, 3) == [0, 1, 2]
    assert chosen(EntropySpec(), pool, 3) == [1, 0, 2]


def test_gradient_norm_is_that_of_autograd():
    rng = np.random.default_rng(0)
    x, weight, bias = (torch.from_numpy(rng.normal(size=size)) for size in ((9, 4), (3, 4), 3))
    lengths = []
    for row in x:
        w, b = (each.clone().requires_grad_() for each in (weight, bias))
        p = torch.softmax(w @ row + b, 0)
        (p * -p.log()).sum().backward()
        lengths.append(float(w.grad.norm() + b.grad.norm()))
    pool = scored(torch.softmax(x @ weight.T + bias, 1).numpy(), features=x.numpy())
    assert chosen(GradNormSpec(), pool, 9) == np.argsort(lengths)[::-1].tolist()


def farthest(points, known, count):
    """k-centre greedy, one distance at a time."""
    found = []
    for _ in range(count):
        others = [i for i in range(len(points)) if i not in known]
        found.append(max(others, key=lambda i: min(np.linalg.norm(points[i] - points[j]) for j in known)))
        known = [*known, found[-1]]
    return found


def test_core_set_is_the_farthest_one_by_one():
    points = np.random.default_rng(1).normal(size=(30, 3)).astype(np.float32)
    labels = [0 if i in (4, 7) else -1 for i in range(30)]
    assert chosen(CoreSetSpec(), scored(np.ones((30, 1)), labels, points), 10) == farthest(points, [4, 7], 10)
    nearest = int(np.argmin(np.linalg.norm(points - points.mean(0), axis=1)))
    assert chosen(CoreSetSpec(), scored(np.ones((30, 1)), None, points), 5) == [
        nearest,
        *farthest(points, [nearest], 4),
    ]


def groups(sizes, spread=0.1):
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return (8 * np.eye(len(sizes))[which] + spread * rng.normal(size=(len(which), len(sizes)))).astype(
        np.float32
    ), which


def test_typiclust_takes_the_most_typical_of_each_group_that_has_no_label():
    points, which = groups([30, 20, 10, 8])
    first = chosen(TypiClustSpec(), scored(np.ones((68, 1)), None, points), 4)
    assert which[first].tolist() == [0, 1, 2, 3], "the largest first"
    own = points[which == 0]
    distances = np.sort(np.linalg.norm(own[:, None] - own[None], axis=2), axis=1)[:, 1:21].mean(1)
    assert first[0] == int(np.argmin(distances))
    labels = [0 if i in (0, 50) else -1 for i in range(68)]  # of the first group and the third
    assert sorted(which[chosen(TypiClustSpec(), scored(np.ones((68, 1)), labels, points), 2)]) == [1, 3]


def test_hal_asks_for_a_group_of_which_nothing_is_labelled_yet():
    points, which = groups([40, 40, 40], spread=1.0)
    labels = [0 if which[i] == 0 and i < 10 else 1 if 40 <= i < 50 else -1 for i in range(120)]
    pool = scored(np.full((120, 2), 0.5), labels, points)
    asked = which[chosen(HALSpec(epochs=200), pool, 8)]
    assert (asked == 2).mean() > 0.7


def test_hal_with_much_weight_goes_by_the_entropy():
    points, _ = groups([20, 20])
    chances = np.full((40, 2), 0.5)
    chances[:, 0] = np.linspace(0.5, 1, 40)
    chances[:, 1] = 1 - chances[:, 0]
    pool = scored(chances, [0, 1] + [-1] * 38, points)
    assert sorted(chosen(HALSpec(weight=1e6, epochs=1), pool, 5)) == [2, 3, 4, 5, 6]


def test_random_is_fair():
    pool = scored(np.ones((10, 1)), [0, 0] + [-1] * 8)
    counts = np.bincount([chosen(RandomSpec(), pool, 1, seed)[0] for seed in range(800)], minlength=10)
    assert counts[:2].tolist() == [0, 0]
    assert abs(counts[2:] - 100).max() < 5 * np.sqrt(800 / 8 * 7 / 8), "five standard deviations of a binomial"


def test_the_classifier_finds_its_probabilities_as_scikit_learn_does():
    points, which = groups([20, 20, 20], spread=3.0)
    labels = np.where(np.arange(60) % 3 > 0, which, -1)
    pool, taught = pool_of(points, labels, 3)
    x, known = points / np.linalg.norm(points, axis=1, keepdims=True), labels >= 0
    model = LogisticRegression(C=taught.strength, max_iter=1000).fit(x[known], which[known])
    np.testing.assert_allclose(pool.probabilities, model.predict_proba(x), atol=1e-3)
    parts = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(LogisticRegression(C=taught.strength, max_iter=1000), x[known], which[known], cv=parts)
    assert taught.accuracy.value == pytest.approx(scores.mean())  # 40 labels: parts of 8, alike


def test_a_class_of_a_single_label_is_learnt_but_not_guessed():
    points, which = groups([10, 10, 10])
    labels = np.where(np.isin(np.arange(30), [0, 1, 2, 10, 11, 20]), which, -1)
    pool, taught = pool_of(points, labels, 4)
    assert (taught.accuracy.right, taught.accuracy.total) == (5, 5)
    assert (pool.probabilities.argmax(1) == which).all()
    assert (pool.probabilities[:, 3] == 0).all()


def test_a_single_label_of_a_new_class_does_not_spoil_what_is_known():
    """With a C of 1 on features of length 1, the commonest class would be answered throughout."""
    points, which = groups([60, 60, 60], spread=3.0)
    few = [*range(8), *range(60, 64)]
    before, after = np.full(180, -1), np.full(180, -1)
    before[few] = after[few] = which[few]
    after[120] = 2
    known, right = which < 2, []
    for labels in (before, after):
        pool, taught = pool_of(points, labels, 3)
        right.append((pool.probabilities.argmax(1) == which)[known].mean())
        assert taught.strength > 1
    assert right[1] > right[0] - 0.05


def test_two_labels_are_learnt_from_though_nothing_can_be_validated():
    points, which = groups([10, 10])
    pool, taught = pool_of(points, np.where(np.isin(np.arange(20), [0, 10]), which, -1), 2)
    assert (taught.strength, taught.accuracy) == (UNVALIDATED[False], None)
    assert (pool.probabilities.argmax(1) == which).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suggest")
    write_classes(folder / "run-data", per_class=10)
    make_run(folder / "run", width=4, dataset={"name": "mrc_folder", "root": str(folder / "run-data")})
    return folder / "run"


def suggested(run, *words):
    result = CliRunner().invoke(command, ["suggest", str(run), "--device", "cpu", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_suggest_writes_what_it_prints(run, tmp_path):
    ids = [f"class{k}/{n:03d}" for k in (0, 1) for n in range(4)]
    rows = [f"{one},{'ring' if one.startswith('class0') else 'rod'}" for one in ids]
    (tmp_path / "labels.csv").write_text("\n".join(["id,class", *rows, "elsewhere/1,ring"]) + "\n")
    words = ("--labels-from", tmp_path / "labels.csv", "--count", 3, "--output", tmp_path / "next.csv")
    result = suggested(run, *words, "--query", "hal", "--set", "query.rounds=1")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "next.csv")
    assert not set(table.id) & set(ids)
    assert set(table.prediction) <= {"ring", "rod"}
    lines = result.stdout.splitlines()[:3]
    assert [line.split()[0] for line in lines] == table.id.tolist()
    assert "note: 8 labels so far; cross-validated accuracy" in result.stderr


def test_where_nothing_has_been_taught_the_query_says_so(run, tmp_path):
    (tmp_path / "labels.csv").write_text("id,class\nclass0/000,ring\n")
    result = suggested(run, "--labels-from", tmp_path / "labels.csv", "--query", "margin")
    assert result.exit_code == 1
    assert "labels of two or more classes" in result.stderr
    assert suggested(run, "--labels-from", tmp_path / "labels.csv", "--query", "typiclust").exit_code == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,kind\na,b\n", "no column 'id'"),
        ("id,class\nx,y\n", "names no class of an id"),
        ("", "is empty"),
    ],
)
def test_other_tables_are_one_line(run, tmp_path, text, complaint):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(CryoregError, match=complaint):
        suggest(run, "random", labels=tmp_path / "labels.csv", device="cpu")
