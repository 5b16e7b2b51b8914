"""Rotation prediction (Gidaris et al. 2018, arXiv 1803.07728), in 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.errors import DataError
from cryoreg.turns import Rotation, cube_rotations, rotation_group

RotationSet = Literal["wedge", "inplane", "cube"]


def rotation_set(name: RotationSet) -> list[Rotation]:
    """Return the rotations of a set: those that keep all axes, those that keep the beam's direction, or all."""
    if name == "wedge":
        return [rotation for rotation in cube_rotations() if rotation.axes == (0, 1, 2)]
    if name == "inplane":
        return list(rotation_group(4))
    return list(cube_rotations())


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
