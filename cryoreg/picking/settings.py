"""What `cryoreg pick` looks for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryoreg.contracts import TiltAxis
from cryoreg.errors import ConfigError
from cryoreg.picking.pickers import DOG

if TYPE_CHECKING:
    from cryoreg.datasets.tomograms.masks import Where

THRESHOLD = 3.0
"""Above it noise leaves about 0.003/σ³ peaks in a voxel."""
RANKED_THRESHOLD = 1.0
"""Lower, since with a template the filter only proposes; correlation decides."""


@dataclass(frozen=True)
class PickSettings:
    """What to look for."""

    radius: float
    """The radius of the particles, Å."""
    contrast: Literal["auto", "bright", "dark"] = "auto"
    """How density looks in the tomograms."""
    threshold: float | None = None
    """Lowest peak; of the DoG in standard deviations of the response (`Response.spread`). [3, or 1 with a template; of
    another picker, any]"""
    distance: float | None = None
    """Smallest distance between picks, Å. [twice the radius]"""
    margin: float | None = None
    """Voxels from the faces of a tomogram in which nothing is picked. [the radius]"""
    top: int | None = None
    """So many picks at most in each tomogram, the best. [all]"""
    subvoxel: bool = False
    """Place DoG picks between voxels, at the top of a parabola."""
    template: Path | None = None
    """MRC map of the particle, density bright, centred on its voxel at index edge // 2, to rank candidates with."""
    rotations: int = 500
    tilt_range: tuple[float, float] | None = None
    """Degrees. The wedge that was not measured is taken out of the template."""
    tilt_axis: TiltAxis = "y"
    low_pass: float | None = None
    """Å: finer detail of the template is left out."""
    min_cc: float | None = None
    """Lowest correlation coefficient to keep."""
    picker: str = DOG
    """Who proposes them: a registered name."""
    where: tuple[Where, ...] = ()
    """Masks that keep, drop or mark picks by their distance."""

    def __post_init__(self) -> None:
        for name, known in (("contrast", ("auto", "bright", "dark")), ("tilt_axis", ("x", "y"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} '{getattr(self, name)}' is none of {', '.join(known)}")
        low, high = self.tilt_range or (-90, 90)
        if not -90 <= low < high <= 90:
            raise ConfigError(f"--tilt-range {low:g} {high:g}: must rise, between -90 and 90 degrees")

    @property
    def lowest(self) -> float:
        """The threshold that holds."""
        default = THRESHOLD if self.template is None else RANKED_THRESHOLD
        if self.picker != DOG:
            default = -math.inf
        return default if self.threshold is None else self.threshold
