"""Bars of a round length on pictures, which say how large things are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 0.4
"""Share of a picture's width."""


class Bar(NamedTuple):
    """What a bar says."""

    voxels: float
    """How long it is on the picture."""
    text: str
    """The same with its unit: "10 nm"."""


def bar_of(voxels: float, voxel_size: float | None) -> Bar:
    """Return a bar for a picture that is ``voxels`` wide: 1, 2, 5, 10, ... Å, or voxels where their size is unknown."""
    length = _round_length(_LONGEST * voxels * (voxel_size or 1))
    return Bar(length / (voxel_size or 1), _with_unit(length, voxel_size))


def scale_bar(
    axes: Axes, voxels: float, voxel_size: float | None, place: tuple[float, float, float, float] | None = None
) -> None:
    """Draw a bar of a round length into a picture that is ``voxels`` wide; in voxels where their size (Å) is unknown.

    ``place``: the picture's left, bottom, width and height in the axes' units; None: it fills them, voxel by voxel.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    length, text = bar_of(voxels, voxel_size)
    unit = 1.0 if place is None else place[2] / voxels
    where = {} if place is None else {"bbox_to_anchor": Bbox.from_bounds(*place), "bbox_transform": axes.transData}
    bar = AnchoredSizeBar(
        axes.transData,
        length * unit,
        text,
        "lower right",
        pad=0.3,
        sep=2,
        color="white",
        frameon=False,
        size_vertical=max(0.6, voxels / 60) * unit,
        fontproperties={"size": 7},
        **where,
    )
    outline = withStroke(linewidth=2, foreground="black")
    for artist in (bar.size_bar, bar.txt_label):
        for child in artist.get_children():
            child.set_path_effects([outline])
    axes.add_artist(bar)


def _round_length(longest: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... that is not above ``longest``, and at least 1."""
    power = 10 ** math.floor(math.log10(max(1.0, longest)))
    return power * max(step for step in (1, 2, 5) if step * power <= max(1.0, longest))


def _with_unit(length: float, voxel_size: float | None) -> str:
    if voxel_size is None:
        return f"{length:g} voxel" + ("s" if length > 1 else "")
    return f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"
