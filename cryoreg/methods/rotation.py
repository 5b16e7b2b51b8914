"""Rotation prediction (Gidaris et al. 2018, arXiv 1803.07728), in 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations, product
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.errors import DataError

RotationSet = Literal["wedge", "inplane", "cube"]


class Rotation(NamedTuple):
    """A rotation of the voxel grid onto itself: a permutation of the axes (D, H, W), then reflections."""

    axes: tuple[int, ...]
    flipped: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate volumes (B, 1, D, H, W)."""
        return x.permute(0, 1, *(2 + axis for axis in self.axes)).flip([2 + axis for axis in self.flipped])


def cube_rotations() -> list[Rotation]:
    """Return the 24 rotations of the cube, the identity first."""
    return [
        Rotation(axes, tuple(axis for axis in range(3) if signs[axis] < 0))
        for axes in permutations(range(3))
        for signs in product((1, -1), repeat=3)
        if _parity(axes) * math.prod(signs) == 1
    ]


def rotation_set(name: RotationSet) -> list[Rotation]:
    """Return the rotations of a set: those that keep all axes, those that keep the beam's direction, or all."""
    if name == "wedge":
        return [rotation for rotation in cube_rotations() if rotation.axes == (0, 1, 2)]
    if name == "inplane":
        return [rotation for rotation in cube_rotations() if rotation.axes[0] == 0 and 0 not in rotation.flipped]
    return cube_rotations()


class RotationPrediction(Method):
    """Tell by which rotation a subtomogram was turned, each being shown in ``copies`` different ones of a set.

    Rotations are transpositions and reflections of the voxel grid: nothing is interpolated.
    """

    def __init__(self, encoder: Encoder, *, rotations: RotationSet, copies: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.rotations = rotation_set(rotations)
        self.head = nn.Linear(encoder.num_features, len(self.rotations))
        self.copies = copies
        self.collapsed_loss = math.log(len(self.rotations))

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of one view (B, 1, D, H, W), in float32; the features are those of each first copy.

        Raises `DataError` where a rotation would change the box's shape.
        """
        [view] = views
        self._check_box(view)
        chosen = torch.rand(len(view), len(self.rotations), device=view.device).argsort(1)[:, : self.copies].T
        features = self.encoder(self.rotated(view, chosen).flatten(0, 1))
        with torch.autocast(view.device.type, enabled=False):
            loss = F.cross_entropy(self.head(features.float()), chosen.flatten())
        return StepOutput(loss, features[: len(view)].detach())

    def rotated(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Return the copies (copies, B, 1, D, H, W) of ``x`` (B, 1, D, H, W) turned by rotations (copies, B)."""
        turned = torch.stack([rotation(x) for rotation in self.rotations])
        return turned[chosen, torch.arange(len(x), device=x.device)]

    def _check_box(self, x: Tensor) -> None:
        if any(rotation(x[:1]).shape != x[:1].shape for rotation in self.rotations):
            size = "×".join(map(str, x.shape[2:]))
            raise DataError(
                f"these rotations exchange axes of different lengths, but the subtomograms are {size}; "
                "set method.rotations=wedge, or extract cubes"
            )


def _parity(axes: Sequence[int]) -> int:
    """Return 1 for an even permutation, -1 for an odd one."""
    inversions = sum(axes[i] > axes[j] for i in range(len(axes)) for j in range(i + 1, len(axes)))
    return -1 if inversions % 2 else 1
