"""What most learners answer with: an encoder and one linear layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Answer, Encoder, Learner, Material
from cryoreg.learners.logistic_regression import FOLDS, NEVER, STRENGTHS, fit

Head = Literal["random", "probe"]
"""How the linear layer begins."""
_ANSWERS = ("encoder.", "head.")


class LinearLearner(Learner):
    """An encoder and one linear layer, which alone are saved.

    The layer's weights start from N(0, 0.01), its biases at 0, as the lab of Gupta et al. 2022 has them; or, before the
    first epoch, as logistic regression on the features of the encoder finds them. With ``unit_length`` the layer sees
    features that are divided by their length.
    """

    def __init__(self, encoder: Encoder, classes: int, *, head: Head = "random", unit_length: bool = False) -> None:
        super().__init__()
        self.encoder, self.begins_as_probe, self.unit_length = encoder, head == "probe", unit_length
        self.head = nn.Linear(encoder.num_features, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Fit the layer before the first epoch, where it begins as a probe."""
        if epoch == 0 and self.begins_as_probe:
            self.fit_head(material.labelled)

    @torch.no_grad()
    def fit_head(
        self,
        labelled: Iterable[tuple[Tensor, Tensor]],
        folds: int = FOLDS,
        strengths: Sequence[float] = STRENGTHS,
    ) -> float:
        """Fit the layer to the encoder's features, a class without a label at the logit `NEVER`; return the C."""
        features, labels = embedded(self.encoder, labelled)
        seen = self.seen(features).cpu().double().numpy()
        found = fit(seen, labels.cpu().numpy(), folds, strengths, standardised=not self.unit_length)
        weight, bias = self.head.weight, self.head.bias
        weight.zero_()
        bias.fill_(NEVER)
        weight[found.classes] = torch.from_numpy(found.weight).to(weight)
        bias[found.classes] = torch.from_numpy(found.bias).to(bias)
        return found.strength

    def classify(self, x: Tensor) -> Answer:
        """Map (B, 1, D, H, W) to logits (B, classes) and features (B, num_features)."""
        features = self.encoder(x)
        return Answer(self.head(self.seen(features)), features)

    def seen(self, features: Tensor) -> Tensor:
        """Return what the layer sees of features (B, num_features)."""
        return F.normalize(features.float(), dim=1) if self.unit_length else features

    def saved_state(self) -> dict[str, Tensor]:
        """Return encoder and layer."""
        return {name: value for name, value in self.state_dict().items() if name.startswith(_ANSWERS)}

    def load_saved_state(self, saved: Mapping[str, Tensor]) -> None:
        """Take back encoder and layer."""
        self.load_state_dict({**self.state_dict(), **saved})


@torch.no_grad()
def embedded(encoder: Encoder, labelled: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return features (N, num_features) float32 and labels (N,) of labelled volumes, the encoder in evaluation mode."""
    encoder.eval()
    parts = [(encoder(volumes).float(), labels) for volumes, labels in labelled]
    features, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return features, labels
