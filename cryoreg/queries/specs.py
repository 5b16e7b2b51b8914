"""The built-in queries. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from cryoreg.specs import QuerySpec

if TYPE_CHECKING:
    from cryoreg.queries.chance import Chance
    from cryoreg.queries.coreset import CoreSet
    from cryoreg.queries.doubt import Doubt
    from cryoreg.queries.hal import HAL
    from cryoreg.queries.typiclust import TypiClust


class RandomSpec(QuerySpec):
    """Random: each subtomogram without a label is as likely as any other.

    What all others are compared with, and what an accuracy must be measured on.
    """

    needs_labels: ClassVar[bool] = False

    def build(self) -> Chance:
        """Return what chooses."""
        from cryoreg.queries.chance import Chance

        return Chance()


class MarginSpec(QuerySpec):
    """Margin: those whose two most probable classes are nearest to each other.

    Scheffer et al. 2001 (IDA, LNCS 2189). Score: −(p₁ − p₂), the largest probabilities of a subtomogram.
    """

    def build(self) -> Doubt:
        """Return what chooses."""
        from cryoreg.queries.doubt import Doubt, margin

        return Doubt(margin)


class EntropySpec(QuerySpec):
    """Entropy: those of which the classifier knows least.

    Shannon 1948, as Settles 2009 (Computer Sciences Technical Report 1648) describes it. Score: −Σ p log p.
    """

    def build(self) -> Doubt:
        """Return what chooses."""
        from cryoreg.queries.doubt import Doubt, entropy

        return Doubt(entropy)


class GradNormSpec(QuerySpec):
    """Gradient norm: those that would change the classifier most, whatever their class turns out to be.

    Wang et al. 2022 (AAAI, arXiv 2112.05683; AL-GradNorm). Score: Σ_θ ‖∂L/∂θ‖ with L = Σ_k p_k · −log p_k, over the
    weights and biases θ of the linear classifier of features f: ‖g‖ · (‖f‖ + 1) with g_j = −p_j (log p_j + L).
    """

    def build(self) -> Doubt:
        """Return what chooses."""
        from cryoreg.queries.doubt import Doubt, gradient_norm

        return Doubt(gradient_norm)


class CoreSetSpec(QuerySpec):
    """Core-set: those that lie farthest from all that have a label.

    Sener & Savarese 2018 (arXiv 1708.00489), k-centre greedy: the one whose distance to the nearest labelled or chosen
    one is largest, again and again. Where nothing has a label, the first is the one nearest to the mean.
    """

    needs_labels: ClassVar[bool] = False

    def build(self) -> CoreSet:
        """Return what chooses."""
        from cryoreg.queries.coreset import CoreSet

        return CoreSet()


class TypiClustSpec(QuerySpec):
    """TypiClust: the most typical of each cluster that has no label yet; good for the first labels.

    Hacohen et al. 2022 (arXiv 2202.02794). As many k-means clusters as there will be labels, at most ``clusters``;
    those with the fewest labels come first, the largest of them before others; of each the one with the largest
    inverse of the mean distance to its nearest neighbours in the cluster.
    """

    needs_labels: ClassVar[bool] = False

    clusters: int = Field(500, ge=2, description="the most clusters")
    neighbours: int = Field(20, ge=1, description="neighbours by whose distance is measured how typical one is")

    def build(self) -> TypiClust:
        """Return what chooses."""
        from cryoreg.queries.typiclust import TypiClust

        return TypiClust(**self.model_dump())


class HALSpec(QuerySpec):
    """HAL: those that a discriminator tells from the labelled ones, and the classifier is unsure of.

    Du et al. 2021 (arXiv 2102.12040), hybrid active learning, on features instead of a network of its own: a perceptron
    learns to tell labelled subtomograms from the others. Score: P(unlabelled) + λ · (−Σ p log p). The best part of what
    is wanted counts as labelled for the next discriminator, and so on, so that what is chosen together differs.
    """

    weight: float = Field(1.0, ge=0, description="λ, the weight of the classifier's entropy")
    rounds: int = Field(4, ge=1, description="parts in which is chosen, each with a discriminator of its own")
    ratio: int = Field(100, ge=1, description="subtomograms to choose from, drawn at random, for each labelled one")
    hidden: int = Field(128, ge=1, description="width of the discriminator's hidden layer")
    epochs: int = Field(30, ge=1, description="passes of the discriminator, at most")
    lr: float = Field(3e-4, gt=0, description="learning rate of RMSprop")
    batch_size: int = Field(32, ge=1, description="subtomograms per step of the discriminator")
    stop: float = Field(0.98, gt=0, le=1, description="accuracy at which the discriminator has learnt enough")

    def build(self) -> HAL:
        """Return what chooses."""
        from cryoreg.queries.hal import HAL

        return HAL(**self.model_dump())
