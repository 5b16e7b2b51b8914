"""An encoder with a linear classifier on its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cryoreg.contracts import Encoder, StepOutput
from cryoreg.training.loading import VolumeLoader


class Classifier(nn.Module):
    """Encoder and one linear layer; its weights start from N(0, 0.01), its biases at 0 (Gupta et al. 2022)."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 1, D, H, W) to logits (B, classes) and features (B, num_features)."""
        features = self.encoder(x)
        return self.head(features), features


def supervised_step(model: nn.Module, x: Tensor, labels: Tensor) -> StepOutput:
    """Return the cross-entropy of ``labels`` (B,), in float32."""
    logits, features = model(x)
    return StepOutput(nn.functional.cross_entropy(logits.float(), labels), features.detach())


def predict(model: nn.Module, loader: VolumeLoader) -> tuple[Tensor, Tensor]:
    """Return logits (N, classes) float32 and labels (N,) of all that the loader serves, in its order, on the CPU."""
    model.eval()
    logits, labels = [], []
    with torch.no_grad():
        for batch in loader.epoch():
            logits.append(model(batch.volumes)[0].float().cpu())
            labels.append(batch.labels.cpu())
    return torch.cat(logits), torch.cat(labels)
