"""Augmentations by name, streams, and a batch of noise, for the tests of augmentations."""

from __future__ import annotations

import functools
from typing import Any

import torch

from cryoreg.contracts import Augmentation
from cryoreg.randomness import SampleRng
from cryoreg.registry import find_spec

ALPHA = 1e-3
"""The level of every statistical test; seeds are fixed."""
BOX = (20, 24, 28)


def create(name: str, **settings: Any) -> Any:
    augmentation = find_spec("augmentation", name)[1](**settings).build()
    assert isinstance(augmentation, Augmentation)
    return augmentation


def streams(samples: torch.Tensor, seed: int = 0, epoch: int = 0, view: int = 0) -> SampleRng:
    return SampleRng.for_batch(seed, epoch, samples, view)


@functools.cache
def batch(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 1, *BOX, generator=torch.Generator().manual_seed(5))
