"""What cryoreg's registry reads. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cryoreg.specs import MethodSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder
    from cryoreg_autoencoder.method import Autoencoder


class AutoencoderSpec(MethodSpec):
    """Convolutional autoencoder: reconstruct each subtomogram from a short, sparse code.

    After Zeng et al. 2018 (J. Struct. Biol. 202:150, arXiv 1706.04970). Loss: mean over all voxels of (x − x̂)² +
    λ · mean over the batch of Σᵢ |cᵢ|, x being a subtomogram's view, c its code, x̂ what the decoder makes of it. As
    there, the code has 32 numbers that are not negative, and the decoder comes back from a quarter of the box's edge in
    two steps. Other than there, any encoder takes the place of theirs, the code being made from its features; the
    decoder takes any box; and poses are not normalised: augmentation teaches the encoder about them.
    """

    views: ClassVar[int] = 1

    code_dim: int = Field(32, ge=1, description="length of the code")
    width: int = Field(32, ge=1, description="filters of the decoder's convolutions")
    sparsity: float = Field(1e-4, ge=0, description="λ, the weight of the code's absolute values")

    def build(self, encoder: Encoder) -> Autoencoder:
        """Return the autoencoder around ``encoder``."""
        from cryoreg_autoencoder.method import Autoencoder

        return Autoencoder(encoder, **self.model_dump())
