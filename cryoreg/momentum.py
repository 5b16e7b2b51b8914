"""Slowly following copies of modules, which take no gradient: momentum encoders, teachers, averaged weights."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def momentum_copy(module: Module) -> Module:
    """Return a copy of ``module`` whose parameters take no gradient."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(copied: nn.Module, module: nn.Module, momentum: float) -> None:
    """Move the parameters of a momentum copy: θ' ← m·θ' + (1 − m)·θ.

    Buffers stay: in training mode the copy gathers the BatchNorm statistics of its own batches, as in He et al. 2020
    (arXiv 1911.05722), so they fit its own weights.
    """
    torch._foreach_lerp_(list(copied.parameters()), list(module.parameters()), 1.0 - momentum)


@torch.no_grad()
def copy_buffers(copied: nn.Module, module: nn.Module) -> None:
    """Give a copy the buffers of its module: for one that gathers no BatchNorm statistics of its own."""
    for own, other in zip(copied.buffers(), module.buffers(), strict=True):
        own.copy_(other)


def rising_momentum(base: float, step: int, total_steps: int) -> float:
    """Return the momentum of a step: along a cosine from ``base`` to 1 (Grill et al. 2020, section 3.2)."""
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2
