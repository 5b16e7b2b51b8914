"""Picks drawn on their tomograms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from cryoreg.datasets.tomograms.files import Tomogram
from cryoreg.picking.picks import Picks
from cryoreg.scale_bars import scale_bar

MOST = 9
"""Tomograms drawn in one picture."""
_PANEL, _TITLE = 5.0, 0.6
"""Inches."""


def draw(tomograms: Sequence[Tomogram], found: Sequence[Picks], radius: float) -> Figure:
    """Draw for each of the first tomograms the mean of sections as thick as a particle, and the picks in them.

    The sections lie about the median height of the picks; ``radius`` in Å.
    """
    shown = list(zip(tomograms, found, strict=True))[:MOST]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(_PANEL * columns, (_PANEL + _TITLE) * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (tomogram, picks) in zip(panels, shown, strict=False):
        _draw_one(panel, tomogram, picks, radius / picks.voxel_size)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    return figure


def _draw_one(panel: Axes, tomogram: Tomogram, picks: Picks, radius: float) -> None:
    depth = tomogram.shape[0]
    middle = float(np.median(picks.positions[:, 2])) if len(picks.positions) else depth // 2
    first, last = max(0, math.ceil(middle - radius)), min(depth - 1, math.floor(middle + radius))
    image = np.asarray(tomogram[first : last + 1]).mean(axis=0)
    low, high = np.percentile(image, [1, 99])
    panel.imshow(image, origin="lower", cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    inside = (picks.positions[:, 2] >= first) & (picks.positions[:, 2] <= last)
    for x, y, _ in picks.positions[inside]:
        panel.add_patch(Circle((x, y), radius, fill=False, color="orange", linewidth=1))
    scale_bar(panel, image.shape[1], picks.voxel_size)
    panel.set_title(
        f"{picks.path.name}\n{inside.sum()} of {len(inside)} picks: sections {first}-{last} of {depth}; y up, x right",
        fontsize=8,
        parse_math=False,  # of a file's name
    )
