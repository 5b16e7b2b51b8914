"""The report's figures and sheets of slices, against other ways to compute them."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from cryoreg.analysis.report import figures
from cryoreg.analysis.report.measured import choose_shown
from cryoreg.analysis.report.quality import class_rows, confident_mistakes, evaluation_of, reliabilities
from cryoreg.analysis.report.sprites import sheet_of
from cryoreg.inference.embedding import Embedding


def pixels(sheet):
    return np.asarray(Image.open(io.BytesIO(sheet.jpeg)), float)


def embedding(labels, logits, **changes) -> Embedding:
    """An embedding by a classifier of a, b and c."""
    count = len(labels)
    logits = np.asarray(logits, np.float32)
    card = {"classes": ["a", "b", "c"], "data": "", "calibration": {"temperature": 2.0}}
    known = {
        "samples": np.arange(count),
        "ids": [f"s{i}" for i in range(count)],
        "labels": labels,
        "features": logits,
        "logits": logits,
        "card": card,
        **dict.fromkeys(("groups", "files", "rows", "parts"), [None] * count),
    }
    return Embedding(**(known | changes))


@pytest.fixture(scope="module")
def judged() -> Embedding:
    rng = np.random.default_rng(0)
    labels = [None if draw == 3 else "abc"[draw] for draw in rng.integers(0, 4, 300)]
    logits = rng.normal(size=(300, 3)) + [[2.0 * (name == label) for name in "abc"] for label in labels]
    return embedding(labels, 4 * logits)  # where 2 would be the odds of this making


def test_class_table_and_confusion_agree_with_sklearn(judged):
    evaluation = evaluation_of(judged, "all")
    truth = [label for label in judged.labels if label]
    said = [name for label, name in zip(judged.labels, judged.predictions, strict=True) if label]
    figures_of = {"labels": list("abc"), "average": None}
    for column, score in (("precision", precision_score), ("accuracy", recall_score), ("f1", f1_score)):
        found = [getattr(row, column) for row in class_rows(evaluation)]
        np.testing.assert_allclose(found, score(truth, said, **figures_of))
    counts = Counter(truth)
    assert [row.subtomograms for row in class_rows(evaluation)] == [counts[name] for name in "abc"]
    heat = figures.confusion(evaluation)["data"][0]
    expected = confusion_matrix(truth, said)
    np.testing.assert_array_equal(heat["text"], expected)
    np.testing.assert_allclose(heat["z"], 100 * expected / expected.sum(1, keepdims=True), atol=0.01)


def test_reliability_agrees_with_a_slow_count(judged):
    evaluation = evaluation_of(judged, "all")
    before, after = reliabilities(evaluation)
    assert after.error < before.error, "logits were made twice too large, and T is 2"
    for found, confidences in ((before, evaluation.uncalibrated), (after, evaluation.confidences)):
        rows = []
        for low in range(15):
            held = [i for i, c in enumerate(confidences) if low / 15 < c <= (low + 1) / 15]
            if held:
                right = [evaluation.labels[i] == evaluation.predictions[i] for i in held]
                rows.append((np.mean([confidences[i] for i in held]), np.mean(right), len(held)))
        np.testing.assert_allclose([(one.confidence, one.accuracy, one.subtomograms) for one in found.bins], rows)


def test_mistakes_are_wrong_and_the_most_confident():
    logits = [[5, 0, 0], [0, 9, 0], [0, 0, 7], [3, 0, 0], [0, 8, 0]]
    judged = embedding(["b", "a", "c", "b", None], logits)
    assert confident_mistakes(judged, np.arange(5)) == [1, 0, 3]
    assert confident_mistakes(judged, np.array([0, 2, 3]), count=1) == [0]


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (5, 20)])
def test_each_tile_of_the_sheet_is_where_it_says(size):
    tiles = np.full((23, *size), 40, np.uint8)
    tiles[17] = 220
    sheet = sheet_of(tiles)
    whole, (top, left) = pixels(sheet), sheet.place(17)
    np.testing.assert_allclose(whole[top : top + size[0], left : left + size[1]], 220, atol=3)
    assert (whole > 100).sum() <= np.prod(sheet.pitch), "it runs into others"


def test_the_map_shows_what_is_measured_first():
    chosen = choose_shown(np.array([2, 5]), 10, 4)
    assert len(chosen) == 4
    assert {2, 5} < set(chosen.tolist())
    assert len(choose_shown(np.arange(0, 10, 2), 10, 3)) == 3
    assert set(choose_shown(np.arange(0, 10, 2), 10, 3).tolist()) < set(range(0, 10, 2))
    assert choose_shown(np.array([2]), 5, 99).tolist() == [0, 1, 2, 3, 4]


def test_colours_are_told_apart_by_the_colour_blind():
    """Machado, Oliveira & Fernandes 2009, matrices of full protanopia, deuteranopia and tritanopia, in linear RGB."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    sights = [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
    for palette in (figures.PALETTE, figures.ON_DARK):
        rgb = np.array([[int(one[at : at + 2], 16) / 255 for at in (1, 3, 5)] for one in palette])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        for sight in sights:
            seen = np.clip(linear @ np.array(sight).T, 0, 1)
            lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
            apart = deltaE_ciede2000(lab[:, None], lab[None]) + 100 * np.eye(len(palette))
            assert apart.min() > 10, "a clear difference; 2 is just noticeable"
