"""What Gupta et al. 2022 tried and dropped: blur, gamma, elastic deformation, bias field."""

from __future__ import annotations

import math
from dataclasses import dataclass

from monai.transforms import Rand3DElastic, RandAdjustContrast, RandBiasField, RandGaussianSmooth
from torch import Tensor

from cryoreg.augmentations.gupta2022 import Gupta2022
from cryoreg.augmentations.monai_pipeline import MonaiPipeline
from cryoreg.augmentations.specs import StrongSpec
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


def distortions(spec: StrongSpec) -> MonaiPipeline:
    """Return what comes after the geometry."""
    elastic = Rand3DElastic(
        sigma_range=(spec.elastic_sigma, spec.elastic_sigma),
        magnitude_range=(0.0, spec.elastic / _smoothed_sd(spec.elastic_sigma)),
        prob=spec.elastic_p,
        padding_mode="zeros",
    )
    blur = RandGaussianSmooth(*[(_SMALLEST_BLUR, spec.blur)] * 3, prob=spec.blur_p)
    gamma = RandAdjustContrast(prob=spec.gamma_p, gamma=(1 / spec.gamma, spec.gamma), retain_stats=True)
    bias = RandBiasField(coeff_range=(-spec.bias, spec.bias), prob=spec.bias_p)
    return MonaiPipeline((elastic, blur, gamma, bias))


def _smoothed_sd(sigma: float) -> float:
    """Return the standard deviation of white noise, uniform in ±1, after a three-dimensional Gaussian filter."""
    return (2 * math.sqrt(math.pi) * sigma) ** -1.5 / math.sqrt(3)
