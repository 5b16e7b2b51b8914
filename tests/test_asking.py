"""The study of queries: labels asked for round by round, on features that were embedded once."""

from __future__ import annotations

import numpy as np
import pytest

from cryoreg.benchmark.asking import EMBEDDED, ask
from cryoreg.benchmark.jobs import with_needs
from cryoreg.benchmark.plan import Plan, scores
from cryoreg.benchmark.study import Queried, Study, load_study
from cryoreg.benchmark.tables import summarise
from cryoreg.config import resolve
from cryoreg.config.layers import Layer
from cryoreg.errors import ConfigError

ROUNDS = {"queries": ["random", "margin"], "first": 6, "step": 4, "rounds": 2}


@pytest.fixture
def embedded(tmp_path):
    """Three groups of features, of which the third is rare."""
    rng = np.random.default_rng(0)

    def drawn(counts):
        labels = np.repeat(np.arange(3), counts)
        return (5 * np.eye(8)[labels] + rng.normal(size=(len(labels), 8))).astype(np.float32), labels

    train, test = drawn([60, 60, 6]), drawn([20, 20, 20])
    names = ("train", "train_labels", "test", "test_labels")
    arrays = dict(zip(names, (*train, *test), strict=True))
    np.savez(tmp_path / EMBEDDED, classes=np.array(["a", "b", "c"]), **arrays)
    return tmp_path


def test_all_queries_begin_with_the_same_labels_and_then_ask(embedded):
    found = {
        query: ask(embedded, {"query": query, "sizes": [6, 12, 30], "seed": 2}, [embedded])
        for query in ("random", "coreset", "hal")
    }
    assert all(list(each) == ["6 labels", "12 labels", "30 labels"] for each in found.values())
    begun = [each["6 labels"] for each in found.values()]
    assert begun[0] == begun[1] == begun[2]
    assert found["coreset"]["30 labels"]["per_class"]["c"] > 0.9, "what lies far away is asked for"
    again = ask(embedded, {"query": "hal", "sizes": [6, 12, 30], "seed": 2}, [embedded])
    assert again == found["hal"]


def test_more_labels_than_there_are_end_it(embedded):
    found = ask(embedded, {"query": "random", "sizes": [100, 120, 140], "seed": 0}, [embedded])
    assert list(found) == ["100 labels", "120 labels", "126 labels"]


def study(**changes):
    known = {
        "probes": False,
        "data": {"demo": {"dataset": {"name": "demo", "per_class": 4, "box": 16}}},
        "encoders": {"rb3d": {"name": "rb3d", "norm": "batch", "turns": 8}},
        "starts": {"shipped": {"weights": "rb3d_universe"}},
        "seeds": [0, 1],
        "queried": ROUNDS,
    }
    return Study.model_validate(known | changes)


def test_a_set_is_embedded_once_and_queries_stand_beside_random():
    plan = Plan(study())
    cells = list(plan.asked())
    assert [(cell.start, cell.seed) for cell in cells] == [("random", 0), ("margin", 0), ("random", 1), ("margin", 1)]
    (job,) = {job.key: job for job in with_needs(plan.jobs()) if job.function.endswith(":embed")}.values()
    resolve("finetune", [Layer("test", job.payload["config"])])
    assert cells[0].job.payload["sizes"] == [6, 10, 14]
    results = {
        cell.job.key: {"6 labels": {"accuracy": 0.5 + 0.1 * number, "macro_f1": 0.5, "per_class": {}}}
        for number, cell in enumerate(cells)
    }
    table = summarise(scores(plan, results))
    margin = next(cell for (row, _), cell in table.cells.items() if row.start == "margin")
    assert (margin.mean, margin.difference) == pytest.approx((70, 10)), "60 and 80, against 50 and 70"


def test_weights_of_chance_differ_from_seed_to_seed():
    plan = Plan(study(starts={"random": {}}))
    assert len({job.key for job in with_needs(plan.jobs()) if job.function.endswith(":embed")}) == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"queried": None}, "no settings"), ({"probes": True}, "labels"), ({"settings": {"a": {}}}, "labels")],
)
def test_a_study_compares_something(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        study(**changes)


def test_the_shipped_study_has_five_seeds_and_every_query():
    from cryoreg import registry

    shipped = load_study("du2021")
    assert len(shipped.seeds) == 5
    assert isinstance(shipped.queried, Queried)
    assert set(shipped.queried.queries) == {each.name for each in registry.components("queries") if each.builtin}
    with pytest.raises(ConfigError, match=r"queried.first"):
        load_study("du2021", {"queried": {"first": 1}})
