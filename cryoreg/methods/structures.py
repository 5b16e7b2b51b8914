"""Which structure is it? Classification by cosine similarity to one learnt proxy for each structure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput


class Structures(Method):
    """Tell each subtomogram's structure by the proxy that its projection is nearest to.

    With unit vectors z and wₖ, the loss is the cross-entropy of s·z·wₖ: the normalised softmax of Wang et al. 2017
    (NormFace, arXiv 1704.06369), which Zhai & Wu 2019 (arXiv 1811.12649) found to teach features as well as contrasts
    do. Proxies start as N(0, 1). Subtomograms without a label have no part in the loss.
    """

    def __init__(self, encoder: Encoder, classes: int, scale: float, hidden_dim: int, output_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.num_features, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, output_dim)
        )
        self.proxies = nn.Parameter(torch.randn(classes, output_dim))
        self.scale = scale
        self.collapsed_loss = math.log(classes)

    def forward(self, views: Sequence[Tensor], labels: Tensor | None = None) -> StepOutput:
        """Return the loss of one view (B, 1, D, H, W) and labels (B,), -1 where unknown, in float32."""
        features = self.encoder(views[0])
        if labels is None:
            labels = torch.full((len(features),), -1, device=features.device)
        with torch.autocast(features.device.type, enabled=False):
            z = F.normalize(self.head(features.float()), dim=1)
            logits = self.scale * z @ F.normalize(self.proxies, dim=1).T
            known = (labels >= 0).float()
            losses = F.cross_entropy(logits, labels.clamp(min=0), reduction="none")
            loss = (losses * known).sum() / known.sum().clamp(min=1)
        return StepOutput(loss, features.detach())
