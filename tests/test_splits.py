"""Splits: properties over random sets, and for tomograms a search through every assignment."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.splits import Split, label_fraction, require_classes, split
from cryoreg.errors import ConfigError, DataError

FRACTIONS = (0.6, 0.2, 0.2)
SEEDS = range(40)
STABLE = [["s6", "s4", "s3", "s8", "s2", "s7"], ["s5", "s0"], ["s9", "s1"]]


@dataclass
class Set(Subtomograms):
    """What a split looks at."""

    labels: list
    groups: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    classes: list = field(default_factory=list)

    def __post_init__(self):
        self.ids = self.ids or [f"s{i}" for i in range(len(self.labels))]
        self.groups = self.groups or [None] * len(self.labels)
        self.classes = self.classes or [f"c{k}" for k in range(max([-1, *self.labels], key=_number(-1)) + 1)]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        raise NotImplementedError("a split reads no volume")

    def permuted(self, order) -> Set:
        return Set(*([column[i] for i in order] for column in (self.labels, self.groups, self.ids)), self.classes)


def _number(default):
    return lambda label: default if label is None else label


def random_set(seed: int, smallest: int = 5, groups: int = 0) -> Set:
    """Classes of random size, shuffled; with tomograms, each holds its own mixture."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(smallest, 60, rng.integers(2, 13))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).tolist()
    names = [f"tomo{g}" for g in rng.integers(0, groups, len(labels))] if groups else []
    return Set(labels, names)


def counts(dataset: Set, indices) -> np.ndarray:
    return np.bincount([dataset.labels[i] for i in indices], minlength=len(dataset.classes))


def names(dataset: Set, parts) -> list[list[str]]:
    return [[dataset.ids[i] for i in part] for part in parts]


# ---- every split


@pytest.mark.parametrize("groups", [0, 15])
@pytest.mark.parametrize("seed", SEEDS)
def test_parts_are_disjoint_and_complete(seed, groups):
    dataset = random_set(seed, 30 if groups else 5, groups)
    parts = split(dataset, FRACTIONS, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(dataset)))
    assert all(len(part) for part in parts)


@pytest.mark.parametrize("groups", [0, 15])
@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_the_files_does_not_matter(seed, groups):
    dataset = random_set(seed, 30 if groups else 5, groups)
    other = dataset.permuted(np.random.default_rng(seed).permutation(len(dataset)))
    parts, others = split(dataset, FRACTIONS, 3), split(other, FRACTIONS, 3)
    assert names(dataset, parts) == names(other, others)
    few, other_few = label_fraction(dataset, parts.train, 0.5, 3), label_fraction(other, others.train, 0.5, 3)
    assert names(dataset, [few]) == names(other, [other_few])


@pytest.mark.parametrize("groups", [0, 15])
def test_seed_decides_the_split(groups):
    dataset = random_set(0, 30, groups)
    trains = [frozenset(split(dataset, FRACTIONS, seed).train.tolist()) for seed in (*range(10), *range(10))]
    assert trains[:10] == trains[10:]
    assert len(set(trains)) == 10


def test_split_is_stable_between_versions():
    """A split that changes with the program makes reported accuracies incomparable: these are for good."""
    parts = split(Set([0, 0, 0, 1, 1, 1, 0, 1, 0, 1]), FRACTIONS, 0)
    assert names(Set([None] * 10), parts) == STABLE


# ---- stratified


