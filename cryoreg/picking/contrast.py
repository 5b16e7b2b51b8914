"""Is density bright or dark in a tomogram? Two witnesses, both from the response of the Difference of Gaussians."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cryoreg.contracts import Contrast
from cryoreg.picking.difference_of_gaussians import Array, Response

STRONG = 3.0
"""Peaks alone settle the matter at so many standard errors."""
BEYOND_DOUBT = 4.0
"""What one of the two must reach, the other not contradicting."""
_HIGH = 3.0
"""Peaks above so many standard deviations of the response take part."""


class Verdict(NamedTuple):
    """How density looks, and why."""

    contrast: Contrast
    decided: bool
    """False where the evidence is weak or contradictory."""
    peaks: float
    """Σh³ of the high bright peaks minus that of the dark ones, over √Σh⁶ of both: in standard errors."""
    skewness: float
    """Of the whole response, in standard errors."""


def judge(response: Response) -> Verdict:
    """Return the contrast that the response speaks for.

    High peaks tell particles from the fringes that the contrast transfer function lays around them, which are lower but
    many; at low SNR, where few peaks leave the noise, the skewness of the whole response is the finer measure.
    """
    peaks = _peak_asymmetry(response)
    skewness = response.skewness / response.skewness_error
    witness = peaks if abs(peaks) >= STRONG else skewness
    decided = peaks * skewness >= 0 and max(abs(peaks), abs(skewness)) >= BEYOND_DOUBT
    return Verdict("bright" if witness > 0 else "dark", decided, peaks, skewness)


def _peak_asymmetry(response: Response) -> float:
    bright, dark = (_cubes(peaks.heights, response.spread) for peaks in (response.bright, response.dark))
    error = np.sqrt(np.square(bright).sum() + np.square(dark).sum())
    return float((bright.sum() - dark.sum()) / error) if error else 0.0


def _cubes(heights: Array, spread: float) -> Array:
    return (heights[heights > _HIGH * spread] / np.float32(spread)) ** 3
