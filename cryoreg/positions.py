"""Fixed positions of the patches that a 3D transformer sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def position_embedding(
    grid: Sequence[int], width: int, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the sines and cosines of the patches' places (1, N, width) for a grid (d, h, w), W running fastest.

    Of 6n channels, n = ``width`` // 6, a third each encodes a patch's index along D, H and W: the sines, then the
    cosines, of index · 10000^(−i/n), i = 0..n−1 (Vaswani et al. 2017, arXiv 1706.03762). Channels left over are zero.
    """
    count = width // 6
    frequencies = 10_000 ** (-torch.arange(count, device=device, dtype=torch.float32) / count)
    places = torch.cartesian_prod(*(torch.arange(n, device=device, dtype=torch.float32) for n in grid))
    angles = places[:, :, None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), dim=2).flatten(1)
    return nn.functional.pad(waves, (0, width - 6 * count))[None].to(dtype)
