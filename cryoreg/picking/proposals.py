"""What a picker returns, and what the Difference of Gaussians proposes. Part of the plugin API."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np

from cryoreg.datasets.tomograms.files import Tomogram
from cryoreg.errors import DataError
from cryoreg.picking.contrast import Verdict, judge
from cryoreg.picking.difference_of_gaussians import Peaks, respond, sigma_for

__all__ = ["AskedContrast", "Peaks", "Pick", "Proposal", "Verdict", "propose"]

AskedContrast = Literal["auto", "bright", "dark"]


class Proposal(NamedTuple):
    """Where particles may be; what lies too near to a face or to a better one is left out later."""

    peaks: Peaks
    """Places, and how good each is; of the filter, heights are standard deviations of the response."""
    verdict: Verdict
    """How density looks, decided where the user said so; a skewness of NaN where none was measured."""


class Pick(Protocol):
    """What an entry point of ``cryoreg.pickers`` names: a function in a module that imports no NumPy.

    ``cryoreg pick --picker`` names it.
    """

    def __call__(self, tomogram: Tomogram, radius: float, contrast: AskedContrast) -> Proposal:
        """Return where particles of a radius (voxels) may be; raise `DataError` where the tomogram is at fault."""


def propose(tomogram: Tomogram, radius: float, contrast: AskedContrast) -> Proposal:
    """Return the peaks of the Difference of Gaussians; raise `DataError` where a tomogram is constant or holds NaN."""
    response = respond(tomogram, sigma_for(radius))
    if response.limits[0] == response.limits[1]:
        raise DataError(f"{tomogram.path}: is constant (every voxel is {response.limits[0]:g}); nothing can be picked")
    verdict = judge(response)
    if contrast != "auto":  # the user is beyond doubt
        verdict = verdict._replace(contrast=contrast, decided=True)
    peaks = response.bright if verdict.contrast == "bright" else response.dark
    return Proposal(peaks._replace(heights=peaks.heights / np.float32(response.spread)), verdict)
