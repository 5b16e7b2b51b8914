"""Works around torch's bf16 convolutions on CPUs, whose weight gradients are wrong where the kernel outgrows its input.

Measured with torch 2.15 (oneDNN, AVX512): 3³ kernels on 2³ inputs, 5³ on 3³ and 7³ on 4³ give gradients that are wrong,
at times NaN, in both memory layouts. Deep encoders come down to such sizes, and RB3D does at boxes of 4 and 5 voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GuardedConv3d(nn.Conv3d):
    """A convolution that autocast leaves in float32 where its input is smaller than its kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, D, H, W)."""
        outgrown = any(size < kernel for size, kernel in zip(x.shape[2:], self.kernel_size, strict=True))
        if not (outgrown and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


def guard_convolutions(module: nn.Module) -> None:
    """Turn every plain `torch.nn.Conv3d` of a module that runs on a CPU into a `GuardedConv3d`, in place."""
    for layer in module.modules():
        if type(layer) is nn.Conv3d:
            layer.__class__ = GuardedConv3d
