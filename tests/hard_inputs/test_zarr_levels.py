"""Levels of OME-Zarr: which one a voxel size means, and the types of their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from support.hard_volumes import coded
from support.tomograms import write_ome_zarr

from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.errors import DataError

FINE, COARSE = coded("f4", 0, (8, 8, 8)), coded("f4", 1000, (4, 4, 4))
LEVELS = {"fine": FINE, "coarse": COARSE}

MEANT: dict[str, tuple[dict[float, np.ndarray], str | None, float | None, str, float | None]] = {
    "no size: the finest": ({10.0: FINE, 20.0: COARSE}, "angstrom", None, "fine", 10.0),
    "the coarse one first": ({20.0: COARSE, 10.0: FINE}, "angstrom", None, "fine", 10.0),
    "of 20 Å": ({10.0: FINE, 20.0: COARSE}, "angstrom", 20.0, "coarse", 20.0),
    "of 10 Å, the coarse one first": ({20.0: COARSE, 10.0: FINE}, "angstrom", 10.0, "fine", 10.0),
    "within 1 %": ({10.0: FINE, 20.0: COARSE}, "angstrom", 19.9, "coarse", 19.9),
    "in nm": ({1.0: FINE, 2.0: COARSE}, "nanometer", 20.0, "coarse", 20.0),
    "in µm": ({1e-3: FINE, 2e-3: COARSE}, "micrometer", None, "fine", 10.0),
    "no unit, a size that is a number": ({10.0: FINE, 20.0: COARSE}, None, 20.0, "coarse", 20.0),
    "no unit, no size": ({10.0: FINE, 20.0: COARSE}, None, None, "fine", None),
    "no unit, relative numbers": ({1.0: FINE, 2.0: COARSE}, None, 10.0, "fine", 10.0),
    "an unset 1 Å": ({1.0: FINE}, "angstrom", 10.0, "fine", 10.0),
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("situation", MEANT.values(), ids=MEANT)
def test_the_level_that_is_meant(situation: Any, zarr_format: Any, tmp_path: Path) -> None:
    levels, unit, wanted, level, size = situation
    tomogram = open_tomogram(write_ome_zarr(tmp_path / "t.zarr", levels, zarr_format, unit), wanted)
    np.testing.assert_array_equal(tomogram[:], LEVELS[level])
    assert tomogram.voxel_size == (None if size is None else pytest.approx(size))


REFUSED: dict[str, tuple[dict[float, np.ndarray], str | None, float, str]] = {
    "between levels": ({10.0: FINE, 20.0: COARSE}, "angstrom", 15.0, "levels of 10 and 20 Å, none of 15 Å"),
    "the only level": ({10.0: FINE}, "angstrom", 15.0, "levels of 10 Å, none of 15 Å"),
    "nm taken for Å": ({1.0: FINE, 2.0: COARSE}, "nanometer", 2.0, "levels of 10 and 20 Å, none of 2 Å"),
    "no unit, no such number": ({10.0: FINE, 20.0: COARSE}, None, 15.0, "levels of 10 and 20 (no unit), none of 15 Å"),
}


@pytest.mark.parametrize("situation", REFUSED.values(), ids=REFUSED)
def test_a_size_of_no_level(situation: Any, tmp_path: Path) -> None:
    levels, unit, wanted, phrase = situation
    path = write_ome_zarr(tmp_path / "t.zarr", levels, unit=unit)
    with pytest.raises(DataError) as caught:
        open_tomogram(path, wanted)
    assert phrase in str(caught.value)
    assert "t.zarr/" in str(caught.value)
    assert open_tomogram(path / "0", wanted).voxel_size == wanted


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", ">i2", ">f4", "f2", "f8", "u4", "i8", "bool"])
def test_numbers_of_every_type(dtype: str, zarr_format: Any, tmp_path: Path) -> None:
    values = (FINE % 2 if dtype == "bool" else FINE - (0 if "u" in dtype else 60)).astype(dtype)
    stored = values.astype("u1").view("u1") if dtype == "u1" else values
    array = zarr.create_array(
        str(tmp_path / "t.zarr"), shape=stored.shape, dtype=stored.dtype, chunks=(4, 4, 4), zarr_format=zarr_format
    )
    array[...] = stored
    np.testing.assert_array_equal(open_tomogram(tmp_path / "t.zarr")[:], values.astype("f4"))


@pytest.mark.parametrize("name", ["/etc", "../other.zarr/0"])
def test_a_level_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "other.zarr", {10.0: FINE})
    path = write_ome_zarr(tmp_path / "t.zarr", {10.0: FINE})
    described = json.loads((path / ".zattrs").read_text())
    described["multiscales"][0]["datasets"][0]["path"] = name
    (path / ".zattrs").write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"t\.zarr: names a level .* outside"):
        open_tomogram(path)
