"""Is it learning? What the features of the training batches tell, at no extra pass through the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from cryoreg.contracts import StepOutput

KEPT = 512
"""So many of the latest feature vectors give the rank."""
_ALIKE = 1e-3
"""Features whose spread is a smaller share of their length count as all alike."""
_LINE = 2.0
"""Features of a smaller rank vary along one direction only."""
_SAME_LOSS = 0.01
"""A loss within this fraction of the collapsed one counts as it."""


class FeatureFigures(NamedTuple):
    """What one batch's features tell; scalars, NaN where the batch cannot tell."""

    std: Tensor
    """Mean over the features of their standard deviation."""
    alignment: Tensor
    """Mean squared distance between two views of a subtomogram, on the unit sphere: 0 is perfect."""
    uniformity: Tensor
    """log mean exp(−2·d²) over pairs at distance d on the unit sphere: 0 where all are alike, down to about −4."""

    @classmethod
    def of(cls, output: StepOutput) -> FeatureFigures:
        """Measure a batch's features (B, num_features).

        Alignment and uniformity as Wang & Isola 2020 (arXiv 2005.10242) define them, with α = 2 and t = 2.
        """
        features = output.features.float()
        unknown = features.new_tensor(math.nan)
        if len(features) < 2:
            return cls(features.new_zeros(()), unknown, unknown)
        unit = F.normalize(features, dim=1)
        alignment = unknown
        if output.other_features is not None:
            alignment = (unit - F.normalize(output.other_features.float(), dim=1)).square().sum(1).mean()
        uniformity = torch.pdist(unit).square().mul(-2).exp().mean().log()
        return cls(features.std(dim=0).mean(), alignment, uniformity)


class MonitorState(TypedDict):
    """What a checkpoint holds of a monitor."""

    latest: Tensor
    sums: list[float]
    steps: int


MONITORED = ("feature_std", "rankme", "alignment", "uniformity", "collapsed")
"""The columns of metrics.csv that tell of the features."""


class Monitor:
    """Keeps the latest features, and the sums over an epoch of what they tell."""

    def __init__(self) -> None:
        self.latest = torch.empty(0, 0)
        """(n, num_features), n ≤ `KEPT`, the oldest first."""
        self.sums = [0.0] * len(FeatureFigures._fields)
        self.steps = 0
        self.alarm = ""

    def count(self, features: Tensor, figures: Sequence[float]) -> None:
        """Take a step's features (B, num_features), those of all processes, and its `FeatureFigures`."""
        fresh = features.detach().float().cpu()
        alike = self.latest.shape[1:] == fresh.shape[1:]  # a learner may turn to another network
        self.latest = torch.cat([self.latest, fresh])[-KEPT:] if alike else fresh[-KEPT:]
        self.sums = [total + value for total, value in zip(self.sums, figures, strict=True)]
        self.steps += 1

    def end_epoch(self, loss: float, collapsed_loss: float | None = None) -> dict[str, float]:
        """Return an epoch's columns for metrics.csv, given its mean loss and a collapsed encoder's; begin the next."""
        std, alignment, uniformity = (total / max(1, self.steps) for total in self.sums)
        self.sums, self.steps = [0.0] * len(self.sums), 0
        rank = rankme(self.latest)
        self.alarm = self._alarm(loss, rank, collapsed_loss)
        figures = std, rank, alignment, uniformity, int(bool(self.alarm))
        return dict(zip(MONITORED, figures, strict=True))

    def _alarm(self, loss: float, rank: float, collapsed_loss: float | None) -> str:
        """Return why the encoder seems to have collapsed, or not to learn yet; an empty string where it does."""
        if len(self.latest) > 1 and spread(self.latest) < _ALIKE:
            return "the features of all subtomograms are alike"
        if rank < _LINE:
            return "the features vary along one direction only"
        if collapsed_loss is not None and abs(loss - collapsed_loss) < _SAME_LOSS * abs(collapsed_loss):
            return f"the loss is {collapsed_loss:.3f}, that of an encoder to which all subtomograms look alike"
        return ""

    def state(self) -> MonitorState:
        """Return what a resume needs."""
        return {"latest": self.latest, "sums": self.sums, "steps": self.steps}

    def load_state(self, state: MonitorState) -> None:
        """Take back what `state` returned."""
        self.latest, self.sums, self.steps = state["latest"], list(state["sums"]), state["steps"]


def rankme(features: Tensor) -> float:
    """Return the effective rank of features (N, D) about their mean: exp of the entropy of p = σ / Σσ, σ singular.

    RankMe, Garrido et al. 2023 (arXiv 2210.02885), after Roy & Vetterli 2007; at most min(N − 1, D). The papers do not
    take the mean off; without that, features that are all positive, as RB3D's, have a rank near 1 whatever they say.
    """
    if len(features) < 2:
        return math.nan
    values = torch.linalg.svdvals(features.double() - features.double().mean(0))
    if values.sum() == 0:
        return 1.0
    p = values / values.sum()
    return float(torch.special.entr(p).sum().exp())


def spread(features: Tensor) -> float:
    """Return the root mean square distance of features (N, D) from their mean, over their root mean square length."""
    length = features.square().sum(1).mean().sqrt()
    distance = (features - features.mean(0)).square().sum(1).mean().sqrt()
    return float(distance / length) if length > 0 else 0.0
