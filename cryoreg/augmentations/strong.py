"""What Gupta et al. 2022 tried and dropped: blur, gamma, elastic deformation, bias field."""

from __future__ import annotations

import math

from monai.transforms import Rand3DElastic, RandAdjustContrast, RandBiasField, RandGaussianSmooth
from torch import Tensor

from cryoreg.augmentations.gupta2022 import Gupta2022
from cryoreg.augmentations.monai_pipeline import MonaiPipeline
from cryoreg.augmentations.specs import Gupta2022Spec, StrongSpec
from cryoreg.randomness import SampleRng


class Strong:
    """`Gupta2022`, then MONAI's transforms volume by volume; `StrongSpec` says how strong."""

    def __init__(self, spec: StrongSpec) -> None:
        self.geometry: Gupta2022 = Gupta2022(**spec.model_dump(include=set(Gupta2022Spec.model_fields)))
        self.deformation = MonaiPipeline(
            (
                Rand3DElastic(
                    sigma_range=(spec.elastic_sigma, spec.elastic_sigma),
                    magnitude_range=(0.0, spec.elastic / _smoothed_sd(spec.elastic_sigma)),
                    prob=spec.elastic_p,
                    padding_mode="zeros",
                ),
                RandGaussianSmooth(*[(1e-3, spec.blur)] * 3, prob=spec.blur_p),
                RandAdjustContrast(spec.gamma_p, gamma=(1 / spec.gamma, spec.gamma), retain_stats=True),
                RandBiasField(coeff_range=(-spec.bias, spec.bias), prob=spec.bias_p),
            )
        )

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        """Augment ``x`` (B, 1, D, H, W)."""
        return self.deformation(self.geometry(x, rng), rng)


def _smoothed_sd(sigma: float) -> float:
    """Return the standard deviation of white noise, uniform in ±1, after a three-dimensional Gaussian filter."""
    return (2 * math.sqrt(math.pi) * sigma) ** -1.5 / math.sqrt(3)
