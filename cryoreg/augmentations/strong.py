"""What Gupta et al. 2022 tried and dropped: blur, gamma, elastic deformation, bias field."""

from __future__ import annotations

import math
from dataclasses import dataclass

from monai.transforms import Rand3DElastic, RandAdjustContrast, RandBiasField, RandGaussianSmooth
from torch import Tensor

from cryoreg.augmentations.gupta2022 import Gupta2022
from cryoreg.augmentations.monai_pipeline import MonaiPipeline
from cryoreg.randomness import SampleRng

_SMALLEST_BLUR = 1e-3
"""Voxels: no blur at all, where 0 would divide by 0."""


@dataclass(frozen=True)
class Strong(Gupta2022):
    """The geometry of `Gupta2022`, then ``distortions`` volume by volume."""

    distortions: MonaiPipeline

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        """Augment ``x`` (B, 1, D, H, W)."""
        return self.distortions(super().__call__(x, rng), rng)


def distort(
    *,
    elastic_p: float,
    elastic: float,
    elastic_sigma: float,
    blur_p: float,
    blur: float,
    gamma_p: float,
    gamma: float,
    bias_p: float,
    bias: float,
) -> MonaiPipeline:
    """Return what comes after the geometry; arguments are the fields of `StrongSpec`."""
    bend = Rand3DElastic(
        sigma_range=(elastic_sigma, elastic_sigma),
        magnitude_range=(0.0, elastic / _smoothed_sd(elastic_sigma)),
        prob=elastic_p,
        padding_mode="zeros",
    )
    smooth = RandGaussianSmooth(*[(_SMALLEST_BLUR, blur)] * 3, prob=blur_p)
    curve = RandAdjustContrast(prob=gamma_p, gamma=(1 / gamma, gamma), retain_stats=True)
    shade = RandBiasField(coeff_range=(-bias, bias), prob=bias_p)
    return MonaiPipeline((bend, smooth, curve, shade))


def _smoothed_sd(sigma: float) -> float:
    """Return the standard deviation of white noise, uniform in ±1, after a three-dimensional Gaussian filter."""
    return (2 * math.sqrt(math.pi) * sigma) ** -1.5 / math.sqrt(3)
