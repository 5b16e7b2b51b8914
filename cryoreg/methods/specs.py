"""The built-in self-supervised methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cryoreg.specs import MethodSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder
    from cryoreg.methods.byol import BYOL
    from cryoreg.methods.moco import MoCo
    from cryoreg.methods.simclr import SimCLR
    from cryoreg.methods.simsiam import SimSiam
    from cryoreg.methods.vicreg import VICReg


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


class SimCLRSpec(MethodSpec):
    """SimCLR: contrast against the other subtomograms of the batch.

    Chen et al. 2020 (arXiv 2002.05709). Loss: −log exp(zᵢ·zⱼ/τ) / Σₖ≠ᵢ exp(zᵢ·zₖ/τ), averaged over the 2B unit-length
    projections zᵢ of a batch, zⱼ that of the other view. The negatives are the batch, so large batches help. The
    temperature is the paper's for CIFAR-10; it takes 0.1 for ImageNet with batches of thousands. As in the paper's
    formula, the head has no BatchNorm; with it (the authors' code), each process normalises its own batch.
    """

    temperature: float = Field(0.5, gt=0, description="τ, by which similarities are divided")
    hidden_dim: int = Field(256, ge=1, description="width of the projection head's hidden layer")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")
    batch_norm: bool = Field(False, description="BatchNorm after both layers of the projection head")
    gather: bool = Field(True, description="take the batches of all processes of a distributed run as negatives")

    def build(self, encoder: Encoder) -> SimCLR:
        """Return SimCLR around ``encoder``."""
        from cryoreg.methods.simclr import SimCLR

        return SimCLR(encoder, **self.model_dump())


class VICRegSpec(MethodSpec):
    """VICReg: keep every feature's variance up, pull views together, decorrelate features.

    Bardes et al. 2022 (arXiv 2105.04906). Loss: λ·mean (z − z')² + μ·½ Σ_views meanᵢ max(0, 1 − √(Var zᵢ + 10⁻⁴))
    + ν·Σ_views 1/d Σᵢ Σⱼ≠ᵢ Cov(zᵢ, zⱼ)², over projections z, z' of length d, scaled as in the authors' code (the
    paper's text has neither the ½ nor, in the first term, the mean over d). No negatives. The paper's projector is 8192
    wide for an encoder of 2048 features; the defaults keep that ratio of 4 for an encoder of 256.
    """

    invariance: float = Field(25.0, ge=0, description="λ, the weight of the mean square distance between the views")
    variance: float = Field(25.0, ge=0, description="μ, the weight of the term that keeps standard deviations above 1")
    covariance: float = Field(1.0, ge=0, description="ν, the weight of the term that decorrelates dimensions")
    hidden_dim: int = Field(1024, ge=1, description="width of the projector's two hidden layers")
    output_dim: int = Field(1024, ge=2, description="length of the projected vectors")
    gather: bool = Field(True, description="variance and covariance over all processes of a distributed run")

    def build(self, encoder: Encoder) -> VICReg:
        """Return VICReg around ``encoder``."""
        from cryoreg.methods.vicreg import VICReg

        return VICReg(encoder, **self.model_dump())


class BYOLSpec(MethodSpec):
    """BYOL: predict a momentum encoder's projection of the other view.

    Grill et al. 2020 (arXiv 2006.07733). Loss: −q·z', q the predictor's output for one view and z' the momentum
    encoder's projection of the other, both of unit length, averaged over both assignments: the paper's 2 − 2 q·z' on
    another scale, from −1 (agreement) up. The momentum of step k of K is 1 − (1 − momentum)·(cos(πk/K) + 1)/2. The
    paper's heads are 4096 wide for an encoder of 2048 features; the defaults keep that ratio of 2 for one of 256.
    """

    momentum: float = Field(0.996, ge=0, le=1, description="momentum of the target's first update; it rises to 1")
    hidden_dim: int = Field(512, ge=1, description="width of the hidden layers of projector and predictor")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")

    def build(self, encoder: Encoder) -> BYOL:
        """Return BYOL around ``encoder``."""
        from cryoreg.methods.byol import BYOL

        return BYOL(encoder, **self.model_dump())


class SimSiamSpec(MethodSpec):
    """SimSiam: predict one view's projection from the other's, without gradient through the target.

    Chen & He 2021 (arXiv 2011.10566). Loss: −½ p·sg(z') − ½ p'·sg(z), p the predictor's output for a view and z its
    projection, all of unit length; sg stops the gradient. From −1 (agreement) up. The paper's projector is as wide as
    its encoder's features and its predictor a quarter of that, as are the defaults for an encoder of 256 features.
    """

    hidden_dim: int = Field(256, ge=1, description="width of the projector's two hidden layers")
    output_dim: int = Field(256, ge=1, description="length of the projected vectors")
    predictor_dim: int = Field(64, ge=1, description="width of the predictor's hidden layer: a bottleneck")

    def build(self, encoder: Encoder) -> SimSiam:
        """Return SimSiam around ``encoder``."""
        from cryoreg.methods.simsiam import SimSiam

        return SimSiam(encoder, **self.model_dump())
