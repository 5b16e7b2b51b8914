"""The loss against a slow re-implementation; what those without a label change, and what they do not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Lesson
from cryoreg_liu2019.learner import AutoencodingClassifier
from cryoreg_liu2019.specs import AutoencodingClassifierSpec


class Flat(Encoder):
    """One convolution and the mean of its map, in eight parts."""

    num_features = 40

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 5, 3, padding=1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.convolution(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool3d(self.forward_features(x), 2).flatten(1)


def learner(**parameters: object) -> AutoencodingClassifier:
    torch.manual_seed(0)
    given = {"code_dim": 6, "hidden_dim": 5, "width": 4, **parameters}
    return AutoencodingClassifierSpec(**given).build(Flat(), 3)  # type: ignore[arg-type]


def volumes(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 8, 8, 8, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 2, 1, 2])


def slow_logits(model: AutoencodingClassifier, code: Tensor) -> list[list[float]]:
    """BatchNorm by the batch itself, then two layers, written out."""
    norm, first, _, last = model.classifier
    mean, spread = code.mean(0), (code.var(0, correction=0) + norm.eps).sqrt()
    hidden = [
        [
            max(0.0, float(first.bias[j]) + sum(float(first.weight[j, k] * row[k]) for k in range(code.shape[1])))
            for j in range(len(first.bias))
        ]
        for row in (code - mean) / spread * norm.weight + norm.bias
    ]
    return [
        [float(last.bias[c]) + sum(float(last.weight[c, j]) * h[j] for j in range(len(h))) for c in range(3)]
        for h in hidden
    ]


@pytest.mark.parametrize("others", [0, 3])
def test_loss_is_cross_entropy_of_the_labelled_and_the_error_of_all(others: int) -> None:
    model, x, more = learner(weight=0.7).train(), volumes(4), volumes(others, seed=1)
    with torch.no_grad():
        loss = model(Lesson([x], LABELS, [more] if others else [])).loss.item()
        everything = torch.cat([x, more])
        pairs = zip(everything.flatten().tolist(), model.reconstruct(everything).flatten().tolist(), strict=True)
        error = sum((a - b) ** 2 for a, b in pairs) / everything.numel()
        logits = slow_logits(model, model.code(model.encoder(x)))
    chances = [[math.exp(z) / sum(map(math.exp, row)) for z in row] for row in logits]
    crossed = -sum(math.log(chances[i][LABELS[i]]) for i in range(4)) / 4
    assert loss == pytest.approx(crossed + 0.7 * error, rel=1e-4)


def test_those_without_a_label_teach_code_and_decoder_and_not_the_classifier() -> None:
    gradients = []
    for seed in (1, 2):
        model = learner().train()
        model(Lesson([volumes(4)], LABELS, [volumes(4, seed)])).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, first in gradients[0].items():
        assert torch.allclose(first, gradients[1][name], atol=1e-7) == name.startswith("classifier."), name


def test_reconstruction_alone_comes_to_show_where_the_density_is() -> None:
    model, x = learner(weight=1.0), volumes(8) * 0.05
    x[:4, :, :4] += 1
    x[4:, :, 4:] += 1
    x = (x - x.mean((2, 3, 4), keepdim=True)) / x.std((2, 3, 4), keepdim=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(Lesson([x[::4]], torch.tensor([0, 1]), [x])).loss.backward()
        optimizer.step()
    again = model.eval().reconstruct(x)
    assert (again - x).square().mean() < 0.5, "an empty reconstruction has 1"
