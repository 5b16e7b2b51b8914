"""Numbers of every type in NumPy, HDF5, pickle and PNG files: signed, unsigned, in either byte order, bool, complex."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.hard_volumes import coded

from cryoreg.datasets.readers.lab_archives import open_archive
from cryoreg.datasets.readers.npy_folder import NpyFolder
from cryoreg.datasets.readers.png_montage import PngMontage
from cryoreg.errors import DataError

EDGE = 8
REAL = ("i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", "<u4", "<i8", "<u8", "<f2", ">f4", "<f8", ">f8", "?")


def values(dtype: str) -> np.ndarray:
    """Return numbers that reach the ends of a type, up to 2²³, of which float32 holds each."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return coded("u1", 0, (EDGE,) * 3) % 2 == 1
    if kind.kind == "f":
        return coded(dtype, -100, (EDGE,) * 3)
    low = max(np.iinfo(kind).min, -(2**23))
    whole = coded("i8", 0, (EDGE,) * 3) + low
    whole[0, 0, 0] = min(np.iinfo(kind).max, 2**23)
    return whole.clip(low, whole[0, 0, 0]).astype(kind)


def a_npy(folder: Path, stored: np.ndarray) -> Any:
    np.save(folder / "a.npy", stored)
    return NpyFolder(folder / "a.npy")


def a_fortran_npy(folder: Path, stored: np.ndarray) -> Any:
    np.save(folder / "a.npy", np.asfortranarray(stored))
    return NpyFolder(folder)


def turned(stored: np.ndarray) -> np.ndarray:
    """Return what the lab's files hold for volumes that are to be served as ``stored``: their first axis lies last."""
    return np.moveaxis(stored, 0, 2)


def an_hdf5(folder: Path, stored: np.ndarray) -> Any:
    with h5py.File(folder / "a.h5", "w") as file:
        file["dataset_1"] = turned(stored)[None]
    return open_archive(folder / "a.h5")


def a_packed_hdf5(folder: Path, stored: np.ndarray) -> Any:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("dataset_1", data=turned(stored)[None], compression="gzip", shuffle=True)
    return open_archive(folder / "a.h5")


def a_pickle(folder: Path, stored: np.ndarray) -> Any:
    (folder / "a.pickle").write_bytes(pickle.dumps([{"v": np.ascontiguousarray(turned(stored)), "id": "a"}]))
    return open_archive(folder / "a.pickle")


OPENED: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "npy": a_npy,
    "npy, Fortran order": a_fortran_npy,
    "hdf5": an_hdf5,
    "hdf5, packed": a_packed_hdf5,
    "pickle": a_pickle,
}


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("write", OPENED.values(), ids=OPENED)
def test_real_numbers_are_read_with_their_sign(
    write: Callable[[Path, np.ndarray], Any], dtype: str, tmp_path: Path
) -> None:
    stored = values(dtype)
    np.testing.assert_array_equal(write(tmp_path, stored)[0].volume[0].numpy(), stored.astype("f4"))


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("write", OPENED.values(), ids=OPENED)
def test_complex_numbers_are_refused(write: Callable[[Path, np.ndarray], Any], dtype: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="complex") as caught:
        write(tmp_path, values("f4").astype(dtype))[0]
    assert "a." in str(caught.value)


NO_NUMBERS = {
    "text": np.full((EDGE,) * 3, "1"),
    "records": np.zeros((EDGE,) * 3, [("a", "f4"), ("b", "f4")]),
    "dates": np.zeros((EDGE,) * 3, "M8[s]"),
    "NaN": np.full((EDGE,) * 3, np.nan, "f4"),
    "one infinite": np.where(np.arange(EDGE) == 3, np.inf, values("f4")).astype("f2"),
    "constant": np.ones((EDGE,) * 3, "u1"),
    "beyond float32": values("f8") * 1e300,
}


@pytest.mark.parametrize("stored", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_density_is_refused(stored: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.npy.*; "):
        a_npy(tmp_path, stored)[0]


SLICES = np.random.default_rng(0).integers(1, 250, (9, EDGE, EDGE)).astype("u1")
SLICES[EDGE:] = 0
GREYS = SLICES.reshape(3, 3, EDGE, EDGE).swapaxes(1, 2).reshape(3 * EDGE, 3 * EDGE)


def picture(mode: str) -> Image.Image:
    grey = Image.fromarray(GREYS)
    if mode == "I;16":
        return Image.fromarray(GREYS.astype("u2") * 257)
    if mode == "palette, turned":
        indexed = Image.fromarray(255 - GREYS).convert("P")
        indexed.putpalette([255 - each // 3 for each in range(768)])
        return indexed
    return grey.convert(mode)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "P", "palette, turned"])
def test_grey_pictures_however_they_are_stored(mode: str, tmp_path: Path) -> None:
    picture(mode).save(tmp_path / "a.png")
    served = PngMontage(tmp_path / "a.png", patch=EDGE, box=EDGE)[0].volume[0].numpy()
    np.testing.assert_array_equal(served, SLICES[:EDGE].astype("f4") * (257 if mode == "I;16" else 1))


def test_two_greys_are_a_picture_too(tmp_path: Path) -> None:
    Image.fromarray(GREYS > 100).save(tmp_path / "a.png")
    served = PngMontage(tmp_path / "a.png", patch=EDGE, box=EDGE)[0].volume[0].numpy()
    np.testing.assert_array_equal(served > 0, SLICES[:EDGE] > 100)


def test_colours_and_transparency_are_refused(tmp_path: Path) -> None:
    coloured = np.stack([GREYS, GREYS, 255 - GREYS], axis=-1)
    Image.fromarray(coloured).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="colour image"):
        PngMontage(tmp_path / "a.png", patch=EDGE, box=EDGE)[0]
    Image.fromarray(np.stack([GREYS, GREYS], axis=-1), mode="LA").save(tmp_path / "a.png")
    with pytest.raises(DataError, match="partly transparent"):
        PngMontage(tmp_path / "a.png", patch=EDGE, box=EDGE)[0]
