"""The built-in self-supervised methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cryoreg.errors import ConfigError
from cryoreg.specs import MethodSpec, ViewPlan

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder, Subtomograms
    from cryoreg.methods.byol import BYOL
    from cryoreg.methods.dino import DINO
    from cryoreg.methods.mae import MAE
    from cryoreg.methods.moco import MoCo
    from cryoreg.methods.nrcl import NRCL
    from cryoreg.methods.rotation import RotationPrediction
    from cryoreg.methods.simclr import SimCLR
    from cryoreg.methods.simsiam import SimSiam
    from cryoreg.methods.structures import Structures
    from cryoreg.methods.supcon import SupCon
    from cryoreg.methods.swav import SwAV
    from cryoreg.methods.vicreg import VICReg


class MoCoSpec(MethodSpec):
    """MoCo: momentum contrast against a queue of earlier keys.

    He et al. 2020 (arXiv 1911.05722); the two-layer head is that of v2, Chen et al. 2020 (arXiv 2003.04297). Defaults
    are those of Gupta et al. 2022 for simulated data (queue 128; 64 on real data).
    Loss: −log exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σ exp(q·kᵢ/τ)) over the queue's keys kᵢ.
    """

    queue_size: int = Field(128, ge=1, description="keys kept as negatives")
    momentum: float = Field(0.999, ge=0, le=1, description="momentum of the key encoder's update")
    temperature: float = Field(0.2, ge=1e-4, description="τ, by which similarities are divided")
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

    min_batch: ClassVar[int] = 2

    temperature: float = Field(0.5, ge=1e-4, description="τ, by which similarities are divided")
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

    min_batch: ClassVar[int] = 2

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

    min_batch: ClassVar[int] = 2

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

    min_batch: ClassVar[int] = 2

    hidden_dim: int = Field(256, ge=1, description="width of the projector's two hidden layers")
    output_dim: int = Field(256, ge=1, description="length of the projected vectors")
    predictor_dim: int = Field(64, ge=1, description="width of the predictor's hidden layer: a bottleneck")

    def build(self, encoder: Encoder) -> SimSiam:
        """Return SimSiam around ``encoder``."""
        from cryoreg.methods.simsiam import SimSiam

        return SimSiam(encoder, **self.model_dump())


class SwAVSpec(MethodSpec):
    """SwAV: predict, from each view, the prototypes that another view is assigned to.

    Caron et al. 2020 (arXiv 2006.09882). Loss: −Σₖ qₖ log softmaxₖ(z·cₖ/τ), z the unit-length projection of one view,
    cₖ the K prototypes and q the assignment of a whole view of the same subtomogram, averaged over all pairs of a whole
    view and another view. Three Sinkhorn iterations make the q of the batch, and of a queue of earlier projections, use
    all prototypes equally. A collapsed encoder's loss is ln K: 4.16 for 64. The paper has 3000 prototypes for 1000
    classes and 4096 images; here an assignment spreads a batch of 16 and a queue of 128.
    """

    n_prototypes: int = Field(64, ge=2, description="K: some times the number of classes that are expected")
    temperature: float = Field(0.1, ge=1e-4, description="τ, by which similarities are divided")
    epsilon: float = Field(0.05, ge=0.02, description="softness of the assignments")
    iterations: int = Field(3, ge=1, description="Sinkhorn iterations")
    queue_size: int = Field(128, ge=0, description="projections kept of each whole view; 0 for no queue")
    queue_start: int = Field(200, ge=0, description="step from which the queue is used; let it fill before")
    freeze_steps: int = Field(100, ge=0, description="steps during which the prototypes stay as they are")
    local_views: int = Field(4, ge=0, description="number of local views: smaller boxes, cut without resampling")
    local_edge: float = Field(0.6, gt=0, le=1, description="edge of a local view as a fraction of the box's")
    hidden_dim: int = Field(256, ge=1, description="width of the projection head's hidden layer")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")

    def view_plan(self) -> ViewPlan:
        """Return two whole views and the local ones."""
        return ViewPlan(2, local=self.local_views, local_edge=self.local_edge)

    def build(self, encoder: Encoder) -> SwAV:
        """Return SwAV around ``encoder``."""
        from cryoreg.methods.swav import SwAV

        return SwAV(encoder, **self.model_dump(exclude={"local_views", "local_edge"}))


class DINOSpec(MethodSpec):
    """DINO: predict, from every view, what a momentum teacher makes of a whole view.

    Caron et al. 2021 (arXiv 2104.14294). Loss: −Σₖ softmaxₖ((t − c)/τₜ) log softmaxₖ(s/τₛ), s the student's scores of
    K prototypes for one view, t the teacher's for another, whole one, averaged over all such pairs; the center c is a
    moving average of t. A collapsed encoder's loss is ln K: 5.55 for 256. The teacher's momentum rises to 1 as in
    `byol`; its temperature rises linearly to τₜ, as in section 3.2. The paper's head is 2048, 256 and 65536 wide.
    """

    n_prototypes: int = Field(256, ge=2, description="K, the length of the output")
    student_temperature: float = Field(0.1, ge=1e-4, description="τₛ, by which the student's scores are divided")
    teacher_temperature: float = Field(0.07, ge=1e-4, description="τₜ, by which the teacher's scores are divided")
    warmup_temperature: float = Field(0.04, ge=1e-4, description="τₜ at the first step")
    warmup_steps: int = Field(500, ge=0, description="steps in which τₜ rises to its final value")
    momentum: float = Field(0.996, ge=0, le=1, description="momentum of the teacher's first update; it rises to 1")
    center_momentum: float = Field(0.9, ge=0, le=1, description="momentum of the center's update")
    freeze_steps: int = Field(100, ge=0, description="steps during which the last layer stays as it is")
    local_views: int = Field(4, ge=0, description="number of local views: smaller boxes, cut without resampling")
    local_edge: float = Field(0.6, gt=0, le=1, description="edge of a local view as a fraction of the box's")
    hidden_dim: int = Field(512, ge=1, description="width of the head's two hidden layers")
    bottleneck_dim: int = Field(128, ge=1, description="length of the vectors that are compared with the prototypes")

    def view_plan(self) -> ViewPlan:
        """Return two whole views and the local ones."""
        return ViewPlan(2, local=self.local_views, local_edge=self.local_edge)

    def build(self, encoder: Encoder) -> DINO:
        """Return DINO around ``encoder``."""
        from cryoreg.methods.dino import DINO

        return DINO(encoder, **self.model_dump(exclude={"local_views", "local_edge"}))


class SupConSpec(MethodSpec):
    """SupCon: contrast classes where labels are known, subtomograms where not.

    Khosla et al. 2020 (arXiv 2004.11362), equation 2. Loss: −1/|P(i)| Σₚ log exp(zᵢ·zₚ/τ) / Σₐ≠ᵢ exp(zᵢ·zₐ/τ), averaged
    over the 2B unit-length projections zᵢ of a batch; P(i) are the others of the same class. That of an unlabelled
    subtomogram is its other view only; to labelled ones it is a negative, whatever it shows. Without any label the
    loss is that of `simclr`. The temperature is the paper's for ImageNet.
    """

    min_batch: ClassVar[int] = 2
    uses_labels: ClassVar[bool] = True

    temperature: float = Field(0.1, ge=1e-4, description="τ, by which similarities are divided")
    hidden_dim: int = Field(256, ge=1, description="width of the projection head's hidden layer")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")

    def build(self, encoder: Encoder) -> SupCon:
        """Return SupCon around ``encoder``."""
        from cryoreg.methods.supcon import SupCon

        return SupCon(encoder, **self.model_dump())


class StructuresSpec(MethodSpec):
    """Structures: tell which structure is shown, by cosine similarity to a proxy of each. Needs labels.

    Wang et al. 2017 (NormFace, arXiv 1704.06369) and Zhai & Wu 2019 (arXiv 1811.12649). Loss: the cross-entropy of
    s·z·wₖ with unit vectors z, the projection, and wₖ, one for each class. Made for many classes of few examples, such
    as the made-up structures of `universe`; subtomograms without a label teach nothing.
    """

    views: ClassVar[int] = 1
    uses_labels: ClassVar[bool] = True

    classes: int | None = Field(None, ge=1, description="structures to tell apart [those of the data]")
    scale: float = Field(16.0, gt=0, description="s, by which similarities are multiplied")
    hidden_dim: int = Field(256, ge=1, description="width of the projection head's hidden layer")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")

    def for_data(self, dataset: Subtomograms) -> StructuresSpec:
        """Return the spec for as many classes as the data have; raise `ConfigError` where they have fewer than two."""
        if len(dataset.classes) < 2:
            raise ConfigError("method 'structures' learns from classes, but the data have none; choose another method")
        return self if self.classes else self.model_copy(update={"classes": len(dataset.classes)})

    def build(self, encoder: Encoder) -> Structures:
        """Return the method around ``encoder``, for two classes where their number is unknown."""
        from cryoreg.methods.structures import Structures

        return Structures(encoder, **self.model_dump() | {"classes": self.classes or 2})


class MAESpec(MethodSpec):
    """MAE: reconstruct the hidden patches of a subtomogram. For ViT encoders.

    He et al. 2022 (arXiv 2111.06377). Loss: the mean over all voxels of the hidden patches of (p̂ − p)², each target
    patch p brought to mean 0 and variance 1, so a loss of 1 is that of a constant guess. The encoder sees the other
    patches only. On raw subtomograms most of p is noise, which nothing predicts: the loss falls little below 1, and
    what it falls by is what was learnt.
    """

    views: ClassVar[int] = 1

    mask_ratio: float = Field(0.75, gt=0, lt=1, description="part of the patches that is hidden")
    decoder_dim: int = Field(96, ge=24, multiple_of=24, description="width of the decoder; 24 per attention head")
    decoder_depth: int = Field(2, ge=1, description="number of transformer blocks of the decoder")

    def build(self, encoder: Encoder) -> MAE:
        """Return MAE around ``encoder``; raise `ConfigError` where that has no tokens."""
        from cryoreg.methods.mae import MAE

        return MAE(encoder, **self.model_dump())


class RotationSpec(MethodSpec):
    """Rotation: tell by which rotation a subtomogram was turned.

    Gidaris et al. 2018 (arXiv 1803.07728). Loss: cross-entropy over the rotations of a set, ln 4 or ln 24 at chance.
    The missing wedge turns with the subtomogram, so with ``inplane`` (the four about the beam) and ``cube`` (all 24) a
    network can read the rotation from the wedge and learn nothing of the molecule. ``wedge`` has the identity and the
    half turns about the three axes, which map the wedge of a symmetric tilt range onto itself: there only the molecule
    can tell. A loss that stays at ln 4 then says that the molecules have no preferred orientation, and that the task
    teaches nothing on this data; so it does under an augmentation that turns subtomograms to any orientation.
    """

    views: ClassVar[int] = 1

    rotations: Literal["wedge", "inplane", "cube"] = Field("wedge", description="the set of rotations to tell apart")
    copies: int = Field(4, ge=1, le=24, description="differently turned copies of each subtomogram; at most all")

    def build(self, encoder: Encoder) -> RotationPrediction:
        """Return rotation prediction around ``encoder``."""
        from cryoreg.methods.rotation import RotationPrediction

        return RotationPrediction(encoder, **self.model_dump())


class NRCLSpec(MethodSpec):
    """NRCL: noise-resilient contrast of a noisy view with a clean one.

    After the idea of Jiang et al. 2025 (arXiv 2509.24311): the positives are a noisy and a cleaner version of one
    subtomogram, learnt as in MoCo. The rest is cryoreg's choice, not the paper's text. Loss: that of `moco`,
    −log exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σ exp(q·kᵢ/τ)), with q from a noisy view and all keys, the queue's too, from clean
    ones. Gradients reach the noisy side only, and equally clean keys cannot be told apart by their noise. The clean
    version comes from a simulated data set's noise-free copy, else from a Gaussian blur; that keeps the slow part of
    the noise, which both versions then share and which can be matched instead of the molecule.
    """

    denoise_sigma: float = Field(1.0, ge=0, le=10, description="blur, in voxels, where there is no noise-free copy")
    queue_size: int = Field(128, ge=1, description="keys kept as negatives")
    momentum: float = Field(0.999, ge=0, le=1, description="momentum of the key encoder's update")
    temperature: float = Field(0.2, ge=1e-4, description="τ, by which similarities are divided")
    hidden_dim: int = Field(256, ge=1, description="width of the projection head's hidden layer")
    output_dim: int = Field(128, ge=1, description="length of the projected vectors")

    def view_plan(self) -> ViewPlan:
        """Return a noisy view and a clean one."""
        return ViewPlan(2, clean=1)

    def build(self, encoder: Encoder) -> NRCL:
        """Return NRCL around ``encoder``."""
        from cryoreg.methods.nrcl import NRCL

        return NRCL(encoder, **self.model_dump())
