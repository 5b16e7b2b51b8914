"""Central slices of volumes, the right way up, with a scale bar."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patheffects import withStroke
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray

Array = NDArray[np.float32]

DENSITY = Normalize(-3, 4)
"""Standard deviations of a z-scored volume: the same grey is the same density in every panel."""
_LONGEST_BAR = 0.4
"""Share of a panel's width."""
_OUTLINE = withStroke(linewidth=2, foreground="black")


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


def scale_bar(axes: Axes, voxels: int, voxel_size: float | None) -> None:
    """Draw a bar of a round length into a panel that is ``voxels`` wide; in voxels where their size (Å) is unknown."""
    length = _round_length(_LONGEST_BAR * voxels * (voxel_size or 1))
    bar = AnchoredSizeBar(
        axes.transData,
        length / (voxel_size or 1),
        _with_unit(length, voxel_size),
        "lower right",
        pad=0.3,
        sep=2,
        color="white",
        frameon=False,
        size_vertical=max(0.6, voxels / 60),
        fontproperties={"size": 7},
    )
    for artist in (bar.size_bar, bar.txt_label):
        for child in artist.get_children():
            child.set_path_effects([_OUTLINE])
    axes.add_artist(bar)


def _round_length(longest: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... that is not above ``longest``, and at least 1."""
    power = 10 ** math.floor(math.log10(max(1.0, longest)))
    return power * max(step for step in (1, 2, 5) if step * power <= max(1.0, longest))


def _with_unit(length: float, voxel_size: float | None) -> str:
    if voxel_size is None:
        return f"{length:g} voxel" + ("s" if length > 1 else "")
    return f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"
