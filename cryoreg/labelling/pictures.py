"""Pictures of subtomograms for a page: sheets of small ones, which the page cuts up, and single ones."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate, zoom

from cryoreg.analysis import slices
from cryoreg.contracts import Subtomograms

TILES = 100
"""Subtomograms on a sheet, in rows of ten."""
COLUMNS = 10
EDGE = 64
"""Pixels of a tile's longer side, at most."""
_SMOOTH = 1.0
"""Standard deviation, in voxels, of the Gaussian that takes noise away."""
_SLAB = 1
"""Planes above and below the central one that a denoised slice is the mean of."""
_QUALITY = 80
_KEPT = 1000
"""Sheets of each look in memory; some 20 kB each."""
_PAUSE = 0.01
"""Seconds in which whoever asks for a sheet comes before the next one that nobody asked for."""

Volume = NDArray[np.float32]
"""(D, H, W)."""


def _slice(volume: Volume) -> Volume:
    return volume[volume.shape[0] // 2]


def _side(volume: Volume) -> Volume:
    return volume[:, volume.shape[1] // 2]


def _denoised(volume: Volume) -> Volume:
    """Smooth the volume, and take the mean of the planes about the middle: weights along z, then a smooth picture."""
    middle = volume.shape[0] // 2
    weights = np.zeros(volume.shape[0], np.float32)
    weights[max(0, middle - _SLAB) : middle + _SLAB + 1] = 1
    weights = gaussian_filter(weights / weights.sum(), _SMOOTH)
    return _standardised(gaussian_filter(np.tensordot(weights, volume, 1), _SMOOTH))


def _projection(volume: Volume) -> Volume:
    return _standardised(gaussian_filter(volume.mean(axis=0), _SMOOTH))


LOOKS: Mapping[str, Callable[[Volume], Volume]] = {
    "slice": _slice,
    "side": _side,
    "denoised": _denoised,
    "projection": _projection,
}
"""Name -> a picture (up, right) of a standardised volume: the central slice across the beam and along it, the former
denoised, and the projection along the beam."""


class Pictures:
    """Pictures of a data set, made when they are asked for, or before; the last ones are kept."""

    def __init__(self, dataset: Subtomograms) -> None:
        """Take a data set; its volumes are read one at a time."""
        self.dataset = dataset
        edge = max(dataset.box)
        self.tile = min(EDGE, edge)
        """Pixels of a tile, which is a square."""
        self.sheets = math.ceil(len(dataset) / TILES)
        self._sheets = lru_cache(maxsize=_KEPT)(self._drawn)
        self._one_at_a_time = threading.Lock()

    def sheet(self, look: str, number: int) -> bytes:
        """Return the JPEG of a hundred subtomograms, from index 100 · ``number``; the other looks are made with it."""
        with self._one_at_a_time:  # the first comes soonest so, and none is made twice
            return self._sheets(number)[look]

    def draw_all(self, stopped: threading.Event) -> None:
        """Make sheets before they are asked for, until ``stopped``: another arrangement shows many of them at once."""
        for number in range(min(self.sheets, _KEPT)):
            if stopped.wait(_PAUSE):
                return
            self.sheet(next(iter(LOOKS)), number)

    def picture(self, look: str, index: int, turn: float = 0.0) -> bytes:
        """Return the PNG of one subtomogram, turned by ``turn`` degrees about its vertical axis."""
        volume = _standardised(self.dataset[index].volume[0].numpy())
        if turn:
            volume = rotate(volume, turn, axes=(0, 2), reshape=False, order=1, mode="constant", cval=0.0)
        return _encoded(_grey(LOOKS[look](volume)), "PNG")

    def _drawn(self, number: int) -> dict[str, bytes]:
        samples = range(TILES * number, min(TILES * (number + 1), len(self.dataset)))
        rows = math.ceil(len(samples) / COLUMNS)
        sheets = {look: np.zeros((rows * self.tile, COLUMNS * self.tile), np.uint8) for look in LOOKS}
        for place, sample in enumerate(samples):
            volume = _standardised(self.dataset[sample].volume[0].numpy())
            top, left = (self.tile * each for each in divmod(place, COLUMNS))
            for look, draw in LOOKS.items():
                sheets[look][top : top + self.tile, left : left + self.tile] = _square(_grey(draw(volume)), self.tile)
        return {look: _encoded(sheet, "JPEG") for look, sheet in sheets.items()}


def _standardised(volume: Volume) -> Volume:
    spread = float(volume.std())
    scaled: Volume = (volume - volume.mean()) / (spread or 1.0)
    return scaled


def _grey(image: Volume) -> NDArray[np.uint8]:
    """Return a picture in 8-bit grey, from −3 to 4 standard deviations, the top row first."""
    return np.round(255 * np.asarray(slices.DENSITY(image, clip=True))[::-1]).astype(np.uint8)


def _square(image: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """Return a picture scaled to fit into a square, and in the middle of it."""
    factor = edge / max(image.shape)
    if factor != 1:
        image = zoom(image, factor, order=1, mode="nearest", grid_mode=True)
    square = np.zeros((edge, edge), np.uint8)
    height, width = (min(edge, each) for each in image.shape)
    top, left = (edge - height) // 2, (edge - width) // 2
    square[top : top + height, left : left + width] = image[:height, :width]
    return square


def _encoded(image: NDArray[np.uint8], form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **({"quality": _QUALITY} if form == "JPEG" else {}))
    return file.getvalue()