@pytest.mark.parametrize(
    "fractions", [FRACTIONS, (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (1 / 3, 1 / 3, 1 / 3), (0.7, 0.3, 0)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_classes_and_whole_are_within_one_of_their_shares(seed, fractions):
    dataset = random_set(seed, smallest=10)
    totals = counts(dataset, range(len(dataset)))
    for part, fraction in zip(split(dataset, fractions, seed), fractions, strict=True):
        assert np.abs(counts(dataset, part) - totals * fraction).max() < 1
        assert abs(len(part) - len(dataset) * fraction) < 1


@pytest.mark.parametrize(("size", "expected"), [(3, (1, 1, 1)), (4, (2, 1, 1)), (5, (3, 1, 1)), (500, (300, 100, 100))])
@pytest.mark.parametrize("label", [0, None])
def test_known_sizes(size, expected, label):
    assert tuple(map(len, split(Set([label] * size), FRACTIONS))) == expected


@pytest.mark.parametrize("fractions", [FRACTIONS, (0.9, 0.05, 0.05), (0.98, 0.01, 0.01)])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_class_is_in_every_part_however_small(seed, fractions):
    dataset = random_set(seed, smallest=3)
    for part in split(dataset, fractions, seed):
        assert counts(dataset, part).min() >= 1


@pytest.mark.parametrize("seed", range(10))
def test_every_sample_is_as_likely_in_any_part(seed):
    """Over 400 seeds, each of 20 samples is tested about 80 times: ±5 sd of the binomial distribution is ±40."""
    dataset = Set([0] * 20, ids=[f"{seed}-{i}" for i in range(20)])
    tested = np.bincount(np.concatenate([split(dataset, FRACTIONS, s).test for s in range(400)]), minlength=20)
    assert tested.sum() == 400 * 4
    assert np.abs(tested - 80).max() < 40


def test_an_added_file_moves_few_others():
    before = Set([0] * 100)
    after = Set([0] * 101)
    moved = sum(len(np.setdiff1d(a, b)) for a, b in zip(split(before), split(after), strict=True))
    assert moved <= 2


def test_unlabelled_ones_are_trained_on_and_change_nothing_for_the_others():
    dataset = Set([None] * 7 + [0] * 20 + [None] * 3, ids=[f"u{i}" for i in range(7)] + [f"s{i}" for i in range(20)])
    dataset.ids += ["u7", "u8", "u9"]
    alone = Set([0] * 20)
    parts, wanted = (names(each, split(each, FRACTIONS, 4)) for each in (dataset, alone))
    assert parts[1:] == wanted[1:]
    assert [name for name in parts[0] if name.startswith("s")] == wanted[0]
    assert set(parts[0]) - set(wanted[0]) == {f"u{i}" for i in range(10)}


def test_unlabelled_ones_of_a_held_out_tomogram_are_in_no_part():
    dataset = Set([0, 1, None] * 30 + [None] * 5, [f"t{i // 10}" for i in range(90)] + ["t9"] * 4 + [None])
    parts = split(dataset, FRACTIONS)
    held_out = {dataset.groups[i] for part in parts[1:] for i in part}
    assert held_out.isdisjoint(dataset.groups[i] for i in parts.train)
    assert all(dataset.labels[i] is not None for part in parts[1:] for i in part)
    left_out = set(range(95)) - set(np.concatenate(parts).tolist())
    assert left_out == {i for i in range(95) if dataset.labels[i] is None and dataset.groups[i] in held_out}
    assert {90, 91, 92, 93, 94} <= set(parts.train.tolist())


def test_label_fractions_are_of_the_labelled_ones():
    dataset = Set([0] * 20 + [1] * 20 + [None] * 60)
    train = split(dataset, FRACTIONS).train
    assert len(train) == 12 + 12 + 60
    assert counts(dataset, label_fraction(dataset, train, 0.5)).tolist() == [6, 6]
    assert counts(dataset, label_fraction(dataset, train, 1.0)).tolist() == [12, 12]
    assert counts(dataset, label_fraction(dataset, train, 1.0, per_class=3)).tolist() == [3, 3]


# ---- grouped


def assigned(dataset: Set, parts: Split) -> dict[str, int]:
    return {dataset.groups[i]: number for number, part in enumerate(parts) for i in part}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_tomogram_is_cut(seed):
    dataset = random_set(seed, 30, groups=12)
    assert sum(len({dataset.groups[i] for i in part}) for part in split(dataset, FRACTIONS, seed)) == 12


def deviation(tallies: np.ndarray, parts) -> float:
    """Sum of squared deviations of class shares, slowly; infinite where a class is missing in a part."""
    total = 0.0
    for part, fraction in enumerate(FRACTIONS):
        for column in range(tallies.shape[1]):
            have = sum(tallies[unit, column] for unit in range(len(tallies)) if parts[unit] == part)
            total += (have / tallies[:, column].sum() - fraction) ** 2 if have else np.inf
    return total


@pytest.mark.parametrize("seed", range(15))
def test_grouped_split_is_near_the_best_of_all(seed):
    """Seven tomograms have 2187 assignments; no more than one in a hundred is better than ours."""
    rng = np.random.default_rng(seed)
    tallies = rng.poisson(rng.gamma(2, 5, (7, 1)), (7, 3)) + 1
    rows = [(label, f"t{unit}") for unit in range(7) for label in range(3) for _ in range(tallies[unit, label])]
    dataset = Set(*map(list, zip(*rows, strict=True)))
    found = assigned(dataset, split(dataset, FRACTIONS, seed))
    ours = deviation(tallies, [found[f"t{unit}"] for unit in range(7)])
    all_of_them = [deviation(tallies, parts) for parts in itertools.product(range(3), repeat=7)]
    assert np.mean(np.array(all_of_them) < ours - 1e-9) < 0.01


@pytest.mark.parametrize("seed", range(15))
def test_grouped_split_puts_classes_everywhere_where_that_is_possible(seed):
    """Classes that only some tomograms hold: ours fails only where every assignment does."""
    rng = np.random.default_rng(seed)
    tallies = rng.integers(1, 9, (6, 3)) * (rng.random((6, 3)) < 0.6)
    tallies[:, 0] += 1
    rows = [(label, f"t{unit}") for unit in range(6) for label in range(3) for _ in range(tallies[unit, label])]
    dataset = Set(*map(list, zip(*rows, strict=True)))
    possible = any(np.isfinite(deviation(tallies, parts)) for parts in itertools.product(range(3), repeat=6))
    if not possible:
        with pytest.raises(DataError, match="tomograms"):
            split(dataset, FRACTIONS, seed)
        return
    for part in split(dataset, FRACTIONS, seed):
        assert counts(dataset, part).min() >= 1


def test_many_small_tomograms_reach_the_shares():
    dataset = random_set(1, 40, groups=120)
    totals = counts(dataset, range(len(dataset)))
    for part, fraction in zip(split(dataset, FRACTIONS), FRACTIONS, strict=True):
        assert np.abs(counts(dataset, part) / totals - fraction).max() < 0.05


def test_three_tomograms_for_three_parts():
    dataset = Set([0, 1] * 30, [f"t{i // 20}" for i in range(60)])
    assert [len(part) for part in split(dataset, FRACTIONS)] == [20, 20, 20]


def test_samples_without_a_tomogram_are_split_one_by_one():
    dataset = Set([0] * 40, ["t1"] * 10 + [None] * 30)
    parts = split(dataset, FRACTIONS)
    assert [len(part) for part in parts] == [24, 8, 8]
    assert len({number for group, number in assigned(dataset, parts).items() if group == "t1"}) == 1


def test_a_tomogram_may_be_named_like_a_sample():
    dataset = Set([0] * 20, ["s15"] * 5 + [None] * 15)
    parts = split(dataset, FRACTIONS)
    assert sorted(np.concatenate(parts)) == list(range(20))


def test_an_unwanted_part_stays_empty():
    dataset = random_set(2, 30, groups=15)
    assert len(split(dataset, (0.8, 0.2, 0), 1).test) == 0


# ---- label fractions


@pytest.mark.parametrize("seed", SEEDS)
def test_label_fractions_are_nested_and_stratified(seed):
    dataset = random_set(seed)
    train = split(dataset, FRACTIONS, seed).train
    totals = counts(dataset, train)
    smaller: set[int] = set()
    for fraction in (0.01, 0.25, 0.5, 0.75, 1.0):
        chosen = label_fraction(dataset, train, fraction, seed)
        assert len(set(chosen.tolist())) == len(chosen)
        assert smaller <= set(chosen.tolist()) <= set(train.tolist())
        assert counts(dataset, chosen).min() >= 1
        share = np.maximum(totals * fraction, 1)
        assert np.abs(counts(dataset, chosen) - share).max() <= 0.5
        smaller = set(chosen.tolist())
    assert smaller == set(train.tolist())


def test_label_fraction_depends_on_its_seed_alone():
    dataset = random_set(0, 40)
    train = split(dataset, FRACTIONS).train
    chosen = [label_fraction(dataset, train, 0.5, seed).tolist() for seed in (0, 1)]
    assert set(chosen[0]) != set(chosen[1])
    assert label_fraction(dataset, train[::-1], 0.5, 0).tolist() == chosen[0]


def test_label_fraction_is_not_the_head_of_the_split():
    """With one seed for both, the 50 % must not be the samples that a larger training part would give up last."""
    dataset = Set([0] * 100)
    train = split(dataset, FRACTIONS, 0).train
    assert set(label_fraction(dataset, train, 0.5, 0)) != set(train[:30])


def test_labels_per_class_are_the_first_of_each_class_in_the_order_of_the_fractions():
    dataset = Set([0] * 40 + [1] * 60 + [2] * 20)
    train = split(dataset, FRACTIONS, 0).train
    five = label_fraction(dataset, train, 1.0, 3, per_class=5)
    assert counts(dataset, five).tolist() == [5, 5, 5]
    assert set(label_fraction(dataset, train, 1.0, 3, per_class=1)) < set(five)
    assert set(five) < set(label_fraction(dataset, train, 0.5, 3))


# ---- what is refused


def test_more_labels_per_class_than_there_are():
    dataset = Set([0] * 40 + [1] * 10)
    with pytest.raises(DataError, match=r"class 'c1' has 6 subtomograms in the train split, fewer than .* 7"):
        label_fraction(dataset, split(dataset, FRACTIONS, 0).train, 1.0, per_class=7)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_label_fraction_out_of_range(fraction):
    with pytest.raises(ConfigError, match="label fraction"):
        label_fraction(Set([0, 1]), np.array([0, 1]), fraction)


@pytest.mark.parametrize(
    "fractions", [(0.6, 0.2, 0.3), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.5), (float("nan"),) * 3]
)
def test_bad_fractions(fractions):
    with pytest.raises(ConfigError, match="split fractions"):
        split(Set([0] * 10), fractions)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Set([0] * 9 + [1] * 2, classes=["big", "small"]), "class 'small' has 2 subtomograms, too few for 3 parts"),
        (Set([0] * 9, classes=["big", "none"]), "class 'none' has 0 subtomograms"),
        (Set([None] * 2), "the unlabelled part has 2 subtomograms"),
        (Set([]), "no subtomograms"),
        (Set([0] * 9, ["a"] * 5 + ["b"] * 4, classes=["big"]), "class 'big' is in 2 tomograms, too few for 3 parts"),
    ],
)
def test_too_few(dataset, message):
    with pytest.raises(DataError, match=message) as caught:
        split(dataset, FRACTIONS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [([None, None], "no labels"), ([1, 1, None], "a single class .'b'.; a classifier needs two"), ([], "no labels")],
)
def test_a_classifier_needs_two_classes(labels, message):
    with pytest.raises(DataError, match=message):
        require_classes(Set(labels, classes=["a", "b"]))


