"""The augmentation of Gupta et al. 2022, composed of MONAI's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.transforms import Affine, Compose, Resize, SpatialCrop, Transform
from torch import Tensor

from cryoreg.augmentations.gupta2022 import Gupta2022, Parameters


class Gupta2022Monai(Gupta2022):
    """The distribution of `Gupta2022`, volume by volume: `SpatialCrop` and `Resize`, then `Affine`.

    Draws the same parameters from the same streams. It differs in three ways: crops are rounded to whole voxels; a
    volume that is cropped and moved is interpolated twice; and then zeros, not the data beyond the crop, come in at
    the rim. `Resize` also repeats the crop's outermost voxels over the last half voxel.
    """

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        """Transform ``x`` (B, 1, D, H, W) by the given parameters."""
        rows = zip(*(values.tolist() for values in parameters), strict=True)
        return torch.stack([_transform(volume, Parameters(*row)) for volume, row in zip(x, rows, strict=True)])


def _transform(volume: Tensor, p: Parameters) -> Tensor:
    """Transform one volume (1, D, H, W) by the plain numbers in ``p``."""
    box = volume.shape[1:]
    steps = [*(_crop(p, box) if p.cropped else []), *(_affine(p, box) if p.moved else [])]
    return Compose(steps)(volume).as_tensor() if steps else volume


def _crop(p: Parameters, box: Sequence[int]) -> list[Transform]:
    size = [round(float(p.edge) * n) for n in box]
    start = [round(float(place) * (n - s)) for place, n, s in zip(p.place, box, size, strict=True)]
    end = [a + s for a, s in zip(start, size, strict=True)]
    return [SpatialCrop(roi_start=start, roi_end=end), Resize(box, mode="trilinear", align_corners=False)]


def _affine(p: Parameters, box: Sequence[int]) -> list[Transform]:
    """Say in MONAI's terms (what is read is scaled, then translated, then rotated) how density moves."""
    zoom = float(p.zoom)
    shift = [float(fraction) * n for fraction, n in zip(p.shift, box[1:], strict=True)]
    return [
        Affine(
            rotate_params=(float(p.angle), 0.0, 0.0),
            translate_params=(0.0, -shift[0] / zoom, -shift[1] / zoom),
            scale_params=(1 / zoom,) * 3,
            mode="bilinear",
            padding_mode="zeros",
            image_only=True,
        )
    ]
