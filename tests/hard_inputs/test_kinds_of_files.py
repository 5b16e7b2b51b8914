"""A file is what it holds, whatever its name; what is not read is named, and no neighbour stands in for it."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from support.hard_volumes import coded, mrc, tiff

from cryoreg.analysis.view import is_single_volume, single
from cryoreg.config import build_spec
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.datasets.tomograms.kinds import is_tomogram, kind_of, tomograms_in
from cryoreg.errors import DataError
from cryoreg_cli.main import cryoreg

SHAPE = (20, 22, 24)
NEIGHBOUR = coded("f4", 1000, SHAPE)
MEANT = coded("f4", -100, SHAPE)
POINT = (11, 12, 10)
"""x, y, z."""


def em(path: Path, volume: np.ndarray) -> Path:
    """Write the EM format: 512 bytes with the machine (6), the type (5: float32) and the size."""
    head = bytes([6, 0, 0, 5]) + struct.pack("<3i", *volume.shape[::-1])
    path.write_bytes(head.ljust(512, b"\0") + volume.astype("<f4").tobytes())
    return path


def hdf(path: Path, volume: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["MDF/images/0/image"] = volume
    return path


def packed(path: Path, volume: np.ndarray) -> Path:
    path.write_bytes(gzip.compress(mrc(path, volume).read_bytes()))
    return path


def image_stack(path: Path, volume: np.ndarray) -> Path:
    return mrc(path, volume, group=0, intervals=(volume.shape[2], volume.shape[1], 1))


def raw(content: bytes) -> Callable[[Path, np.ndarray], Path]:
    def write(path: Path, volume: np.ndarray) -> Path:
        path.write_bytes(content)
        return path

    return write


def boxes(folder: Path, tomograms: Path, name: str | None = None) -> Any:
    """Return the boxes of a list of one particle, with the tomograms that the user names."""
    x, y, z = POINT
    text = f"x,y,z,tomogram\n{x},{y},{z},{name}\n" if name else f"x,y,z\n{x},{y},{z}\n"
    (folder / "picks.csv").write_text(text)
    parameters = {"root": folder / "picks.csv", "tomograms": tomograms, "box": 4}
    return build_spec("dataset", "tomogram", parameters).spec.build()


READ = {
    **{f"MRC in {ending}": (f"TS_02{ending}", mrc) for ending in (".mrc", ".rec", ".map", ".st", ".ali", ".mrcs")},
    "MRC in .REC": ("TS_02.REC", mrc),
    "MRC in no ending": ("TS_02", mrc),
    "MRC in .em": ("TS_02.em", mrc),
    "MRC in .tif": ("TS_02.tif", mrc),
    "TIFF in .mrc": ("TS_02.mrc", lambda path, volume: tiff(path, volume, sample=3)),
    "TIFF in .stk": ("TS_02.stk", lambda path, volume: tiff(path, volume, sample=3)),
}


@pytest.mark.parametrize("situation", READ.values(), ids=READ)
def test_the_file_that_the_user_names_is_read(situation: Any, tmp_path: Path) -> None:
    name, write = situation
    mrc(tmp_path / "TS_01.mrc", NEIGHBOUR)
    path = write(tmp_path / name, MEANT)
    x, y, z = POINT
    box = boxes(tmp_path, path)[0].volume[0].numpy()
    np.testing.assert_array_equal(box, MEANT[z - 2 : z + 2, y - 2 : y + 2, x - 2 : x + 2])
    assert is_single_volume(path)
    np.testing.assert_array_equal(single(path).volume, MEANT)


REFUSED = {
    "EM": ("TS_02.em", em, "is an EM file"),
    "EM in .mrc": ("TS_02.mrc", em, "is an EM file"),
    "HDF5": ("TS_02.hdf", hdf, "is HDF5"),
    "HDF5 in .rec": ("TS_02.rec", hdf, "is HDF5"),
    "gzip": ("TS_02.mrc.gz", packed, "is compressed"),
    "gzip in .mrc": ("TS_02.mrc", packed, "is compressed"),
    "images in .st": ("TS_02.st", image_stack, "stack of images"),
    "images in .mrcs": ("TS_02.mrcs", image_stack, "stack of images"),
    "images in .rec": ("TS_02.rec", image_stack, "stack of images"),
    "NumPy": ("TS_02.npy", raw(b"\x93NUMPY\x01\0" + b"x" * 2000), "is a NumPy array"),
    "PNG": ("TS_02.png", raw(b"\x89PNG\r\n\x1a\n" + b"x" * 2000), "is a PNG picture"),
    "JPEG": ("TS_02.jpg", raw(b"\xff\xd8\xff\xe0" + b"x" * 2000), "is a JPEG picture"),
    "ZIP": ("TS_02.zip", raw(b"PK\x03\x04" + b"x" * 2000), "is a ZIP archive"),
    "DM4": ("TS_02.dm4", raw(b"\0\0\0\x04\0\0\0\0" + b"x" * 2000), "is a DM4 file"),
    "text": ("TS_02.txt", raw(b"1 2 3\n" * 300), "is text"),
    "nothing": ("TS_02.mrc", raw(b""), "is empty"),
    "noise": ("TS_02.dat", raw(bytes(range(256)) * 20), "of a kind unknown here"),
    "noise in .mrc": ("TS_02.mrc", raw(bytes(range(256)) * 20), "is not an MRC file"),
}


@pytest.mark.parametrize("situation", REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_not_read_is_named_and_no_neighbour_is_taken(situation: Any, tmp_path: Path) -> None:
    name, write, phrase = situation
    mrc(tmp_path / "TS_01.mrc", NEIGHBOUR)
    path = write(tmp_path / name, MEANT)
    for use in (lambda: boxes(tmp_path, path), lambda: open_tomogram(path)):
        with pytest.raises(DataError) as caught:
            use()
        assert phrase in str(caught.value)
        assert name in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert "; " in str(caught.value)


def test_pick_reads_by_content_too(tmp_path: Path) -> None:
    path = em(tmp_path / "TS_02.em", MEANT)
    mrc(tmp_path / "TS_01.mrc", NEIGHBOUR)
    done = CliRunner().invoke(cryoreg, ["pick", str(path), "--radius", "50", "--output", str(tmp_path / "p.star")])
    assert done.exit_code == 1
    assert "is an EM file" in done.output


def test_the_tomograms_of_a_folder(tmp_path: Path) -> None:
    """A tilt series beside its reconstruction is no tomogram, nor is a stack of images; hidden files are not seen."""
    for name in ("TS_01.rec", "TS_01.st", "TS_02.ali", "TS_03.mrcs", ".TS_04.mrc"):
        mrc(tmp_path / name, MEANT)
    image_stack(tmp_path / "TS_05.st", MEANT)
    em(tmp_path / "TS_06.em", MEANT)
    tiff(tmp_path / "TS_07.tif", MEANT, sample=3)
    (tmp_path / "notes.txt").write_text("x")
    assert tomograms_in(tmp_path) == ["TS_01.rec", "TS_02.ali", "TS_03.mrcs", "TS_07.tif"]


def test_a_pipe_is_no_tomogram(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "t.mrc")
    with pytest.raises(DataError, match="is a pipe or a device"):
        open_tomogram(tmp_path / "t.mrc")


@pytest.mark.parametrize("ending", [".mrc", ".mrcs", ".st", ".ali", ".rec"])
def test_a_folder_of_volumes_whatever_they_are_named(ending: str, tmp_path: Path) -> None:
    volumes = [coded("f4", 100 * i, (6, 6, 6)) for i in range(3)]
    for i, volume in enumerate(volumes):
        mrc(tmp_path / "ab"[i % 2] / f"{i}{ending}", volume)
    dataset: Any = build_spec("dataset", "mrc_folder", {"root": tmp_path}).spec.build()
    served = {dataset.ids[i]: dataset[i].volume[0].numpy() for i in range(3)}
    for i, volume in enumerate(volumes):
        np.testing.assert_array_equal(served[f"{'ab'[i % 2]}/{i}"], volume)


def test_stacks_of_one_volume_each_are_no_classes(tmp_path: Path) -> None:
    for i in range(3):
        mrc(tmp_path / f"{i}.mrcs", coded("f4", i, (6, 6, 6)))
    dataset: Any = build_spec("dataset", "mrc_stack", {"root": tmp_path}).spec.build()
    assert (list(dataset.classes), list(dataset.labels)) == ([], [None] * 3)


def test_what_is_a_tomogram(tmp_path: Path) -> None:
    assert kind_of(mrc(tmp_path / "a.st", MEANT)) == "MRC"
    assert kind_of(tiff(tmp_path / "b.x", MEANT, sample=3)) == "TIFF"
    assert kind_of(em(tmp_path / "c.em", MEANT)) is None
    assert kind_of(tmp_path) is None
    assert is_tomogram(tmp_path / "a.st")
    assert not is_tomogram(tmp_path / "c.em")
    assert not is_tomogram(tmp_path)


def test_a_folder_without_tomograms_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "tomograms").mkdir()
    em(tmp_path / "tomograms" / "TS_02.em", MEANT)
    with pytest.raises(DataError, match=r"but TS_02\.em, which is an EM file"):
        boxes(tmp_path, tmp_path / "tomograms", "TS_02")
    done = CliRunner().invoke(cryoreg, ["pick", str(tmp_path / "tomograms"), "--radius", "50"])
    assert "but TS_02.em, which is an EM file" in done.output


INSPECTED = {
    "EM": ("t.em", lambda path: em(path, MEANT), "is an EM file"),
    "EM in .dat": ("t.dat", lambda path: em(path, MEANT), "is an EM file"),
    "TIFF": ("t.tif", lambda path: tiff(path, MEANT, sample=3), "`cryoreg pick` reads it"),
    "a large volume in .mrc": ("t.mrc", lambda path: mrc(path, coded("i2", 0, (4, 8, 300))), "whole tomogram"),
    "a large volume in .st": ("t.st", lambda path: mrc(path, coded("i2", 0, (4, 8, 300))), "whole tomogram"),
    "a small volume in .rec": ("t.rec", lambda path: mrc(path, coded("i2", 0, (8, 8, 8))), "single volume"),
}


@pytest.mark.parametrize("situation", INSPECTED.values(), ids=INSPECTED)
def test_inspect_tells_what_a_file_is(situation: Any, tmp_path: Path) -> None:
    name, write, phrase = situation
    done = CliRunner().invoke(cryoreg, ["inspect", str(write(tmp_path / name))])
    assert done.exit_code == 1
    assert phrase in done.output
    assert name in done.output
