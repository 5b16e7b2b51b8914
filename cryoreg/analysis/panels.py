"""Square panels for pictures, all in one axes: one for each would take Matplotlib longer than what is drawn in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from cryoreg.analysis.slices import DENSITY, Array, broken
from cryoreg.scale_bars import scale_bar

_POINTS = 72
"""Of an inch."""


class Panel(NamedTuple):
    """A square on the page."""

    page: Axes
    """All of the figure, in inches from its lower left corner."""
    left: float
    bottom: float
    edge: float

    def show(self, image: Array, **look: object) -> AxesImage:
        """Draw an image (up, right), the lowest row first, as large as fits; further arguments as for ``imshow``."""
        left, bottom, width, height = self._place(*image.shape)
        self.page.add_patch(Rectangle((left, bottom), width, height, fill=False, linewidth=0.8))
        style = {"cmap": "gray", "norm": DENSITY, "interpolation": "nearest", **look}
        extent = (left, left + width, bottom, bottom + height)
        return self.page.imshow(image, origin="lower", extent=extent, aspect="auto", **style)  # type: ignore[arg-type]

    def title(self, text: str, size: float, above: float = 2, align: str = "center") -> None:
        """Write above the panel, so many points from it; ``align``: "left" or "center"."""
        middle = self.left + (self.edge / 2 if align == "center" else 0)
        top = self.bottom + self.edge + above / _POINTS
        self.page.text(middle, top, text, ha=align, va="bottom", fontsize=size)

    def name(self, text: str, size: float = 8) -> None:
        """Write on the left of the panel, broken into lines where it is long, and never cut."""
        middle = self.bottom + self.edge / 2
        written = self.page.text(self.left - 6 / _POINTS, middle, broken(text), fontsize=size, ha="right", va="center")
        written.set_parse_math(False)

    def scale_bar(self, shape: tuple[int, int], voxel_size: float | None) -> None:
        """Draw a bar of a round length into the image of a shape (up, right); ``voxel_size`` in Å."""
        scale_bar(self.page, shape[1], voxel_size, self._place(*shape))

    def _place(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of an image of so many voxels."""
        scale = self.edge / max(height, width)
        across, up = scale * width, scale * height
        return self.left + (self.edge - across) / 2, self.bottom + (self.edge - up) / 2, across, up


def page_of(figure: Figure) -> Axes:
    """Return an axes that covers the figure, in inches, and shows nothing of its own."""
    width, height = figure.get_size_inches()
    page = figure.add_axes((0, 0, 1, 1), autoscale_on=False, xlim=(0, width), ylim=(0, height))
    page.set_axis_off()
    return page


def rows_of_panels(
    page: Axes, rows: int, lefts: Sequence[float], top: float, edge: float, gap: float
) -> list[list[Panel]]:
    """Return rows of panels from ``top`` downwards, their left edges at ``lefts``; all in inches."""
    return [[Panel(page, left, top - (row + 1) * edge - row * gap, edge) for left in lefts] for row in range(rows)]
