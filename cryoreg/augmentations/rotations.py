"""Rotations of whole batches: uniform over SO(3), or those that leave a missing wedge where it is.

Matrices are (B, 3, 3), float64, and act on columns (z, y, x). They are made without a matrix product, so that a
sample's rotation is the same, to the bit, in any batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def uniform_rotations(uniform: Tensor) -> Tensor:
    """Return rotations, uniform over SO(3), from numbers (B, 3) that are uniform in 0..1.

    Shoemake 1992 (Graphics Gems III, p. 124): a point that is uniform on the sphere of unit quaternions.
    """
    inner, outer = torch.sqrt(uniform[:, 0]), torch.sqrt(1 - uniform[:, 0])
    first, second = (2 * math.pi * uniform[:, 1:]).unbind(-1)
    return rotation_of_quaternion(
        torch.stack(
            [outer * torch.sin(first), outer * torch.cos(first), inner * torch.sin(second), inner * torch.cos(second)],
            dim=-1,
        )
    )


def rotation_of_quaternion(quaternion: Tensor) -> Tensor:
    """Return the matrices of unit quaternions (B, 4): the real part first, then those along the three axes."""
    w, a, b, c = quaternion.unbind(-1)
    entries = [
        1 - 2 * (b * b + c * c), 2 * (a * b - w * c), 2 * (a * c + w * b),
        2 * (a * b + w * c), 1 - 2 * (a * a + c * c), 2 * (b * c - w * a),
        2 * (a * c - w * b), 2 * (b * c + w * a), 1 - 2 * (a * a + b * b),
    ]  # fmt: skip
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def half_turns(uniform: Tensor) -> Tensor:
    """Return one of the group D2's rotations each, all four equally likely, from numbers (B,) uniform in 0..1.

    None, or 180° about z, y or x: each only changes signs of kz, ky and kx, and a wedge |kz| ≤ tan(tilt)·|kx| (or
    |ky|) does not look at signs. These are all the proper rotations that keep such a wedge. Where the tilt range is
    not symmetric, only the one about the tilt axis keeps it.
    """
    # Signs are (s, t, s·t) for the four choices of s and t, so the determinant is 1.
    choice = (4 * uniform).long()
    first, second = 1.0 - 2.0 * (choice % 2), 1.0 - 2.0 * (choice // 2)
    return torch.diag_embed(torch.stack([first, second, first * second], dim=-1).to(uniform.dtype))
