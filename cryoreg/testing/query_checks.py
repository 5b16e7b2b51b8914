"""What a query promises. It sees features of three groups, some labelled, and what a classifier says of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Pool, Query
from cryoreg.specs import QuerySpec
from cryoreg.testing.checks import NotApplicable, require

SIZE = 60
COUNT = 7
_CLASSES = 3


def pool_of(labelled: int = 12, seed: int = 0) -> Pool:
    """Return a pool of three groups of features, the first ``labelled`` of which have their group as label."""
    rng = np.random.default_rng(seed)
    groups = np.arange(SIZE) % _CLASSES
    features = (rng.normal(size=(SIZE, 8)) + 3 * np.eye(8)[groups]).astype(np.float32)
    logits = rng.normal(size=(SIZE, _CLASSES)) + 2 * np.eye(_CLASSES)[groups]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    known = np.arange(SIZE) < labelled
    return Pool(features, np.where(known, groups, -1), chances if labelled else np.full(chances.shape, 1 / _CLASSES))


def chosen_of(spec: QuerySpec, pool: Pool, count: int = COUNT, seed: int = 0) -> NDArray[np.int64]:
    """Return what a query chooses, its randomness from a seed."""
    return np.asarray(spec.build().choose(pool, count, np.random.default_rng(seed)))


def check_build_returns_a_query(spec: QuerySpec) -> None:
    """`build` returns a `cryoreg.contracts.Query`."""
    built = spec.build()
    require(isinstance(built, Query), f"build returns {type(built).__name__}; derive it from contracts.Query")


def check_it_chooses_as_many_rows_as_are_wanted(spec: QuerySpec) -> None:
    """`choose` returns a one-dimensional array of ``count`` whole numbers."""
    for count in (1, COUNT):
        chosen = chosen_of(spec, pool_of(), count)
        require(
            chosen.shape == (count,) and chosen.dtype.kind == "i",
            f"choose returns {chosen.dtype} of shape {chosen.shape}; return int64 ({count},), as many as are wanted",
        )


def check_chosen_rows_differ_and_have_no_label(spec: QuerySpec) -> None:
    """No row is chosen twice, and none that has a label."""
    chosen = chosen_of(spec, pool_of(), 3 * COUNT)
    twice, known = len(chosen) - len(set(chosen.tolist())), int((pool_of().labels[chosen] >= 0).sum())
    require(
        not twice and not known, f"{twice} rows are chosen twice, {known} have a label; choose among pool.unlabelled"
    )


def check_all_are_chosen_where_more_are_wanted(spec: QuerySpec) -> None:
    """Where fewer rows have no label than are wanted, all of them are chosen; where none has, none is."""
    for labelled in (SIZE - 4, SIZE):
        chosen = sorted(chosen_of(spec, pool_of(labelled)).tolist())
        left = pool_of(labelled).unlabelled.tolist()
        require(chosen == left, f"of {len(left)} rows without a label {len(chosen)} are chosen; return all of them")


def check_pool_is_left_alone(spec: QuerySpec) -> None:
    """The query does not write into what it is shown."""
    pool, before = pool_of(), pool_of()
    chosen_of(spec, pool)
    same = (
        np.array_equal(pool.features, before.features)
        and np.array_equal(pool.labels, before.labels)
        and np.array_equal(pool.probabilities, before.probabilities)
    )
    require(same, "choose writes into the pool; copy what it changes")


def check_same_generator_same_choice(spec: QuerySpec) -> None:
    """All randomness follows the generator that is given."""
    first, second = (chosen_of(spec, pool_of()).tolist() for _ in range(2))
    require(first == second, "two generators from one seed give different choices; draw from rng only")


def check_it_begins_without_labels(spec: QuerySpec) -> None:
    """A query that says that it needs no labels chooses before there are any."""
    if spec.needs_labels:
        raise NotApplicable("it needs labels")
    count = len(chosen_of(spec, pool_of(0)))
    require(count >= COUNT, f"without labels {count} of {COUNT} rows are chosen; or say needs_labels = True")
