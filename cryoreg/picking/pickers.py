"""The picker that cryoreg brings. Imports no NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryoreg.datasets.io.tomogram import Tomogram
    from cryoreg.picking.proposals import AskedContrast, Proposal

DOG = "dog"


def dog(tomogram: Tomogram, radius: float, contrast: AskedContrast) -> Proposal:
    """Difference of Gaussians: blobs of one size.

    Pei et al. 2016, BMC Bioinformatics 17:405. Contrast is that to whose side the response is skewed.
    """
    from cryoreg.picking.proposals import propose

    return propose(tomogram, radius, contrast)
