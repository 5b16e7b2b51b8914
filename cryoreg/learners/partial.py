"""Partial fine-tuning: first layers frozen, the others the slower the earlier they are, or changed by low ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cryoreg.contracts import Answer, Encoder
from cryoreg.learners.full import FullFineTuning
from cryoreg.learners.linear import Head


class PartialFineTuning(FullFineTuning):
    """Cross-entropy, as full fine-tuning, with less freedom for the encoder.

    With ``rank`` r, an encoder's matrix W (filters, all else) learns W + B·A alone, A with r rows and B with r columns
    (Hu et al. 2021, LoRA, arXiv 2106.09685); the sum is what is kept, so that answers cost and look as any encoder's.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        *,
        frozen: float,
        decay: float,
        rank: int,
        head: Head = "random",
        unit_length: bool = False,
    ) -> None:
        super().__init__(encoder, classes, head=head, unit_length=unit_length)
        layers = layers_of(encoder)
        self.decay, self.frozen = decay, round(frozen * len(layers))
        for layer in layers[: self.frozen]:
            for parameter in _own(layer):
                parameter.requires_grad_(False)
        self.adapted = _matrices(encoder) if rank else []
        if rank:
            encoder.requires_grad_(False)
        weights = dict(encoder.named_parameters())
        for number, name in enumerate(self.adapted):
            self.register_buffer(f"first_{number}", weights[name].detach().clone())
        shapes = [weights[name].flatten(1).shape for name in self.adapted]
        self.rows = nn.ParameterList(torch.randn(rank, width) / width**0.5 for _, width in shapes)
        self.columns = nn.ParameterList(torch.zeros(height, rank) for height, _ in shapes)

    def train(self, mode: bool = True) -> Self:
        """Keep frozen layers in evaluation mode, with the BatchNorm statistics that they came with."""
        super().train(mode)
        for layer in layers_of(self.encoder)[: self.frozen]:
            for module in layer:
                module.eval()
        return self

    def learning_rates(self) -> dict[str, float]:
        """Return d^k for the layers of the encoder, k steps before the head, and for what their matrices learn."""
        names = {parameter: f"encoder.{name}" for name, parameter in self.encoder.named_parameters()}
        layers = layers_of(self.encoder)
        rates = {
            names[parameter]: self.decay ** (len(layers) - number)
            for number, layer in enumerate(layers)
            for parameter in _own(layer)
        }
        for number, name in enumerate(self.adapted):
            rates |= dict.fromkeys((f"rows.{number}", f"columns.{number}"), rates[f"encoder.{name}"])
        return rates

    def classify(self, x: Tensor) -> Answer:
        """Map (B, 1, D, H, W) to logits (B, classes) and features (B, num_features)."""
        if not (self.adapted and self.training):
            return super().classify(x)
        features = functional_call(self.encoder, dict(self._sums()), (x,))
        return Answer(self.head(self.seen(features)), features)

    @torch.no_grad()
    def after_step(self, step: int, total_steps: int) -> None:
        """Write what was learnt into the encoder."""
        weights = dict(self.encoder.named_parameters())
        for name, weight in self._sums():
            weights[name].copy_(weight)

    def _sums(self) -> Iterator[tuple[str, Tensor]]:
        for number, name in enumerate(self.adapted):
            first: Tensor = getattr(self, f"first_{number}")
            yield name, first + (self.columns[number] @ self.rows[number]).view_as(first)


def layers_of(encoder: nn.Module) -> list[list[nn.Module]]:
    """Return the modules with weights of their own, in the order in which the encoder declares them.

    One whose weights are vectors, a normalisation, belongs to the layer before it.
    """
    layers: list[list[nn.Module]] = []
    for module in encoder.modules():
        own = list(module.parameters(recurse=False))
        if own and layers and all(parameter.ndim < 2 for parameter in own):
            layers[-1].append(module)
        elif own:
            layers.append([module])
    return layers


def _own(layer: list[nn.Module]) -> Iterator[nn.Parameter]:
    for module in layer:
        yield from module.parameters(recurse=False)


def _matrices(encoder: nn.Module) -> list[str]:
    return [name for name, parameter in encoder.named_parameters() if parameter.ndim > 1 and parameter.requires_grad]
