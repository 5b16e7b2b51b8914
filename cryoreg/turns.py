"""The rotations of the cube, which map the voxel grid onto itself, so that nothing is resampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations, product
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Turns = Literal[1, 4, 8, 24]
"""How many rotations a group of them has."""


class Rotation(NamedTuple):
    """A rotation of the voxel grid onto itself: a permutation of the axes (D, H, W), then reflections."""

    axes: tuple[int, ...]
    flipped: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate volumes (..., D, H, W)."""
        before = x.ndim - 3
        turned = x.permute(*range(before), *(before + axis for axis in self.axes))
        return turned.flip([before + axis for axis in self.flipped])

    def matrix(self) -> tuple[tuple[int, ...], ...]:
        """Return the matrix R that acts on columns (z, y, x): what lay at p lies at Rp, from the box's centre."""
        signs = [-1 if axis in self.flipped else 1 for axis in range(3)]
        return tuple(tuple(signs[row] * (column == self.axes[row]) for column in range(3)) for row in range(3))


def cube_rotations() -> tuple[Rotation, ...]:
    """Return the 24 rotations of the cube, the identity first."""
    return _CUBE


def _cube() -> tuple[Rotation, ...]:
    return tuple(
        Rotation(axes, tuple(axis for axis in range(3) if signs[axis] < 0))
        for axes in permutations(range(3))
        for signs in product((1, -1), repeat=3)
        if _parity(axes) * math.prod(signs) == 1
    )


def rotation_group(count: Turns) -> tuple[Rotation, ...]:
    """Return a group of 1, 4, 8 or 24 rotations of the cube, the identity first.

    4: about the beam (z), by 0°, 90°, 180° and 270°. 8: these, and the half turns about y, x and the two diagonals
    between them, which turn the beam round: all rotations that keep its line. 24: all.

    Of the eight, the identity and the half turns about z, y and x keep the wedge of tilts from -t to t about y or x;
    the quarter turns and the half turns about the diagonals make of that about y the one about x.
    """
    return _GROUPS[count]


def of_turns(ask: Callable[[Tensor], T], x: Tensor, count: Turns) -> list[T]:
    """Return what ``ask`` says of each of ``count`` turned copies of volumes (..., D, H, W), the identity first.

    On a CPU, where no gradient is wanted, copies are asked in threads of their own: that takes two thirds of what the
    threads of each operation take, whose shares are small. So ``ask`` must not change what it reads.
    """
    rotations, cores = rotation_group(count), torch.get_num_threads()
    threads = min(count, cores)
    if x.device.type != "cpu" or threads == 1 or torch.is_grad_enabled() or torch.compiler.is_exporting():
        return [ask(turn(x)) for turn in rotations]
    inference, half = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    precision = torch.get_autocast_dtype("cpu")

    def asked(turn: Rotation) -> T:
        with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", precision, half):
            return ask(turn(x))

    try:
        with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(cores // threads)) as pool:
            return list(pool.map(asked, rotations))
    finally:
        torch.set_num_threads(cores)  # which is not of one thread alone


def _parity(order: tuple[int, ...]) -> int:
    inversions = sum(order[i] > order[j] for i in range(3) for j in range(i + 1, 3))
    return -1 if inversions % 2 else 1


_CUBE = _cube()
_GROUPS: dict[int, tuple[Rotation, ...]] = {
    1: _CUBE[:1],
    4: tuple(rotation for rotation in _CUBE if rotation.axes[0] == 0 and 0 not in rotation.flipped),
    8: tuple(rotation for rotation in _CUBE if rotation.axes[0] == 0),
    24: _CUBE,
}
