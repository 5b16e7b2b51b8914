"""The augmentation of Gupta et al. 2022, on whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cryoreg.augmentations import batched
from cryoreg.contracts import Box
from cryoreg.randomness import SampleRng


class Parameters(NamedTuple):
    """What is drawn for a batch: always everything, so that a stream's position does not depend on chance.

    Numbers are float64, and all lie on the device of the streams.
    """

    cropped: Tensor
    """Whether the crop is made, bool (B,)."""
    moved: Tensor
    """Whether the affine is made, bool (B,)."""
    edge: Tensor
    """Edge of the crop as a fraction of the box's (B,)."""
    place: Tensor
    """Where the crop lies, 0..1 (B, 3): from flush with the low sides of the box to flush with the high ones."""
    angle: Tensor
    """Rotation about z, radians (B,); positive takes +x towards +y."""
    zoom: Tensor
    """Factor by which density grows (B,)."""
    shift: Tensor
    """(B, 2): how far density moves along y and x, as a fraction of the box's edges."""


@dataclass(frozen=True)
class Gupta2022:
    """Random resized crop, then zoom, rotation about z and in-plane shift, as one resampling.

    Gupta et al. 2022 (Front. Physiol. 13:957484). The crop keeps the shape of the box; its volume, and each other
    parameter, is uniform in its range. Outside the box is 0, the mean of a z-scored subtomogram. Where a cropped
    volume is moved, what comes in at its rim is what really lies there, not zeros as where crop and affine are two
    steps. A sample for which neither is drawn is returned bit by bit.
    """

    crop_p: float
    crop_scale_min: float
    affine_p: float
    rotation: float
    translation: float
    scale: float

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        """Augment ``x`` (B, 1, D, H, W)."""
        return self.apply(x, self.draw(rng))

    def draw(self, rng: SampleRng) -> Parameters:
        """Draw the parameters of a batch."""
        # float64: rounded to float32 in the end, a sine is the same in any batch and nearly so on any device.
        u = rng.uniform((10,)).double()
        symmetric = 2 * u[:, 6:] - 1
        return Parameters(
            cropped=u[:, 0] < self.crop_p,
            moved=u[:, 1] < self.affine_p,
            edge=(1 - (1 - self.crop_scale_min) * u[:, 2]) ** (1 / 3),
            place=u[:, 3:6],
            angle=math.radians(self.rotation) * symmetric[:, 0],
            zoom=1 + self.scale * symmetric[:, 1],
            shift=self.translation * symmetric[:, 2:],
        )

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        """Transform ``x`` (B, 1, D, H, W) by the given parameters."""
        p = parameters
        depth, height, width = x.shape[2:]
        y = batched.resample_about_z(x, self.reads(p, (depth, height, width)))
        changed = (p.cropped | p.moved).to(x.device, non_blocking=True)
        return torch.where(changed[:, None, None, None, None], y, x)

    def reads(self, parameters: Parameters, box: Box) -> Tensor:
        """Return the map (B, 3, 4) of each sample in a box (D, H, W), as in `cryoreg.augmentations.batched`."""
        p = parameters
        crop = batched.crop(torch.where(p.cropped, p.edge, 1.0), p.place, box)
        shift = torch.stack([torch.zeros_like(p.angle), p.shift[:, 0] * box[1], p.shift[:, 1] * box[2]], dim=-1)
        affine = batched.similarity(
            batched.rotation_about_z(p.angle * p.moved),
            torch.where(p.moved, p.zoom, 1.0),
            shift * p.moved[:, None],
        )
        return batched.compose(crop, affine)