@pytest.mark.parametrize("name", ["none", "NA", "nan"])
def test_a_class_that_lists_would_lose_is_refused(name):
    """`predict` writes its name into a list, and a cell of that name says that there is no class."""
    with pytest.raises(DataError, match=f"there is a class '{name}', which stands for no class"):
        require_classes(Set([0, 1, 1], classes=["a", name]))


def test_two_classes_are_enough():
    require_classes(Set([0, None, 1]))


# ---- identical subtomograms


def with_copies(seed: int, groups: int = 0) -> Set:
    """A random set in which about a fifth of the samples are copies of another one of their class."""
    dataset = random_set(seed, 30, groups)
    rng = np.random.default_rng(seed)
    dataset.duplicates = [None] * len(dataset)
    for number in range(len(dataset) // 10):
        first = int(rng.integers(len(dataset)))
        other = rng.choice(np.flatnonzero(np.array(dataset.labels) == dataset.labels[first]))
        for index in (first, int(other)):
            dataset.duplicates[index] = dataset.duplicates[first] or f"copy {number}"
    return dataset


def together(dataset: Set, parts: Split) -> bool:
    part = {i: number for number, indices in enumerate(parts) for i in indices.tolist()}
    keys = set(dataset.duplicates) - {None}
    return all(len({part[i] for i, k in enumerate(dataset.duplicates) if k == key}) == 1 for key in keys)


@pytest.mark.parametrize("seed", SEEDS)
def test_copies_stay_together(seed):
    dataset = with_copies(seed)
    parts = split(dataset, FRACTIONS, seed)
    assert together(dataset, parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(dataset)))
    totals = counts(dataset, range(len(dataset)))
    for part, fraction in zip(parts, FRACTIONS, strict=True):
        assert np.abs(counts(dataset, part) / totals - fraction).max() < 0.2


