"""The built-in learners that leave the encoder as it is, and take seconds. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat

from cryoreg.learners.specs import UNIT_LENGTH, Recipe
from cryoreg.specs import LearnerSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder
    from cryoreg.learners.label_propagation import LabelPropagation
    from cryoreg.learners.linear_probe import LinearProbe
    from cryoreg.learners.prototypes import Prototypes

_ONCE: Recipe = {"augmentation": {"name": "none"}, "training": {"epochs": 1}}


class LinearProbeSpec(LearnerSpec):
    """Linear probe: logistic regression on the features of the encoder as it is; takes seconds.

    scikit-learn's, on standardised features: min C · Σ −log softmax(W·f + b)_y + ‖W‖²/2, with the C of the best mean
    log-likelihood in stratified cross-validation over the labels. A class of a single label is learnt from, and not
    guessed; where no two classes have more, C is 1, or 100 of features of unit length. The encoder is frozen,
    augmentation and optimizer are not used, and one epoch is all. A class without a label is never answered.
    """

    recipe: ClassVar[Recipe] = _ONCE

    folds: int = Field(5, ge=2, description="parts of the cross-validation; fewer where a class has fewer labels")
    strengths: tuple[PositiveFloat, ...] = Field(
        (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0), min_length=1, description="values of C to choose from"
    )
    unit_length: bool = Field(False, description=f"{UNIT_LENGTH}, and does not standardise them")

    def build(self, encoder: Encoder, classes: int) -> LinearProbe:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.linear_probe import LinearProbe

        return LinearProbe(encoder, classes, **self.model_dump())


class PrototypesSpec(LearnerSpec):
    """Prototypes: the class whose mean features are nearest, by cosine; takes seconds.

    Snell et al. 2017 (arXiv 1703.05175); centred and normalised as SimpleShot, Wang et al. 2019 (arXiv 1911.04623).
    Logits: cos(f(x) − m, μ_c) / τ; m is the mean of all labelled features, μ_c that of class c of the normalised
    f − m. The encoder is frozen, augmentation and optimizer are not used, and one epoch is all.
    """

    recipe: ClassVar[Recipe] = _ONCE

    temperature: float = Field(0.1, ge=1e-3, description="τ, by which cosines are divided")
    centred: bool = Field(True, description="take cosines about the mean of the labelled features")

    def build(self, encoder: Encoder, classes: int) -> Prototypes:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.prototypes import Prototypes

        return Prototypes(encoder, classes, **self.model_dump())


class LabelPropagationSpec(LearnerSpec):
    """Label propagation: labels spread to subtomograms that look alike, and a linear layer learns from all; seconds.

    Zhou et al. 2003 (NIPS 16, "Learning with local and global consistency"): F = (1 − α·S)⁻¹ Y, Y the labels, S =
    D^(−1/2) W D^(−1/2), D the sums of W's rows. As in Iscen et al. 2019 (arXiv 1904.04717), W = A + Aᵀ, A_ij =
    max(cos(f_i, f_j), 0)^γ for the k nearest neighbours j of i, and each subtomogram is learnt as the class c of its
    largest F_ic with the weight 1 − entropy(F_i / Σ_c F_ic) / log(classes): here by logistic regression on features of
    unit length, min C · Σ w_i · −log softmax(W·f_i + b)_c + ‖W‖²/2. Labels that are shown stay, of weight 1; what none
    of them reaches has weight 0. A class without a label is never answered. It pays with a few labels a class; with 20
    it costs a point. The encoder is frozen, augmentation and optimizer are not used, and one epoch is all.
    """

    recipe: ClassVar[Recipe] = _ONCE

    neighbours: int = Field(15, ge=1, description="k, to how many others each subtomogram hands on its class")
    gamma: float = Field(3.0, gt=0, description="γ: the larger, the less of it goes to those that are less alike")
    alpha: float = Field(
        0.9, ge=0, le=0.999, description="α: the nearer to 1, the farther labels spread; 0: not at all"
    )
    strength: float = Field(30.0, gt=0, description="C of the logistic regression; the larger, the closer it fits")

    def build(self, encoder: Encoder, classes: int) -> LabelPropagation:
        """Return the learner around ``encoder``."""
        from cryoreg.learners.label_propagation import LabelPropagation

        return LabelPropagation(encoder, classes, **self.model_dump())
