"""How runs divide few tomograms and few labels: properties that are known without the code."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from support.synthetic import Listed

from cryoreg.config.settings import SplitSettings
from cryoreg.datasets.divisions import blocks, divide, folds_of, scheme_that_fits
from cryoreg.datasets.splits import split
from cryoreg.errors import ConfigError, DataError
from cryoreg_cli import next_steps

CV = {"scheme": "cv"}


def in_tomograms(tomograms, per_class, classes=3, placed=False, seed=0):
    """Each class in each tomogram, ``per_class`` times, at random places."""
    rows = [(label, f"t{t}") for t in range(tomograms) for label in range(classes) for _ in range(per_class)]
    labels, groups = map(list, zip(*rows, strict=True))
    places = np.random.default_rng(seed).uniform(0, 100, (len(rows), 3)) if placed else None
    return Listed(labels, groups, positions=places)


def tomograms(dataset, samples):
    return {dataset.groups[index] for index in samples}


def division(dataset, **settings):
    return divide(dataset, SplitSettings(**settings))


# ---- parts


def test_many_tomograms_are_split_as_ever():
    dataset = in_tomograms(6, 4)
    found = division(dataset, seed=2)
    assert found.by == "tomogram"
    assert found.warning is None
    for ours, plain in zip(found.parts, split(dataset, (0.6, 0.2, 0.2), 2), strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("placed", [False, True])
def test_one_or_two_tomograms_are_cut_and_that_is_said(count, placed):
    dataset = in_tomograms(count, 20, placed=placed)
    found = division(dataset)
    assert sorted(np.concatenate(found.parts).tolist()) == list(range(len(dataset)))
    assert tomograms(dataset, found.parts.test) <= tomograms(dataset, found.parts.train)
    assert found.by == ("position" if placed else "particle")
    assert "too good" in found.warning
    assert f"({count} tomogram{'s' * (count > 1)})" in found.warning


def test_whole_tomograms_may_be_asked_for():
    with pytest.raises(DataError, match=r"in 2 tomograms, too few for 3 parts.*split.by=position"):
        division(in_tomograms(2, 20), by="tomogram")


@pytest.mark.parametrize("scheme", ["parts", "cv"])
@pytest.mark.parametrize(("groups", "unnamed"), [([None] * 40, 40), ([None, *["t1", "t2", "t3"] * 13], 1)])
def test_whole_tomograms_that_nobody_names_are_an_error(groups, unnamed, scheme):
    """By particles the accuracy would be of another kind than the one that was asked for."""
    with pytest.raises(DataError, match=rf"split.by is tomogram, but {unnamed} of 40 subtomograms name none"):
        division(Listed([0, 1] * 20, groups), by="tomogram", scheme=scheme)


def test_particles_may_be_asked_for_where_tomograms_are_many():
    found = division(in_tomograms(6, 10), by="particle")
    assert found.by == "particle"
    assert "6 tomograms" in found.warning


def test_without_tomograms_there_is_nothing_to_warn_of():
    assert division(Listed([0, 1] * 20)).warning is None


def test_positions_must_be_known():
    with pytest.raises(DataError, match=r"knows no positions; say --set split.by=particle"):
        division(in_tomograms(1, 20), by="position")


def test_folds_are_for_cross_validation():
    with pytest.raises(ConfigError, match="--split cv"):
        division(in_tomograms(1, 20), folds=3)


# ---- blocks


def test_blocks_are_boxes_in_space():
    """Along a line, blocks are successive stretches of equal length, each tomogram for itself."""
    places = np.zeros((64, 3))
    places[:, 1] = np.tile(np.arange(32), 2)
    dataset = Listed([0] * 64, ["a"] * 32 + ["b"] * 32, positions=places)
    names = blocks(dataset, 8)
    assert len(set(names)) == 8
    for half in (names[:32], names[32:]):
        assert [len(list(run)) for _, run in itertools.groupby(half)] == [8, 8, 8, 8]
    assert not set(names[:32]) & set(names[32:])


def test_blocks_do_not_overlap_and_do_not_depend_on_the_order():
    dataset = in_tomograms(1, 30, placed=True)
    names = blocks(dataset, 12)
    sizes = np.unique(names, return_counts=True)[1]
    assert len(sizes) == 16
    assert sizes.max() - sizes.min() <= 1
    boxes = [np.stack([p.min(0), p.max(0)]) for n in set(names) for p in [dataset.positions[np.array(names) == n]]]
    for (low, high), (other_low, other_high) in itertools.combinations(boxes, 2):
        assert ((high < other_low) | (other_high < low)).any(), "two boxes share a place"
    order = np.random.default_rng(1).permutation(len(dataset))
    ids, labels = ([column[i] for i in order] for column in (dataset.ids, dataset.labels))
    other = Listed(labels, ["t0"] * len(order), ids, dataset.positions[order])
    assert [names[i] for i in order] == blocks(other, 12)


# ---- folds


@pytest.mark.parametrize("seed", range(5))
def test_each_labelled_one_is_in_one_fold_and_no_tomogram_in_two(seed):
    dataset = in_tomograms(7, 3)
    dataset.labels[::4] = [None] * len(dataset.labels[::4])
    folds = folds_of(dataset, SplitSettings(scheme="cv", seed=seed))
    assert folds.by == "tomogram"
    assert len(folds.members) == 5
    together = np.concatenate(folds.members).tolist()
    assert sorted(together) == [index for index, label in enumerate(dataset.labels) if label is not None]
    for one, other in itertools.combinations(folds.members, 2):
        assert not tomograms(dataset, one) & tomograms(dataset, other)


@pytest.mark.parametrize(("per_class", "count"), [(2, 2), (3, 3), (4, 4), (5, 5), (9, 5)])
def test_there_are_as_many_folds_as_the_smallest_class_allows(per_class, count):
    labels = [0] * 30 + [1] * per_class
    folds = folds_of(Listed(labels), SplitSettings(scheme="cv"))
    assert len(folds.members) == count
    assert all({labels[index] for index in fold} == {0, 1} for fold in folds.members)


def test_three_tomograms_make_three_folds_and_one_is_cut():
    assert len(folds_of(in_tomograms(3, 4), SplitSettings(**CV)).members) == 3
    cut = folds_of(in_tomograms(1, 10), SplitSettings(**CV))
    assert (cut.by, len(cut.members)) == ("particle", 5)
    assert folds_of(in_tomograms(1, 30, placed=True), SplitSettings(**CV)).by == "position"


def test_more_folds_than_there_can_be():
    with pytest.raises(DataError, match=r"split.folds is 6, but a class is in no more than 3 tomograms"):
        folds_of(in_tomograms(3, 9), SplitSettings(**CV, folds=6))
    with pytest.raises(DataError, match="no more than 4 labelled subtomograms"):
        folds_of(Listed([0] * 9 + [1] * 4), SplitSettings(**CV, folds=5))
    with pytest.raises(DataError, match="class 'c1' has a single label"):
        folds_of(Listed([0] * 9 + [1]), SplitSettings(**CV))


@pytest.mark.parametrize("dataset", [in_tomograms(6, 4), in_tomograms(1, 20, placed=True), Listed([0, 1] * 12)])
def test_over_the_folds_each_is_tested_once_and_never_learnt_from(dataset):
    count = len(folds_of(dataset, SplitSettings(**CV)).members)
    tested = []
    for fold in range(1, count + 1):
        parts = division(dataset, **CV, fold=fold).parts
        tested += parts.test.tolist()
        assert not set(parts.test) & {*parts.train, *parts.val}
        assert not set(parts.train) & set(parts.val)
        assert {dataset.labels[i] for i in parts.train} == {dataset.labels[i] for i in parts.val} == set(dataset.labels)
    assert sorted(tested) == list(range(len(dataset)))


def test_two_labels_of_a_class_leave_none_to_validate_with():
    parts = division(Listed([0] * 8 + [1] * 2), **CV, fold=1).parts
    assert len(parts.val) == 0
    assert len(parts.train) == 5


def test_without_a_fold_all_is_learnt_from():
    dataset = in_tomograms(3, 4)
    dataset.labels[:5] = [None] * 5
    parts = division(dataset, **CV).parts
    assert (sorted(parts.train.tolist()), len(parts.val), len(parts.test)) == (list(range(36)), 0, 0)


def test_unlabelled_ones_of_a_held_out_tomogram_are_not_learnt_from():
    dataset = in_tomograms(4, 4)
    dataset.labels[::3] = [None] * len(dataset.labels[::3])
    parts = division(dataset, **CV, fold=1).parts
    assert not tomograms(dataset, parts.train) & tomograms(dataset, parts.test)
    with pytest.raises(ConfigError, match=r"split.fold is 9"):
        division(dataset, **CV, fold=9)


@pytest.mark.parametrize(
    ("rows", "scheme"),
    [
        ([(label, f"t{t}") for label in "ab" for t in range(3)], "parts"),
        ([("a", f"t{t}") for t in range(3)] + [("b", "t0"), ("b", "t1")], "cv"),
        ([("a", f"t{t}") for t in range(3)] + [("b", "t0"), ("b", "t0")], "cv"),
        ([("a", "t0"), ("a", "t1"), ("b", "t2")], "parts"),  # neither will do, as finetune says
        ([("a", None)] * 3 + [("b", None)] * 2, "cv"),
    ],
)
def test_labels_that_are_too_few_for_parts_are_cross_validated(rows, scheme):
    labels, groups = zip(*rows, strict=True)
    dataset = Listed(["ab".index(label) for label in labels], list(groups))
    assert scheme_that_fits(dataset) == scheme
    said = next_steps.after_labels(Path("picks.star"), False, Path("labels.csv"), scheme, {}, [])
    assert said.endswith("--labels-from labels.csv" + " --split cv" * (scheme == "cv"))
