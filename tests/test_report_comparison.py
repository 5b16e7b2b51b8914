"""`cryoreg report A B`: runs side by side, and in one true line why some cannot be."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binom
from support.synthetic import write_classes

import cryoreg
from cryoreg.analysis.report.comparison import Contender, names_of, pairs_of
from cryoreg.errors import ConfigError
from cryoreg.inference.evaluate import Evaluation
from cryoreg_cli.main import cryoreg as command

FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32"}
ENCODER = {"name": "rb3d", "width": 4}


def contender(name: str, right: list[bool], order: list[int]) -> Contender:
    """A run that is right on these subtomograms, which come in some order."""
    labels = np.zeros(len(right), np.int64)
    said = np.array([0 if right[place] else 1 for place in order])
    ids = tuple(f"s{place:03d}" for place in order)
    return Contender(
        name, None, None, None, Evaluation("test", ("a", "b"), ids, labels, said, np.ones(len(right))), None
    )


def test_pairs_are_counted_by_id_and_their_chance_is_mcnemars():
    first, second = [True] * 20 + [False] * 4 + [True] * 6, [False] * 12 + [True] * 12 + [False] * 6
    runs = [contender("A", first, list(range(30))), contender("B", second, list(range(29, -1, -1)))]
    (pair,) = pairs_of(runs)
    assert pair.only_first.tolist() == [*range(12), *range(24, 30)]
    assert pair.only_second.tolist() == [20, 21, 22, 23]
    assert pair.chance == pytest.approx(2 * binom.cdf(4, 22, 0.5))


def test_chances_of_several_pairs_are_corrected():
    first, second, third = [True] * 30, [True] * 22 + [False] * 8, [False] * 10 + [True] * 20
    runs = [contender(name, right, list(range(30))) for name, right in zip("ABC", (first, second, third), strict=True)]
    alone = {(one.first, one.second): one.chance for pair in ((0, 1), (0, 2), (1, 2)) for one in _alone(runs, pair)}
    ranked = sorted(alone, key=alone.get)
    expected, least = {}, 0.0
    for rank, pair in enumerate(ranked):
        least = max(least, min(1, (3 - rank) * alone[pair]))
        expected[pair] = least
    assert {(one.first, one.second): one.chance for one in pairs_of(runs)} == pytest.approx(expected)


def _alone(runs, pair):
    return [one._replace(first=pair[0], second=pair[1]) for one in pairs_of([runs[number] for number in pair])]


def test_runs_are_called_by_what_tells_them_apart(tmp_path):
    assert names_of([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert names_of([tmp_path / "x" / "run", tmp_path / "y" / "run"]) == ["x/run", "y/run"]
    with pytest.raises(ConfigError, match="compared with itself"):
        names_of([tmp_path / "a", tmp_path / "b" / ".." / "a"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Classifiers of one data set, of which some have another split, and an encoder."""
    root = tmp_path_factory.mktemp("data")
    source = {"name": "mrc_folder", "root": write_classes(root / "mrc", classes=3, per_class=12)}
    common = {"pretrained": "scratch", "encoder": ENCODER, "dataset": source, "learner": "linear_probe", **FAST}
    cryoreg.finetune(root / "one", **common)
    cryoreg.finetune(root / "two", **common, labels_per_class=1)
    cryoreg.finetune(root / "moved", **common, split={"seed": 3})
    cryoreg.finetune(root / "folds", **common, split={"scheme": "cv", "folds": 2})
    cryoreg.pretrain(root / "encoder", encoder=ENCODER, dataset=source, epochs=1, **FAST)
    cryoreg.pretrain(root / "other", encoder=ENCODER, dataset=source, epochs=1, seed=1, **FAST)
    return root


def compare(root, *names, output="page.html"):
    path = root / output
    path.unlink(missing_ok=True)
    result = CliRunner().invoke(command, ["report", *(str(root / name) for name in names), "--output", str(path)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output, path


@pytest.mark.slow
def test_two_classifiers_have_the_figures_of_evaluate(runs):
    status, output, path = compare(runs, "one", "two")
    assert status == 0, output
    page = path.read_text(encoding="utf-8")
    for name in ("one", "two"):
        found = cryoreg.evaluate(runs / name)
        assert f"{100 * found.accuracy:.1f} % ({found.proportion.interval})" in page
        assert f"{found.macro_f1:.3f}" in page
    assert "training.labels_per_class" in page
    assert "between" in output or "better" in output
    assert not re.search(r"https?:", page)


@pytest.mark.slow
def test_encoders_are_compared_by_clusters_and_neighbours(runs):
    status, output, path = compare(runs, "encoder", "other")
    assert status == 0, output
    assert "adjusted Rand index" in output
    assert "training.seed" in path.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("one", "moved"), "they are judged by different test subtomograms ("),
        (("one", "encoder"), "one is a classifier, encoder is an encoder"),
        (("one", "folds"), "one is judged by a part that was held out, folds is judged out of fold"),
        (("one", "one"), "a run is compared with itself"),
        (("one", "nowhere"), "no weights"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(runs, names, reason):
    status, output, path = compare(runs, *names)
    assert (status, len(output.splitlines())) == (1, 1), output
    assert reason in output
    assert not path.exists()
