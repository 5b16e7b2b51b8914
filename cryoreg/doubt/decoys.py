"""Volumes that hold no particle for certain, made from those that do."""

from __future__ import annotations

import torch
from torch import Tensor

_AXES = (2, 3, 4)


def scrambled(volumes: Tensor, generator: torch.Generator) -> Tensor:
    """Return volumes (B, 1, D, H, W) with the same power spectrum and random phases, which no structure has.

    Phases are those of white noise, drawn on the CPU, so that a seed means the same on every device.
    """
    noise = torch.randn(volumes.shape, generator=generator).to(volumes.device)
    with torch.autocast(volumes.device.type, enabled=False):
        phases = torch.fft.rfftn(noise, dim=_AXES)
        amplitudes = torch.fft.rfftn(volumes.float(), dim=_AXES).abs()
        mixed = amplitudes * phases / phases.abs().clamp_min(torch.finfo(torch.float32).tiny)
        return torch.fft.irfftn(mixed, s=volumes.shape[2:], dim=_AXES)