@pytest.mark.parametrize("seed", range(10))
def test_tomograms_that_share_a_copy_stay_together(seed):
    dataset = random_set(seed, 30, groups=12)
    first, other = (dataset.groups.index(name) for name in ("tomo3", "tomo8"))
    dataset.labels[other] = dataset.labels[first]
    dataset.duplicates = [7 if i in (first, other) else None for i in range(len(dataset))]
    found = [assigned(dataset, split(dataset, FRACTIONS, s)) for s in range(8)]
    assert all(parts["tomo3"] == parts["tomo8"] for parts in found)
    dataset.duplicates = None
    free = [assigned(dataset, split(dataset, FRACTIONS, s)) for s in range(8)]
    assert any(parts["tomo3"] != parts["tomo8"] for parts in free)


@pytest.mark.parametrize("groups", [0, 15])
@pytest.mark.parametrize("seed", range(10))
def test_knowing_that_there_are_no_copies_changes_nothing(seed, groups):
    dataset = random_set(seed, 30, groups)
    plain = names(dataset, split(dataset, FRACTIONS, seed))
    dataset.duplicates = [None] * (len(dataset) - 1) + ["alone"]
    assert names(dataset, split(dataset, FRACTIONS, seed)) == plain


def test_an_unlabelled_copy_is_trained_on_only_where_its_labelled_one_is():
    dataset = Set([0] * 20 + [None] * 10)
    dataset.duplicates = [1] + [None] * 28 + [1]
    found = [[0 in part and 29 in part for part in split(dataset, FRACTIONS, seed)] for seed in range(20)]
    trained = [0 in split(dataset, FRACTIONS, seed).train for seed in range(20)]
    assert found == [[here, False, False] for here in trained]
    assert len(set(trained)) == 2
    assert all(29 not in np.concatenate(split(dataset, FRACTIONS, seed)) for seed in range(20) if not trained[seed])


def test_copies_with_different_labels_are_refused():
    dataset = Set([0, 1] * 10, classes=["ribosome", "proteasome"])
    dataset.duplicates = [5 if i in (4, 9) else None for i in range(20)]
    with pytest.raises(DataError) as caught:
        split(dataset, FRACTIONS)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for phrase in ("'s4'", "'s9'", "class 'ribosome'", "class 'proteasome'", "; remove one"):
        assert phrase in message
