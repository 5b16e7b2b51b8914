"""The built-in self-supervised methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cryoreg.specs import MethodSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder
    from cryoreg.methods.moco import MoCo


class MoCoSpec(MethodSpec):
    """MoCo: momentum contrast against a queue of earlier keys.

    He et al. 2020 (arXiv 1911.05722); the two-layer head is that of v2, Chen et al. 2020 (arXiv 2003.04297). Defaults
    are those of Gupta et al. 2022 for simulated data (queue 128; 64 on real data).
    Loss: −log exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σ exp(q·kᵢ/τ)) over the queue's keys kᵢ.
    """

    queue_size: int = Field(128, ge=1, description="keys kept as negatives")
    momentum: float = Field(0.999, ge=0, le=1, description="momentum of the key encoder's update")
    temperature: float = Field(0.2, gt=0, description="τ, by which similarities are divided")
    head: Literal["v1", "v2"] = Field("v2", description="projection head: v1 linear, v2 two layers with ReLU")
    hidden_dim: int = Field(256, ge=1, description="width of the v2 head's hidden layer")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")
    symmetric: bool = Field(False, description="average the loss over both assignments of the views to query and key")

    def build(self, encoder: Encoder) -> MoCo:
        """Return MoCo around ``encoder``."""
        from cryoreg.methods.moco import MoCo

        return MoCo(encoder, **self.model_dump())
