"""Wilson's interval, against its defining equation and published values."""

import math

import pytest

from cryoreg.proportions import Proportion

Z = 1.959963984540054


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (3, 12), (6, 6), (6, 12), (79, 250), (999, 1000)])
def test_ends_are_where_the_score_test_is_just_passed(right, total):
    """|p̂ - p| = z √(p (1 - p) / n) at both ends, which is the definition; an end at 0 or 1 is exactly that."""
    found = Proportion(right, total)
    assert found.value == right / total
    for end in found.interval:
        assert abs(found.value - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / total), abs=1e-9)
    assert found.interval.low <= found.value <= found.interval.high


def test_published_values():
    """Newcombe 1998, Statistics in Medicine 17:857, Table I: method 3 for 81/263, 15/148, 0/20 and 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for counts, interval in published.items():
        assert Proportion(*counts).interval == pytest.approx(interval, abs=5e-5)


def test_it_is_said_with_the_number():
    assert Proportion(6, 12).said_of("subtomograms") == "50.0 % (25-75 %, 95 % Wilson, 12 subtomograms)"
    assert Proportion(6, 6).said_of("subtomograms") == "100.0 % (61-100 %, 95 % Wilson, 6 subtomograms)"
    assert Proportion(0, 1).said_of("subtomograms").endswith("1 subtomogram)")
