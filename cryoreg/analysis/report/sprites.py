"""Central slices of many subtomograms as one small picture: a sheet of tiles, which a page cuts up."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from cryoreg.analysis import slices
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.normalisation import normalise

EDGE = 32
"""Pixels of a tile's longer side, at most."""
_BLOCK = 8
"""Pixels of a JPEG block: tiles that begin at one do not run into each other."""
_QUALITY = 75


class Sheet(NamedTuple):
    """Tiles in rows, from the top left."""

    jpeg: bytes
    columns: int
    pitch: tuple[int, int]
    """Pixels from a tile to the one below it, and to the one on its right."""
    tile: tuple[int, int]
    """Height and width of a tile."""

    def place(self, number: int) -> tuple[int, int]:
        """Return the top and left pixel of a tile."""
        row, column = divmod(number, self.columns)
        return row * self.pitch[0], column * self.pitch[1]


def slice_sheet(dataset: Subtomograms, samples: Sequence[int]) -> Sheet:
    """Return the central slices, across the beam, of z-scored subtomograms: y up, x right, −3 to 4 σ in 8-bit grey.

    Larger boxes are reduced to `EDGE` pixels. Volumes are read one at a time.
    """
    height, width = tile_size(dataset.box[1:])
    tiles = np.empty((len(samples), height, width), np.float32)
    for number, index in enumerate(samples):
        tiles[number] = small_slice(dataset[index].volume.numpy(), (height, width))
    return sheet_of(in_grey(tiles))


def tile_size(plane: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a tile for a plane (height, width) of voxels."""
    shrink = min(1.0, EDGE / max(plane))
    height, width = (max(1, round(edge * shrink)) for edge in plane)
    return height, width


def small_slice(volume: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the central slice of a volume (1, D, H, W), z-scored, the top row first."""
    image = normalise(torch.from_numpy(volume)[None])[0, :, volume.shape[1] // 2]
    if image.shape[1:] != size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return image[0].numpy()[::-1]


def in_grey(tiles: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return z-scored tiles in 8-bit grey."""
    return np.round(255 * np.asarray(slices.DENSITY(tiles, clip=True))).astype(np.uint8)


def sheet_of(tiles: NDArray[np.uint8]) -> Sheet:
    """Arrange tiles (N, height, width) to about a square."""
    count, height, width = tiles.shape
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    pitch = (_BLOCK * math.ceil(height / _BLOCK), _BLOCK * math.ceil(width / _BLOCK))
    filled = np.pad(tiles, ((0, rows * columns - count), (0, pitch[0] - height), (0, pitch[1] - width)), mode="edge")
    whole = filled.reshape(rows, columns, *pitch).swapaxes(1, 2).reshape(rows * pitch[0], columns * pitch[1])
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return Sheet(file.getvalue(), columns, pitch, (height, width))
