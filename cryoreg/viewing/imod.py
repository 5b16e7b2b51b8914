"""IMOD's 3dmod: a model of scattered points, by IMOD's own point2model. Imports no NumPy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from cryoreg.files import write_text
from cryoreg.seams import Shown, Viewer

_MIDDLE = 0.5
"""Where the middle of the first voxel lies in x and y of a model; in z it is at 0 (IMOD's binspec.html)."""


class ImodViewer(Viewer):
    """IMOD's 3dmod: a sphere for each particle, an object for each class.

    Points go through point2model, which IMOD brings; without it NAME.txt and its command are what it needs.
    """

    programs = ("3dmod",)
    install = "install IMOD (https://bio3d.colorado.edu/imod), and have its bin folder on the PATH"

    def prepare(self, shown: Shown, folder: Path) -> Sequence[Sequence[str]]:
        """Write NAME.txt, a line for each point: object, contour, x, y, z and the radius, in voxels."""
        text, model = folder / f"{shown.name}.txt", folder / f"{shown.name}.mod"
        there = [name for name in shown.colours if name in shown.classes]
        from cryoreg.datasets.tomograms.kinds import kind_of

        top_first = kind_of(shown.tomogram) == "TIFF"  # of which IMOD counts the rows from the last one
        points = [_point(shown, row, there.index(name) + 1, top_first) for row, name in enumerate(shown.classes)]
        write_text(text, "".join(points))
        named = chain.from_iterable(
            ("-name", name or "no class", "-color", ",".join(map(str, shown.colours[name]))) for name in there
        )
        widest = max(1, round(max(shown.radii) / shown.voxel_size))
        image = os.fspath(shown.tomogram)
        return [
            ["point2model", "-scat", "-sizes", "-sphere", str(widest), *named, "-image", image, str(text), str(model)],
            ["3dmod", image, str(model)],
        ]


def _point(shown: Shown, row: int, number: int, top_first: bool) -> str:
    x, y, z = shown.places[row]
    if top_first:
        y = shown.shape[1] - 1 - y
    radius = shown.radii[row] / shown.voxel_size
    return f"{number} 1 {x + _MIDDLE:.3f} {y + _MIDDLE:.3f} {z:.3f} {radius:.2f}\n"
