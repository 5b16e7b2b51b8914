"""What most learners answer with: an encoder and one linear layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Answer, Encoder, Learner, Material
from cryoreg.learners.logistic_regression import FOLDS, NEVER, STRENGTHS, Fitted, fit
from cryoreg.turns import rotation_group

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
        features, labels = embedded(self, labelled)
        seen = self.seen(features).cpu().double().numpy()
        standardised = not self.unit_length
        found = fit(seen, labels.cpu().numpy(), folds, strengths, standardised=standardised, copies=self.turns)
        self.take_layer(found)
        return found.strength

    @torch.no_grad()
    def take_layer(self, found: Fitted) -> None:
        """Answer as a fitted classifier does, a class without a label at the logit `NEVER`."""
        weight, bias = self.head.weight, self.head.bias
        weight.zero_()
        bias.fill_(NEVER)
        weight[found.classes] = torch.from_numpy(found.weight).to(weight)
        bias[found.classes] = torch.from_numpy(found.bias).to(bias)

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
def embedded(learner: Learner, labelled: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return float32 features (N · turns, num_features) of labelled volumes, in evaluation mode, and their labels.

    Those of the N volumes as they are come first, then those of each turned copy that the learner's answers are the
    mean of.
    """
    encoder, turns = learner.encoder.eval(), rotation_group(learner.turns)
    features, labels = [], []
    with encoder.averaging(encoder.turns if learner.turns == 1 else 1):
        for x, known in labelled:
            features.append(torch.stack([encoder(turn(x)).float() for turn in turns]))
            labels.append(known)
    return torch.cat(features, 1).flatten(0, 1), torch.cat(labels).repeat(learner.turns)
