"""YOPO ("you only pool once"), the feature extractor of DISCA (Zeng et al.): parallel columns without inner pooling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg.encoders.dsrf3d import initialise

FIRST = {3: range(4, 10), 4: range(3, 7), 5: range(2, 5), 7: range(1, 3)}
"""Kernel to the channels of its column's layers; every column leaves 20³ of 32³, and together 9 + 6 + 4 + 2 = 21."""
SECOND = {3: range(10, 19), 4: range(7, 13), 5: range(5, 9), 6: range(3, 6)}


class YOPO(Encoder):
    """Two stages of parallel columns of valid convolution, ELU and batch normalisation; every layer's maximum.

    Features: the 290 channels of all 37 layers, each as its maximum over the volume. The network is laid out for boxes
    of 32³, and its spec takes no others, although global maxima would let larger ones through.
    """

    num_features = 290
    map_margin = 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ModuleList(_column(1, kernel, channels) for kernel, channels in FIRST.items())
        self.second = nn.ModuleList(_column(21, kernel, channels) for kernel, channels in SECOND.items())
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, 32, 32, 32) to (B, 21, 20, 20, 20), where the first stage's columns meet.

        It is the last map that they share: the second stage's columns end at 2³, 2³, 4³ and 5³, and the features
        are maxima over all layers, not a function of this map alone.
        """
        return torch.cat([column(x) for column in self.first], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, 32, 32, 32) to features (B, 290)."""
        columns = [list(_layer_outputs(column, x)) for column in self.first]
        middle = torch.cat([outputs[-1] for outputs in columns], dim=1)
        columns += [list(_layer_outputs(column, middle)) for column in self.second]
        return torch.cat([output.amax((2, 3, 4)) for outputs in columns for output in outputs], dim=1)


def _column(inputs: int, kernel: int, channels: range) -> nn.Sequential:
    return nn.Sequential(
        *(
            nn.Sequential(nn.Conv3d(before, after, kernel), nn.ELU(), nn.BatchNorm3d(after))
            for before, after in pairwise([inputs, *channels])
        )
    )


def _layer_outputs(column: nn.Module, x: Tensor) -> Iterator[Tensor]:
    for layer in column.children():
        x = layer(x)
        yield x
