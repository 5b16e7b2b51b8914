"""Encoders by name, volumes for them, and how far two results are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from cryoreg import registry
from cryoreg.contracts import Encoder
from cryoreg.specs import EncoderSpec


def volumes(batch: int = 3, box: tuple[int, ...] = (32, 32, 32), seed: int = 0) -> Tensor:
    return torch.randn(batch, 1, *box, generator=torch.Generator().manual_seed(seed))


def default_spec(name: str) -> EncoderSpec:
    return registry.find_spec("encoder", name)[1]()


def smallest_edge(spec: EncoderSpec) -> int:
    """The smallest box that the spec claims to take."""
    step = spec.box_step()
    return -(-spec.min_box // step) * step


def built(name: str, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return default_spec(name).build()


def relative_error(value: Tensor, reference: Tensor) -> float:
    return ((value.double() - reference.double()).norm() / reference.double().norm()).item()
