"""Central slices of volumes, the right way up, and names beside rows of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import NDArray

Array = NDArray[np.float32]

DENSITY = Normalize(-3, 4)
"""Standard deviations of a z-scored volume: the same grey is the same density in every panel."""
_LINE = 26
"""Letters of a name in one line."""
_LETTER = 0.7
"""Width of a letter over the size of its font, at most, as names go."""
_POINTS = 72
"""Of an inch."""


class Slice(NamedTuple):
    """A plane through the middle voxel (edge // 2) of a volume."""

    normal: str
    """The axis that it is seen along: "z", "y" or "x"."""
    right: str
    up: str
    """The axes that run to the right and upwards."""
    image: Array
    """(up, right), the lowest row first."""


def central_slices(volume: Array) -> list[Slice]:
    """Return the central slices of a volume (D, H, W) across z, y and x."""
    depth, height, width = volume.shape
    return [
        Slice("z", "x", "y", volume[depth // 2]),
        Slice("y", "x", "z", volume[:, height // 2]),
        Slice("x", "y", "z", volume[:, :, width // 2]),
    ]


def show(axes: Axes, image: Array, **look: object) -> None:
    """Draw a slice into a panel without ticks; further arguments as for ``imshow``."""
    style = {"cmap": "gray", "norm": DENSITY, "interpolation": "nearest", **look}
    axes.imshow(image, origin="lower", **style)  # type: ignore[arg-type]
    axes.set_xticks([])
    axes.set_yticks([])


def name_row(panel: Axes, name: str, size: float = 8) -> None:
    """Write a name on the left of a row's first panel, broken into lines where it is long, and never cut."""
    panel.set_ylabel(broken(name), rotation=0, fontsize=size, ha="right", va="center", labelpad=6, parse_math=False)


def room_for(names: Iterable[str], size: float = 8) -> float:
    """Return how wide, in inches, the longest line of some names is as `name_row` writes them."""
    longest = max((len(line) for name in names for line in broken(name).split("\n")), default=0)
    return longest * _LETTER * size / _POINTS + 0.15


def broken(name: str) -> str:
    """Break long lines of a name after what separates its parts."""
    return "\n".join(part for line in name.split("\n") for part in _lines(line))


def _lines(text: str) -> list[str]:
    lines = [""]
    for part in re.findall(rf"[^/_\-. ]{{0,{_LINE - 1}}}[/_\-. ]|[^/_\-. ]{{1,{_LINE}}}", text):
        if lines[-1] and len(lines[-1]) + len(part) > _LINE:
            lines.append("")
        lines[-1] += part
    return lines
