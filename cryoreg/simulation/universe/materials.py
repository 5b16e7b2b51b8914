"""What structures are made of: how strongly a dalton of it stands out from vitreous ice.

Simulated density is mass as far as protein goes. Other matter is weighted by its mass's contrast relative to protein's,
(ρ − ρ_ice) / ρ, with the densities below; scattering per dalton is taken as that of light atoms throughout.
"""

from __future__ import annotations

from typing import NamedTuple


class Material(NamedTuple):
    """A kind of matter."""

    density: float
    """g/cm³."""

    @property
    def dalton_per_cubic_angstrom(self) -> float:
        """The same in Da/Å³."""
        return self.density * AVOGADRO

    @property
    def weight(self) -> float:
        """What a dalton adds to the image, protein's being 1."""
        return self._contrast / PROTEIN._contrast

    @property
    def _contrast(self) -> float:
        return (self.density - ICE) / self.density


AVOGADRO = 0.60221
"""Da/Å³ in 1 g/cm³."""
ICE = 0.93
"""Vitreous ice, g/cm³ (Dubochet et al. 1988, Q. Rev. Biophys. 21:129)."""
PROTEIN = Material(1.35)
"""Fischer et al. 2004 (Protein Sci. 13:2825) give 1.35 for large proteins."""
NUCLEIC_ACID = Material(1.7)
HEAD_GROUPS = Material(1.25)
"""The polar layers of a lipid bilayer; its core differs little from ice and is left out."""
GOLD = Material(19.3)
CARBON = Material(2.0)
"""Amorphous support film."""
