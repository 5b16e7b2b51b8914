"""Shares of counted things, such as an accuracy, with the interval that fits their number."""

from __future__ import annotations

import math
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class Interval(NamedTuple):
    """Where a share lies that was counted on a few of many."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """How far apart its ends are."""
        return self.high - self.low

    def __str__(self) -> str:
        """Write it in per cent: "25-75 %"."""
        return f"{100 * self.low:.0f}-{100 * self.high:.0f} %"


class Proportion:
    """``right`` of ``total``, and Wilson's interval of 95 %.

    Wilson 1927, J. Am. Stat. Assoc. 22:209: all shares p with |p̂ − p| ≤ z √(p (1 − p) / n). Unlike p̂ ± a standard
    error, it stays within 0 and 1, and tells of a few that were all right how little that shows.
    """

    def __init__(self, right: int, total: int) -> None:
        """Count; ``total`` is 1 or more."""
        self.right, self.total = int(right), int(total)

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.right / self.total

    @cached_property
    def interval(self) -> Interval:
        """Wilson's interval of 95 %."""
        share, more = self.value, _Z**2 / self.total
        middle, reach = share + more / 2, math.sqrt(more * (share * (1 - share) + more / 4))
        low, high = ((middle + sign * reach) / (1 + more) for sign in (-1, 1))
        return Interval(low if self.right else 0.0, high if self.right < self.total else 1.0)

    def said_of(self, what: str) -> str:
        """Write share, interval and number: "50.0 % (25-75 %, 95 % Wilson, 12 subtomograms)"."""
        things = what.removesuffix("s") if self.total == 1 else what
        return f"{100 * self.value:.1f} % ({self.interval}, {100 * CONFIDENCE:.0f} % Wilson, {self.total} {things})"
