"""Drift in words: a line for all subtomograms, and one for each tomogram that differs."""

from __future__ import annotations

from collections.abc import Sequence

from cryoreg.doubt.appearance import CONTRAST, KURTOSIS, SKEWNESS, SPECTRUM
from cryoreg.doubt.drift import CLASS_SHARES, Difference
from cryoreg.doubt.familiar import CONFIDENCE

MOST_TOMOGRAMS = 4
"""That are named one by one."""
_FAMILIES = {
    **dict.fromkeys(SPECTRUM, "power spectrum"),
    CONTRAST: "contrast",
    SKEWNESS: "grey values",
    KURTOSIS: "grey values",
    CONFIDENCE: "confidence",
    CLASS_SHARES: CLASS_SHARES,
}
_FEATURES = "features"


def family(difference: Difference) -> str:
    """Return what kind of property differs: power spectrum, contrast, grey values, features, confidence, shares."""
    return _FAMILIES.get(difference.name, _FEATURES)


def describe(differences: Sequence[Difference], classes: Sequence[str]) -> list[str]:
    """Return what differs between data and those that were trained on; nothing where nothing does."""
    by_place: dict[str | None, list[Difference]] = {}
    for difference in differences:
        by_place.setdefault(difference.tomogram, []).append(difference)
    overall = [_line("these data differ", by_place.pop(None), classes)] if None in by_place else []
    named = list(by_place.items())[:MOST_TOMOGRAMS]
    lines = [*overall, *(_line(f"tomogram {name} differs", found, classes) for name, found in named)]
    more = len(by_place) - len(named)
    return [*lines, *([f"{more} more tomograms differ from what was trained on"] if more else [])]


def _line(subject: str, found: Sequence[Difference], classes: Sequence[str]) -> str:
    strongest: dict[str, Difference] = {}
    for difference in sorted(found, key=lambda each: -abs(each.shift)):
        strongest.setdefault(family(difference), difference)
    told = ", ".join(f"{kind} ({_detail(each, classes)})" for kind, each in strongest.items())
    meaning = "other particles, or wrong classes" if set(strongest) == {CLASS_SHARES} else "classes may be wrong"
    return f"{subject} from what was trained on: {told}; {meaning}, however sure"


def _detail(difference: Difference, classes: Sequence[str]) -> str:
    if difference.label is not None:
        shares = (
            f"{100 * difference.mean:.0f} % {classes[difference.label]}, {100 * difference.usual:.0f} % in validation"
        )
        return shares
    if is_inverted(difference):
        here, usual = ("darker", "brighter") if difference.mean < 0 else ("brighter", "darker")
        return f"centres are {here} than what surrounds them, {usual} in training: is dataset.contrast right?"
    name = "" if family(difference) in (_FEATURES, "confidence", "contrast") else f"{_short(difference.name)}, "
    return f"{name}{difference.shift:+.1f} sd"


def is_inverted(difference: Difference) -> bool:
    """Tell a contrast that has the other sign than in validation."""
    return difference.name == CONTRAST and difference.mean * difference.usual < 0


def _short(name: str) -> str:
    return name.removeprefix("power, ").removesuffix(" of grey values")
