"""Subtomograms whose slices lie side by side in PNG files."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cryoreg.datasets.io.volume_files import check_voxels, one_line, refuse
from cryoreg.datasets.readers.class_folders import FileKind, find_files
from cryoreg.datasets.readers.file_dataset import FileDataset
from cryoreg.errors import ConfigError, DataError

PNG = FileKind("PNG files", ".png")
_MOST_PATCHES = 4
"""Times the slices: more patches than that are no montage of one volume, and could fill the memory."""
_LOOKED_AT = 8
"""Files, at most, from which the side of the border is found out."""
_GREY = ("L", "I", "F")


class PngMontage(FileDataset):
    """``root/<class>/*.png``, flat and unlabelled ``root/*.png``, or one file.

    A file is a grid of square patches, filled row by row: the slices along z, from z = 0, each with y down and x to the
    right, and then empty patches. A patch that is larger than a slice has a border of one grey after the slice's last
    row and column, or before its first where all files have it there. An id is the path below ``root``, without
    ``.png``.
    """

    def __init__(self, root: str | Path, voxel_size: float | None = None, *, patch: int, box: int) -> None:
        """Open a folder; ``patch`` and ``box`` are edges in pixels, ``voxel_size`` is in Å.

        Raises `DataError`, one line, for files that are no such montage, `ConfigError` for a patch below the box.
        """
        if patch < box:
            raise ConfigError(f"dataset.patch = {patch} is smaller than dataset.box = {box}; a patch holds a slice")
        found = find_files(root, PNG, single=True)
        self._patch, self._edge = patch, box
        for file in found.files:
            self._check_size(file)
        count = len(found.files)
        super().__init__(found.files, [None] * count, found.stems, found.labels, found.classes, (box,) * 3, voxel_size)
        self._start = self._find_border()

    def read(self, index: int) -> np.ndarray:
        """Read one file."""
        patches = self._patches(self.files[index])
        inner = slice(self._start, self._start + self._edge)
        volume = np.ascontiguousarray(patches[: self._edge, inner, inner], dtype=np.float32)
        check_voxels(self.files[index], volume)
        self._check_rest(self.files[index], patches[self._edge :, inner, inner])
        return volume

    def _check_size(self, file: str) -> None:
        with _opened(file) as image:
            (width, height), patch = image.size, self._patch
        room = (width // patch) * (height // patch)
        if width % patch or height % patch or not self._edge <= room <= _MOST_PATCHES * self._edge:
            refuse(
                file,
                f"has {width}×{height} pixels, no grid of {patch}×{patch} patches for {self._edge} slices; "
                "check dataset.patch and dataset.box",
            )

    def _patches(self, file: str) -> np.ndarray:
        """Return (patches, patch, patch), row by row."""
        self._check_size(file)
        with _opened(file) as image:
            grey = _grey(file, image)
        rows, columns = (edge // self._patch for edge in grey.shape)
        grid = grey.reshape(rows, self._patch, columns, self._patch)
        return grid.swapaxes(1, 2).reshape(-1, self._patch, self._patch)

    def _check_rest(self, file: str, rest: np.ndarray) -> None:
        """Refuse a montage with more slices than the box has."""
        for patch in rest:
            if patch.min() != patch.max():
                refuse(file, f"has slices beyond the first {self._edge}; check dataset.patch and dataset.box")

    def _find_border(self) -> int:
        """Return the first row and column of a slice in its patch."""
        wide = self._patch - self._edge
        if wide == 0:
            return 0
        step = -(-len(self.files) // _LOOKED_AT)
        found = {self._border(file): file for file in self.files[::step]}
        if "before" in found and "after" in found:
            raise DataError(
                f"{found['before']} has a border before its slices and {found['after']} after them; "
                "give each kind its own folder"
            )
        if not {"before", "after"} & found.keys():
            self.notes = ["no border of one grey was found; the last row and column of each patch are left out"]
        return wide if "before" in found else 0

    def _border(self, file: str) -> str | None:
        """Return where the border is; None where both sides are of one grey, or neither."""
        slices, edge = self._patches(file)[: self._edge], self._edge
        after = _one_grey(slices[:, edge:, :], slices[:, :, edge:])
        before = _one_grey(slices[:, :-edge, :], slices[:, :, :-edge])
        if after == before:
            return None
        return "after" if after else "before"


def _one_grey(rows: np.ndarray, columns: np.ndarray) -> bool:
    return bool(rows.min() == rows.max() == columns.min() == columns.max())


@contextmanager
def _opened(file: str) -> Iterator[Image.Image]:
    """Open an image, of which only the header is read."""
    with one_line(file, "a PNG file"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked before it is unpacked
        try:
            with Image.open(file, formats=["PNG"]) as image:
                yield image
        except Image.DecompressionBombError:
            refuse(file, "has far too many pixels for a montage of slices; remove it")
        except UnidentifiedImageError:
            refuse(file, "is not a PNG image, or is damaged; copy or export it again")
        except struct.error:
            refuse(file, "is truncated; copy or export it again")


def _grey(file: str, image: Image.Image) -> np.ndarray:
    """Return (height, width) of a grey image, however it is stored."""
    if image.mode == "1" or image.mode.startswith(_GREY):
        return _opaque(file, image) if image.mode == "LA" else np.asarray(image)
    colours = np.asarray(image.convert("RGBA"))
    if (colours[..., 3] != 255).any():
        refuse(file, "is partly transparent; export it as a grey image")
    if (colours[..., :1] != colours[..., 1:3]).any():
        refuse(file, "is a colour image; export it as a grey image")
    return colours[..., 0]


def _opaque(file: str, image: Image.Image) -> np.ndarray:
    grey, alpha = (np.asarray(band) for band in image.split())
    if (alpha != 255).any():
        refuse(file, "is partly transparent; export it as a grey image")
    return grey
