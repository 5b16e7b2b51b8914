"""A picture of the simulated classes: central sections without and with noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoreg.files import write_atomically
from cryoreg.scale_bars import scale_bar
from cryoreg.simulation.simulator import Scene

SECTIONS = ("xy", "xz")


def write_montage(path: Path, scenes: Sequence[Scene], classes: Sequence[str], voxel_size: float) -> None:
    """Write a PNG with a column for each scene: sections across (xy) and along (xz) the beam, clean above noisy.

    Sections go through the target's centre of mass. Raises `RunFolderError` where the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 * len(scenes) + 0.5, 6.4), layout="constrained")
    axes = figure.subplots(2 * len(SECTIONS), len(scenes), squeeze=False)
    for column, scene in enumerate(scenes):
        tiles = [(kind, section) for kind in ("clean", "noisy") for section in SECTIONS]
        for row, (kind, section) in enumerate(tiles):
            volume = scene.clean if kind == "clean" else scene.volume
            _draw(axes[row, column], cut(volume, scene.shift / voxel_size, section))
            scale_bar(axes[row, column], len(volume), voxel_size)
            if column == 0:
                axes[row, 0].set_ylabel(f"{kind} {section}")
        axes[0, column].set_title(classes[scene.label], fontsize=9, parse_math=False)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def cut(volume: NDArray[np.float32], shift: NDArray[np.float64], section: str) -> NDArray[np.float32]:
    """Return a section of a cube (D, H, W), xy or xz, through ``shift`` (x, y, z in voxels from its centre)."""
    _, y, z = np.clip(np.rint(shift + len(volume) // 2).astype(int), 0, len(volume) - 1)
    return volume[z] if section == "xy" else volume[:, y]


def _draw(axis, image: NDArray[np.float32]) -> None:  # type: ignore[no-untyped-def]
    low, high = np.percentile(image, [0.5, 99.5])
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
