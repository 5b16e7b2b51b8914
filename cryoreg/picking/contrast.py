"""Is density bright or dark in a tomogram?"""

from __future__ import annotations

from typing import NamedTuple

from cryoreg.contracts import Contrast
from cryoreg.picking.difference_of_gaussians import Response

BEYOND_DOUBT = 4.0
"""Standard errors of skewness at which the contrast counts as certain."""


class Verdict(NamedTuple):
    """How density looks, and why."""

    contrast: Contrast
    decided: bool
    """False where the evidence is weak."""
    skewness: float
    """Skewness of the response of the Difference of Gaussians, in standard errors."""


def judge(response: Response) -> Verdict:
    """Return the contrast that the response speaks for: particles are few and stand out, which skews it to their side.

    The whole response is asked, not its peaks, as at low SNR few peaks leave the noise.
    """
    skewness = response.skewness / response.skewness_error
    return Verdict("bright" if skewness > 0 else "dark", abs(skewness) >= BEYOND_DOUBT, skewness)
