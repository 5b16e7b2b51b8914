"""The report's verdict: what it says in words, of figures that are known."""

from __future__ import annotations

import numpy as np
import pytest

from cryoreg.analysis.gradcam_figure import CLASSIFIER, ENCODER, RANDOM, Compared, in_words
from cryoreg.analysis.report.doubt import Doubted
from cryoreg.analysis.report.shares import shares_of
from cryoreg.analysis.report.verdict import Verdict, Word, mixing, of_classifier, of_encoder
from cryoreg.inference.evaluate import Evaluation
from cryoreg.proportions import Proportion


def evaluation(table, part: str = "test") -> Evaluation:
    """An evaluation with this confusion matrix (true, predicted) of classes 1, 2, 3, ..."""
    table = np.asarray(table)
    labels, predictions = (np.repeat(index, table.ravel()) for index in map(np.ravel, np.indices(table.shape)))
    ids = tuple(f"s{number}" for number in range(len(labels)))
    return Evaluation(part, tuple("1234"[: len(table)]), ids, labels, predictions, np.ones(len(labels)))


NO_DOUBT = Doubted()


def of(table, learnt=(12, 12, 12), doubted=NO_DOUBT, wary=False, held_out=True, part="test") -> Verdict:
    return of_classifier(evaluation(table, part), learnt, doubted, wary, held_out)


GOOD = [[95, 3, 2], [2, 96, 2], [3, 2, 95]]


def test_a_good_classifier_is_trusted_and_says_why():
    found = of(GOOD, part="cv")
    assert (found.answer, found.headline) == ("yes", "Yes, as far as these data can tell")
    interval = Proportion(286, 300).interval
    assert found.sentences == ["12 labels a class", f"cross-validated 95 % ({interval}) of 300"]
    assert str(found).startswith("Yes, as far as these data can tell: 12 labels a class; cross-validated 95 % (")


def test_numbers_of_labels_that_differ_are_a_range():
    assert of(GOOD, learnt=(8, 30, 14)).sentences[0] == "8 to 30 labels a class"
    assert of(GOOD, learnt=(1, 1)).sentences[0] == "1 label a class"
    assert not any("labels a class" in line for line in of(GOOD, learnt=()).sentences)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"table": [[9, 1], [0, 10]]}, "with care"),  # 20: the interval is wider than 20 points
        ({"table": GOOD, "wary": True}, "with care"),
        ({"table": GOOD, "held_out": False}, "not yet"),
        ({"table": [[80, 0], [20, 0]]}, "not yet"),  # always the largest class
        ({"table": GOOD, "doubted": Doubted(all_differ=True)}, "not yet"),
        ({"table": GOOD, "doubted": Doubted(tomograms=("TS_02",))}, "with care"),
        ({"table": GOOD, "doubted": Doubted(share=Proportion(18, 300))}, "yes"),
        ({"table": GOOD, "doubted": Doubted(share=Proportion(90, 300), many=True)}, "with care"),
    ],
)
def test_the_answer_is_the_worst_of_its_sentences(changes, answer):
    assert of(**changes).answer == answer


def test_doubts_are_said_in_words():
    found = of(GOOD, doubted=Doubted(share=Proportion(18, 300), tomograms=("TS_02",))).sentences
    assert "tomogram TS_02 differs: look at these" in found
    assert "6 % look like nothing you labelled, and of what you labelled about 5 % would" in found
    several = of(GOOD, doubted=Doubted(tomograms=tuple("abcde"))).sentences[-1]
    assert several == "tomograms a, b, c and 2 more differ: look at these"


def test_always_the_largest_class_is_said():
    assert "always saying '1' would be right on 80 %: that is no worse" in of([[80, 0], [20, 0]]).sentences


def test_classes_that_surely_mix_are_named_the_worst_first():
    table = [[60, 20, 20, 0], [0, 100, 0, 0], [35, 0, 65, 0], [2, 0, 0, 18]]
    assert mixing(evaluation(table)) == [
        "class 3 mixes with 1 (35 of 100 are taken for it)",
        "class 1 mixes with 2 (20 of 100 are taken for it)",
    ], "2 of 20 are no more than chance: their interval begins at 3 %"
    for taken in range(1, 40):
        told = bool(mixing(evaluation([[100 - taken, taken], [0, 100]])))
        assert told == (Proportion(taken, 100).interval.low > 0.1)


def test_an_encoder_is_judged_by_its_clusters_and_neighbours():
    nothing = (float("nan"), float("nan"))
    stable = of_encoder((5, 0.97), (0.88, 0.2), [("linear probe", Proportion(88, 100))], None, False)
    assert stable.answer == "yes"
    assert "88 % of nearest neighbours" in str(stable)
    assert of_encoder((5, 0.97), nothing, [], None, False).answer == "with care", "no label says what they are"
    assert of_encoder((5, 0.4), (0.88, 0.2), [], None, False).answer == "not yet"
    assert of_encoder((5, 0.97), (0.21, 0.2), [], None, False).answer == "not yet"
    assert of_encoder((5, 0.97), (0.88, 0.2), [], None, True).answer == "not yet"


def test_a_cluster_of_one_tomogram_is_told():
    tomograms = ["a"] * 50 + ["b"] * 50
    clusters = ["1"] * 30 + ["2"] * 20 + ["1"] * 48 + ["2"] * 2
    shares = shares_of("cluster", tomograms, clusters)
    assert shares.counts.tolist() == [[30, 20], [48, 2]]
    assert shares.lone() == [("2", "a", pytest.approx(20 / 22))]
    assert "cluster 2 is nearly all (91 %) of tomogram a" in str(
        of_encoder((2, 1.0), (0.9, 0.5), [], shares, collapsed=False)
    )
    alone = shares_of("cluster", ["a"] * 50, clusters[:50])
    assert alone.lone() == [], "there is no other tomogram"
    assert shares_of("cluster", [None] * 100, clusters) is None


def test_tomograms_are_in_the_order_of_their_numbers_and_unknown_ones_left_out():
    found = shares_of("prediction", ["t10", "t2", None, "t2"], ["x", "y", "y", None], ["y", "z", "x"])
    assert (found.tomograms, found.groups) == (["t2", "t10"], ["y", "z", "x"])
    assert found.counts.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_nothing_known_is_not_yet():
    assert Verdict([]).answer == "not yet"
    assert Verdict([Word("a"), Word("b", "with care")]).answer == "with care"


def looked(middle: float, edge: float, random: float = 1.0, classifier: bool = True) -> Compared:
    """Maps that have one value in a ball of a quarter of the box about its centre, and another outside."""
    places = np.indices((16, 16, 16)) - 7.5
    inside = (places**2).sum(0) <= 16

    def of_values(a, b):
        return [np.where(inside, a, b).astype(np.float32)]

    trained = {CLASSIFIER if classifier else ENCODER: of_values(middle, edge)}
    return Compared(["a"], [np.zeros((16, 16, 16), np.float32)], {RANDOM: of_values(random, 1.0), **trained}, 10.0)


def test_grad_cam_says_which_share_lies_in_the_middle():
    volume = 4 / 3 * np.pi * 4**3 / 16**3
    said = in_words(looked(1.0, 0.0))
    assert f"classifier, 100 % (random encoder: {100 * volume:.0f} %) lies in the middle" in said
    assert "it looks at what is in the middle" in said
    assert "no more at the middle than elsewhere" in in_words(looked(1.0, 1.0, classifier=False))
    assert "no more at the middle than elsewhere" in in_words(looked(3.0, 1.0, random=9.0)), "a random one looks there"
    assert "In none of these does anything speak" in in_words(looked(0.0, 0.0))
