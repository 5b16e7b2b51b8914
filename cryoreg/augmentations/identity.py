"""No augmentation."""

from __future__ import annotations

from torch import Tensor

from cryoreg.randomness import SampleRng


class Identity:
    """Returns the batch itself."""

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        """Return ``x`` (B, 1, D, H, W), uncopied; nothing is drawn."""
        return x
