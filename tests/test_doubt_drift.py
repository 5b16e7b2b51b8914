"""Drift: normal scores, variances and alarms against closed forms; what volumes look like; words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, kurtosis, norm, skew

from cryoreg.doubt import drift
from cryoreg.doubt.appearance import APPEARANCE, CONTRAST, SPECTRUM, appearance
from cryoreg.doubt.drift import (
    CLASS_SHARES,
    FALSE_ALARMS,
    LEAST_REFERENCE,
    Difference,
    Seen,
    differences,
    learn_reference,
    normal_scores,
)
from cryoreg.doubt.words import MOST_TOMOGRAMS, describe, family

NAMES = ("a", "b", "c")
CLASSES = 4


def seen(count: int, seed: int = 0, shift: float = 0.0, tomograms: int = 0, between: float = 0.0, **more) -> Seen:
    """Subtomograms whose property "a" is moved by ``shift``, those of a tomogram together by its own draw."""
    rng = np.random.default_rng(seed)
    predictions = rng.choice(CLASSES, count, p=more.get("shares", [0.25] * CLASSES))
    place = np.arange(count) % max(1, tomograms)
    values = rng.normal(size=(count, len(NAMES))) + 3.0 * predictions[:, None]
    values += between * rng.normal(size=(max(1, tomograms), len(NAMES)))[place]
    values[:, 0] += shift
    return Seen(values, predictions, [f"t{number}" if tomograms else None for number in place])


def reference(count: int = 200, seed: int = 100, **more) -> drift.Reference:
    return learn_reference(NAMES, seen(count, seed, **more), seen(count, seed + 1, **more), CLASSES)


def test_normal_scores_are_those_of_shares():
    known = np.sort(np.random.default_rng(0).normal(size=(9, 2)), axis=0)
    values = np.array([[-100.0, 100.0], [known[4, 0], 0.0]])
    found = normal_scores(known, values)
    below = (known[:, 1] < 0).sum()
    expected = [[norm.ppf(0.5 / 10), norm.ppf(9.5 / 10)], [0.0, norm.ppf((below + 0.5) / 10)]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("tomograms", [0, 8])
def test_the_same_kind_of_data_raises_few_alarms(tomograms):
    """At most one call of twenty; with 100 calls, up to 5 + 3 · sqrt(100 · 0.05 · 0.95) are luck."""
    made = {"tomograms": tomograms, "between": 0.5 if tomograms else 0.0}
    draws = ((reference(160, 1000 + 3 * n, **made), seen(80, 5000 + n, **made)) for n in range(100))
    alarms = sum(bool(differences(*draw)) for draw in draws)
    assert alarms <= 100 * FALSE_ALARMS + 3 * math.sqrt(100 * FALSE_ALARMS * (1 - FALSE_ALARMS))


@pytest.mark.parametrize("tomograms", [0, 8])
def test_a_shift_by_a_standard_deviation_is_found_and_named(tomograms):
    known = reference(tomograms=tomograms, between=0.1)
    found = [each for each in differences(known, seen(100, shift=1.0, tomograms=tomograms)) if each.tomogram is None]
    assert [each.name for each in found] == ["a"]
    assert found[0].shift == pytest.approx(1.0, abs=4 / math.sqrt(50))
    assert found[0].mean - found[0].usual == pytest.approx(1.0, abs=1.0)


def test_where_tomograms_vary_much_a_shift_as_large_is_usual():
    quiet, varied = (reference(tomograms=8, between=between) for between in (0.0, 1.0))
    moved = seen(100, shift=1.2)
    assert differences(quiet, moved)
    assert not differences(varied, moved)


def test_one_tomogram_that_differs_is_named():
    whole = seen(120, 1, tomograms=4)
    whole.values[np.array(whole.groups) == "t2", 1] += 2.5
    found = {each.tomogram: each.name for each in differences(reference(tomograms=8), whole)}
    assert found["t2"] == "b"
    assert not found.keys() - {"t2", None}


def test_other_class_shares_are_told_as_such_and_shift_nothing_else():
    """Values follow the class, so the shares alone move the means; about the class they stay."""
    found = differences(reference(400), seen(200, 3, shares=[0.85, 0.05, 0.05, 0.05]))
    assert [(each.name, each.label) for each in found] == [(CLASS_SHARES, 0)]
    assert found[0].usual == pytest.approx(0.25, abs=0.1)
    assert found[0].mean == pytest.approx(0.85, abs=0.1)


def test_the_statistic_of_shares_is_scipys():
    table = np.array([[5, 0, 9, 3], [7, 0, 2, 8]])
    expected = chi2_contingency(np.delete(table, 1, axis=1), correction=False)
    assert drift._chi_square(table) == (pytest.approx(expected.statistic), expected.dof)


def test_variance_between_tomograms_is_found():
    """The variance of means of 200 about a spread of 1 is that between tomograms in units of all: 1 / (1 + 1)."""
    between = reference(4000, tomograms=20, between=1.0).between
    assert between.mean() == pytest.approx(0.5, abs=0.5 * 3 * math.sqrt(2 / 38 / 3) + 0.1)
    assert reference(4000, tomograms=20).between.mean() < 0.01


def test_too_few_tell_nothing():
    few = reference(LEAST_REFERENCE - 1)
    assert not differences(few, seen(100, shift=50.0))
    assert not differences(reference(), Seen(np.zeros((0, 3)), np.zeros(0, int), []))


def test_of_a_class_that_validation_never_had_shares_alone_are_compared():
    """Of what its values usually are nothing is known; those of the other classes tell as before."""
    three = [1 / 3, 1 / 3, 1 / 3, 0]
    known = learn_reference(NAMES, seen(120, shares=three), seen(120, 1, shares=three), CLASSES)
    strange = seen(60, 2, shares=three)
    strange.predictions[:20] = 3
    strange.values[:20] += 50
    assert [(each.name, each.label) for each in differences(known, strange)] == [(CLASS_SHARES, 3)]
    strange.values[20:, 0] += 2
    assert {each.name for each in differences(known, strange)} == {CLASS_SHARES, "a"}


def of_classes(rng: np.random.Generator, middles: np.ndarray, counts, shift: float = 0.0) -> Seen:
    """So many subtomograms of each class, one standard deviation about its middle, the first property moved."""
    labels = np.repeat(np.arange(len(middles)), counts)
    values = middles[labels] + rng.normal(size=(len(labels), middles.shape[1]))
    values[:, 0] += shift
    return Seen(values, labels, [None] * len(labels))


def called(apart: float, validation, new, shift: float = 0.0, calls: int = 100) -> list[set[str]]:
    """What is told, but for shares, in calls on classes whose middles are ``apart`` standard deviations."""
    rng, told = np.random.default_rng(0), []
    validation = np.array(validation)
    for _ in range(calls):
        middles = apart * rng.normal(size=(len(validation), 9))
        draws = (of_classes(rng, middles, counts) for counts in (validation, 3 * validation))
        known = learn_reference([str(k) for k in range(9)], *draws, len(validation))
        told.append({each.name for each in differences(known, of_classes(rng, middles, new, shift))} - {CLASS_SHARES})
    return told


ONE = [0, 0, 30, 0, 0]


@pytest.mark.parametrize("apart", [0, 3, 10])
@pytest.mark.parametrize(
    ("validation", "new"),
    [
        ([6] * 5, [6] * 5),
        ([6] * 5, ONE),
        ([12] * 5, ONE),
        ([10, 10, 1, 10, 10], ONE),
        ([10, 10, 1, 10, 10], [8, 8, 1, 8, 8]),
        ([2] * 15, [2] * 15),
        ([1] * 10 + [4] * 8, [0] * 9 + [30] + [0] * 8),
    ],
)
def test_other_shares_raise_few_alarms_however_far_classes_are_apart(apart, validation, new):
    """Means of a few must not be drawn to those of other classes: of one class 86 of 100 calls warned, 10 sd apart."""
    alarms = sum(map(bool, called(apart, validation, new)))
    assert alarms <= 100 * FALSE_ALARMS + 3 * math.sqrt(100 * FALSE_ALARMS * (1 - FALSE_ALARMS))


@pytest.mark.parametrize("apart", [0, 10])
@pytest.mark.parametrize("new", [[20] * 5, [0, 0, 100, 0, 0]])
def test_a_shift_is_found_whatever_the_shares(apart, new):
    told = called(apart, [30] * 5, new, shift=1.5, calls=40)
    assert sum("0" in each for each in told) >= 38


# What volumes look like


def test_appearance_is_its_definition():
    """Each column from a slow loop over voxels and frequencies, and SciPy's moments."""
    rng = np.random.default_rng(0)
    volumes = rng.normal(size=(2, 1, 6, 8, 10))
    volumes = (volumes - volumes.mean((1, 2, 3, 4), keepdims=True)) / volumes.std((1, 2, 3, 4), keepdims=True)
    found = appearance(torch.from_numpy(volumes)).numpy()
    for volume, row in zip(volumes[:, 0], found, strict=True):
        power, inside = [0.0] * 4, np.zeros(volume.shape, bool)
        spectrum = np.abs(np.fft.fftn(volume)) ** 2
        for place in np.ndindex(*volume.shape):
            steps = [min(i, n - i) / (n / 2) for i, n in zip(place, volume.shape, strict=True)]
            radius = math.sqrt(sum(step**2 for step in steps))
            inside[place] = math.dist([i / n for i, n in zip(place, volume.shape, strict=True)], [0.5] * 3) <= 0.25
            if 0 < radius <= 1:
                power[math.ceil(radius * 4) - 1] += spectrum[place]
        expected = [math.log(each / spectrum.sum()) for each in power]
        expected += [volume[inside].mean() - volume[~inside].mean()]
        expected += [skew(volume, axis=None), kurtosis(volume, axis=None, fisher=False)]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_brightness_and_gain_change_nothing_and_a_sign_turns_contrast_and_skewness():
    from cryoreg.datasets.normalisation import normalise

    volumes = torch.randn(3, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    volumes[:, :, 3:5, 3:5, 3:5] += 4
    plain, moved, inverted = (appearance(normalise(x)) for x in (volumes, 7 * volumes + 1000, -volumes))
    torch.testing.assert_close(moved, plain, rtol=1e-3, atol=1e-3)
    signs = torch.tensor([1.0] * 4 + [-1.0, -1.0, 1.0])
    torch.testing.assert_close(inverted, signs * plain, rtol=1e-4, atol=1e-4)


def test_appearance_is_exact_under_autocast():
    volumes = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        coarse = appearance(volumes)
    assert torch.equal(coarse, appearance(volumes))


# Words


def different(name: str, tomogram: str | None = None, **more) -> Difference:
    return Difference(tomogram, name, **{"shift": 2.0, "mean": 1.0, "usual": 0.5} | more)


def test_each_kind_is_told_once_by_its_strongest():
    found = [different(SPECTRUM[0]), different(SPECTRUM[3], shift=-3.0), different("feature component 1")]
    (line,) = describe(found, [])
    assert "power spectrum (¾–1 of Nyquist, -3.0 sd)" in line
    assert "features (+2.0 sd)" in line
    assert line.count("power spectrum") == 1


def test_inverted_density_is_said():
    (line,) = describe([different(CONTRAST, mean=-0.4, usual=0.5)], [])
    assert "darker than what surrounds them, brighter in training" in line
    assert "darker" not in describe([different(CONTRAST, mean=0.9)], [])[0]


def test_tomograms_are_named_up_to_a_few():
    found = [different("a", f"TS_{n}") for n in range(MOST_TOMOGRAMS + 3)]
    lines = describe([different(CLASS_SHARES, label=1), *found], ["x", "ribosome"])
    assert "100 % ribosome, 50 % in validation" in lines[0]
    assert lines[1].startswith("tomogram TS_0 differs")
    assert lines[-1].startswith("3 more tomograms")
    assert len(lines) == MOST_TOMOGRAMS + 2


def test_every_property_has_a_kind():
    kinds = {family(different(name)) for name in (*APPEARANCE, "confidence", CLASS_SHARES, "feature component 1")}
    assert kinds == {"power spectrum", "contrast", "grey values", "confidence", CLASS_SHARES, "features"}
