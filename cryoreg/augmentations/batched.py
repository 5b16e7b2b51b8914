"""The geometry of whole batches: maps in voxels about the box's centre, and one resampling.

A map is a matrix (B, 3, 4) that takes each output voxel to the point of the input that it reads (as in
`torch.nn.functional.affine_grid`). Axes are (z, y, x), lengths are voxels, the origin is the centre of the box; so
rotations stay rotations in boxes that are not cubes. Nothing here waits for the device, and what happens to one
sample does not depend, to the bit, on the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def rotation_about_z(angle: Tensor) -> Tensor:
    """Return matrices (B, 3, 3) that turn by ``angle`` (B,), radians: positive angles take +x towards +y."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    return torch.stack([one, zero, zero, zero, cos, sin, zero, -sin, cos], dim=-1).unflatten(-1, (3, 3))


def similarity(rotation: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Return the map under which density is zoomed (B,), then rotated (B, 3, 3), then shifted (B, 3) voxels."""
    linear = rotation.transpose(-1, -2) / zoom[:, None, None]
    return torch.cat([linear, -linear @ shift[:, :, None]], dim=-1)


def crop(edge: Tensor, place: Tensor, box: Sequence[int]) -> Tensor:
    """Return the map under which a part of the box fills the whole.

    ``edge`` (B,) is the part's edge as a fraction of the box's; ``place`` (B, 3) in 0..1 is where it lies, from flush
    with the low sides of the box to flush with the high ones.
    """
    centre = (1 - edge)[:, None] * (place - 0.5)
    centre = torch.stack([fraction * size for fraction, size in zip(centre.unbind(-1), box, strict=True)], dim=-1)
    linear = torch.eye(3, dtype=edge.dtype, device=edge.device) * edge[:, None, None]
    return torch.cat([linear, centre[:, :, None]], dim=-1)


def compose(first: Tensor, then: Tensor) -> Tensor:
    """Return the map under which density undergoes ``first``, then ``then``: (B, 3, 4) each."""
    composed = first[:, :, :3] @ then
    return torch.cat([composed[:, :, :3], composed[:, :, 3:] + first[:, :, 3:]], dim=-1)


def resample(x: Tensor, reads: Tensor) -> Tensor:
    """Sample ``x`` (B, C, D, H, W) under the maps ``reads`` (B, 3, 4): trilinear, 0 outside the box."""
    grid = _sampling_grid(reads.to(x.device, x.dtype, non_blocking=True), x.shape[2:])
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def resample_about_z(x: Tensor, reads: Tensor) -> Tensor:
    """Do what `resample` does, several times faster, where no map mixes z with y or x.

    Then trilinear interpolation factors into a blend of two planes and a bilinear sampling of each plane, whose
    weights all planes (and channels) share. What ``reads`` says on mixing is ignored.
    """
    reads = reads.to(x.device, x.dtype, non_blocking=True)
    planes = _blend_planes(x, reads[:, 0, 0], reads[:, 0, 3]).flatten(1, 2)
    grid = _sampling_grid(reads[:, 1:, 1:], x.shape[3:])
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False).view(x.shape)


def _blend_planes(x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Interpolate along D: output plane z reads ``slope · z + offset`` (each (B,))."""
    depth = x.shape[2]
    position = slope[:, None] * _centred(depth, slope) + offset[:, None] + (depth - 1) / 2
    below = position.floor()
    above_weight = position - below
    return _weighted_planes(x, below, 1 - above_weight) + _weighted_planes(x, below + 1, above_weight)


def _weighted_planes(x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Pick planes ``index`` (B, D) of ``x``, times ``weight`` (B, D); planes outside the box are 0."""
    depth = x.shape[2]
    weight = weight * ((index >= 0) & (index < depth))
    samples = torch.arange(len(x), device=x.device)[:, None]
    planes = x.transpose(1, 2)[samples, index.clamp(0, depth - 1).long()].transpose(1, 2)
    return planes * weight[:, None, :, None, None]


def _sampling_grid(reads: Tensor, box: Sequence[int]) -> Tensor:
    """Return what `grid_sample` reads under maps (B, n, n + 1) of an n-dimensional box: (B, *box, n), x first."""
    dims = len(box)
    axes = [_centred(size, reads).view(-1, *[1] * (dims - 1 - i)) for i, size in enumerate(box)]
    rows = [_affine_row(reads[:, i] * (2 / size), axes) for i, size in enumerate(box)]
    return torch.stack(rows[::-1], dim=-1)


def _affine_row(row: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """Evaluate one row (B, n + 1) of the maps over the grid that ``axes`` span."""
    # Not a matrix product, whose rounding may change with the size of the batch.
    *slopes, offset = (part.view(-1, *[1] * len(axes)) for part in row.unbind(-1))
    value = offset
    for slope, axis in zip(slopes, axes, strict=True):
        value = value + slope * axis
    return value


def _centred(size: int, like: Tensor) -> Tensor:
    """Return the voxels' coordinates along one axis, about the centre."""
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
