"""Point groups of rotations, as matrices that act on (x, y, z)."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cryoreg.errors import ConfigError

Rotations = NDArray[np.float64]
"""(order, 3, 3)."""

POINT_GROUPS = ("C1", "C2", "C3", "C4", "C6", "D2", "D3", "D7", "T", "O")


def rotation(axis: Iterable[float], angle: float) -> NDArray[np.float64]:
    """Return the matrix that turns by ``angle`` radians about ``axis`` (Rodrigues' formula)."""
    x, y, z = np.array(list(axis)) / np.linalg.norm(list(axis))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def generate(generators: Iterable[NDArray[np.float64]], limit: int = 60) -> Rotations:
    """Return the group that some rotations generate, the identity first.

    Raises `ValueError` where it has more than ``limit`` elements (the icosahedral group, the largest polyhedral one,
    has 60).
    """
    generators = list(generators)
    elements = [np.eye(3)]
    for element in elements:  # grows while it is walked
        for product in (generator @ element for generator in generators):
            if np.abs(np.array(elements) - product).max(axis=(1, 2)).min() > 1e-6:
                elements.append(product)
        if len(elements) > limit:
            raise ValueError(f"the rotations generate a group of more than {limit} elements")
    return np.array(elements)


def one_of_each_pair(rotations: Rotations) -> Rotations:
    """Return the rotations of a group but the identity, and of each with its inverse the first alone."""
    return rotations[list(_firsts(rotations.tobytes()))]


@functools.lru_cache(maxsize=64)
def _firsts(group: bytes) -> tuple[int, ...]:
    rotations = np.frombuffer(group).reshape(-1, 3, 3)
    # The trace of g·hᵀ is 3 where h = g; here h is the inverse, the transpose, so that it is that of g·h.
    inverse = np.einsum("gij,hji->gh", rotations, rotations).argmax(axis=1).tolist()
    return tuple(number for number, other in enumerate(inverse) if 0 < number <= other)


@functools.lru_cache(maxsize=64)
def point_group(name: str) -> Rotations:
    """Return a group by its Schoenflies symbol: Cn or Dn (main axis z, a twofold along x), T, O, I (axes x, y, z).

    Raises `ConfigError` for any other name.
    """
    return generate(_generators(name))


def _generators(name: str) -> list[NDArray[np.float64]]:
    diagonal = rotation((1, 1, 1), 2 * np.pi / 3)
    if name in ("T", "O"):
        return [rotation((0, 0, 1), np.pi if name == "T" else np.pi / 2), diagonal]
    if name == "I":
        return [rotation((0, 1, (1 + np.sqrt(5)) / 2), 2 * np.pi / 5), diagonal]
    if name[:1] in ("C", "D") and name[1:].isdecimal() and 0 < int(name[1:]) <= 30:
        turn = rotation((0, 0, 1), 2 * np.pi / int(name[1:]))
        return [turn] if name[0] == "C" else [turn, rotation((1, 0, 0), np.pi)]
    raise ConfigError(f"unknown point group '{name}'; use C1 to C30, D1 to D30, T, O or I")
