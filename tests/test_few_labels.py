"""`benchmarks/few_labels.py`: what is run once, and on what."""

import re
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

import cryoreg
from cryoreg.contracts import Material

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="benchmarks/ is not part of this source")


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def row(few_labels, **changes):
    key = few_labels.Key("ten-maps", "rb3d, 20 Å", "weights", "0123abcd", "frozen", 1, 5, 0)._replace(**changes)
    return few_labels.Row(key, "run, 3", 0.5, 0.4, 1000, 2.0, "a machine, 1 thread", "python x.py --only 'a b'")


def test_rows_are_read_back_and_not_asked_for_again(tmp_path):
    import few_labels

    ledger = few_labels.Ledger(tmp_path / "new" / "rows.csv")
    rows = [row(few_labels), row(few_labels, seed=1), row(few_labels, weights="", start="random")]
    for each in rows:
        ledger.add(each)
    again = few_labels.Ledger(ledger.path)
    assert few_labels.read_rows(ledger.path) == rows
    assert again.done == {each.key for each in rows}
    assert row(few_labels, weights="other").key not in again.done


def test_tables_compare_with_random_weights_of_the_same_network():
    import few_labels

    rows = [
        row(few_labels, start=start, weights="" if start == "random" else "0123abcd", encoder=encoder, seed=seed)
        ._replace(accuracy=accuracy + 0.01 * seed)
        for start, encoder, accuracy in (("random", "a", 0.1), ("random", "b", 0.3), ("weights", "b", 0.5))
        for seed in range(3)
    ]  # fmt: skip
    lines = few_labels.table(rows).splitlines()
    gained = next(line for line in lines if "run, 3 0123" in line)
    assert "51.0 ± 1.0 (+20.0**)" in gained


def test_only_narrows_what_it_names():
    import few_labels

    options = Namespace(only=["selection", "frozen"], weights=None)
    data, starts, ways = few_labels.chosen(options)
    assert data == ["other-structures", "unseen-universe"]
    assert starts == ["descriptors", "random", "vicreg", "moco"]
    assert ways == ["frozen"]
    with pytest.raises(SystemExit, match="--only frosen"):
        few_labels.chosen(Namespace(only=["frosen"], weights=None))


def test_the_ten_maps_choose_nothing():
    from target_sets import CELL_AVERAGES, OTHER_MAPS, TARGETS, TEN_MAPS

    assert not set(TEN_MAPS) & {*OTHER_MAPS, *CELL_AVERAGES}
    assert {name for name, target in TARGETS.items() if target.role == "selection"} == {
        "other-structures",
        "unseen-universe",
    }


@pytest.mark.slow
def test_a_second_call_runs_nothing(tmp_path, monkeypatch, capsys):
    import few_labels
    import target_sets

    from cryoreg.datasets.universe_set import UniverseSet

    small = target_sets.TARGETS["unseen-universe"]._replace(make=lambda data, count: UniverseSet(4, 48, seed=3, box=12))
    monkeypatch.setitem(target_sets.TARGETS, "unseen-universe", small._replace(file="small.h5"))
    options = ["--work", str(tmp_path), "--out", str(tmp_path / "rows.csv"), "--labels", "1", "2", "--seeds", "0"]
    chosen = ["--only", "unseen-universe", "random", "descriptors", "frozen", "fine-tuned"]
    monkeypatch.setattr(sys, "argv", ["few_labels.py", *options, *chosen])
    monkeypatch.setattr("few_labels_networks.EPOCHS", {5: 1})
    few_labels.main()
    first = few_labels.read_rows(tmp_path / "rows.csv")
    assert {(each.key.start, each.key.way) for each in first} == {
        ("descriptors", "frozen"),
        ("random", "frozen"),
        ("random", "fine-tuned"),
    }
    assert len(first) == 6
    assert all(0 <= each.accuracy <= 1 and each.tested == first[0].tested for each in first)
    assert not list((tmp_path / "runs").iterdir())
    capsys.readouterr()
    few_labels.main()
    assert few_labels.read_rows(tmp_path / "rows.csv") == first
    assert "seed 0  " not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["linear_probe", "prototypes", "label_propagation"])
def test_a_learner_taught_by_features_answers_as_one_around_their_network(name):
    from few_labels_networks import features
    from frozen_learners import UNLABELLED, FrozenLearner

    torch.manual_seed(0)
    encoder = cryoreg.create_encoder("rb3d", width=4, norm="batch", turns=4)
    labels = torch.arange(40) % 3
    x = torch.randn(40, 1, 12, 12, 12) + 2 * torch.randn(3, 1, 12, 12, 12)[labels]
    shown, rest, asked = slice(12), slice(12, 30), slice(30, None)

    learner = cryoreg.create_learner(name, encoder, 3)
    learner.begin_epoch(0, 1, Material([(x[shown], labels[shown])], [], [x[rest]]))
    with torch.no_grad():
        expected = learner.eval().answer(x[asked]).logits.argmax(1).numpy()

    found = features(encoder, x, 1, "cpu")
    known = np.where(np.arange(40) < 12, labels.numpy(), UNLABELLED)
    np.testing.assert_array_equal(FrozenLearner(name).fit(found[:30], known[:30]).predict(found[asked]), expected)
    assert len(set(expected)) == 3


def test_a_learner_that_is_trained_by_steps_is_refused():
    from frozen_learners import FrozenLearner

    with pytest.raises(SystemExit, match="--learners mean_teacher: it is trained by steps"):
        FrozenLearner.require("mean_teacher")
    FrozenLearner.require("label_propagation")


def test_each_learner_is_a_way_of_its_own():
    import few_labels

    options = {"unit_length": False, "C": 0.1, "learners": ["prototypes", "label_propagation"]}
    assert few_labels.frozen_ways(Namespace(**options)) == ["frozen, prototypes", "frozen, label_propagation"]
    assert few_labels.frozen_ways(Namespace(**options | {"learners": []})) == ["frozen"]


def test_labelled_samples_are_not_tested(tmp_path):
    import few_labels

    class Data:
        classes = ("a", "b")
        ids = tuple(map(str, range(40)))
        labels = tuple(index % 2 for index in range(40))
        groups = (None,) * 40
        duplicates = None

        def __len__(self):
            return 40

    trial = few_labels.Trial.__new__(few_labels.Trial)
    trial.dataset, trial._parts, trial.target = Data(), {}, few_labels.TARGETS["lab-layout"]
    for seed in range(3):
        chosen = trial.labelled(5, seed)
        assert np.bincount(trial.truth(chosen)).tolist() == [5, 5]
        assert not set(chosen.tolist()) & set(trial.parts(seed).test.tolist())


def test_results_name_no_place_of_a_machine(monkeypatch):
    """What is committed says how to repeat it, not where its author's files lay."""
    from command_lines import command_line

    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "--work", "/home/me/there", "--only", "a b"])
    assert command_line() == "python benchmarks/x.py --work there --only 'a b'"
    assert command_line(["/usr/bin/python", "y.py"]) == "python y.py"
    results = [path for path in (BENCHMARKS / "results").rglob("*") if path.suffix in (".csv", ".json")]
    assert results
    assert [path.name for path in results if re.search(r"(^|[ \"'=])/\w+/", path.read_text())] == []
