"""What cryoreg's registry reads. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cryoreg.specs import MethodSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder
    from cryoreg_barlowtwins.method import BarlowTwins


class BarlowTwinsSpec(MethodSpec):
    """Barlow Twins: make the cross-correlation of two views' projections the identity matrix.

    Zbontar et al. 2021 (arXiv 2103.03230). Loss: Σᵢ (1 − Cᵢᵢ)² + λ Σᵢ Σⱼ≠ᵢ Cᵢⱼ², C the correlation over the batch of
    feature i of one view with feature j of the other. No negatives, so small batches do. The paper's projector is
    8192 wide for an encoder of 2048 features; the defaults keep that ratio of 4 for an encoder of 256.
    """

    min_batch: ClassVar[int] = 2

    lambda_param: float = Field(0.005, ge=0, description="λ, the weight of the redundancy-reduction term")
    hidden_dim: int = Field(1024, ge=1, description="width of the projector's two hidden layers")
    output_dim: int = Field(1024, ge=2, description="length of the projected vectors")
    gather: bool = Field(True, description="average the cross-correlation over all processes of a distributed run")

    def build(self, encoder: Encoder) -> BarlowTwins:
        """Return Barlow Twins around ``encoder``."""
        from cryoreg_barlowtwins.method import BarlowTwins

        return BarlowTwins(encoder, **self.model_dump())
