"""Headers, signs and photometry of volumes: a table of what lies in a file and what is right.

Each file is written here byte by byte; the right value is the array that was written, or a phrase of the one line.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.hard_volumes import SHAPE, coded, mrc, tiff

from cryoreg.datasets.io.mrc import read_header, read_volume
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.errors import DataError

Make = Callable[[Path], Path]
UNSET = {"limits": (0, -1)}
SIGNED, UNSIGNED = coded("i1", -100), coded("u1", 40)
NEAR = (np.random.default_rng(1).normal(0, 20, SHAPE)).astype("i1")
FAR = (np.random.default_rng(0).normal(128, 25, SHAPE)).astype("u1")
"""Bytes that are torn apart where they are read as signed."""
HIGH = coded("u2", 40_000)
VALUES = coded()
STAMPS = (b"\0\0\0\0", b"\x44\x20\x20\x20", b"\x17\x17\0\0", b"\x44\x11\0\0", b"\xff\xff\xff\xff")


def a_mrc(stored: np.ndarray, **header: Any) -> Make:
    return lambda folder: mrc(folder / "t.mrc", stored, **header)


def raw_bytes(values: np.ndarray, **header: Any) -> Make:
    return a_mrc(values.view("i1"), mode=0, **header)


def raw_words(values: np.ndarray, mode: int, **header: Any) -> Make:
    return a_mrc(values.view("i2" if mode == 1 else "u2"), mode=mode, **header)


def a_tiff(sections: np.ndarray, **tags: Any) -> Make:
    return lambda folder: tiff(folder / "t.tif", sections, **tags)


MRC_READ: dict[str, tuple[Make, np.ndarray]] = {
    "bytes, limits negative": (raw_bytes(SIGNED, limits=(-100, 99)), SIGNED),
    "bytes, limits above 127": (raw_bytes(UNSIGNED, limits=(40, 239)), UNSIGNED),
    "bytes, limits 0 to 255": (raw_bytes(UNSIGNED, limits=(0, 255)), UNSIGNED),
    "bytes, far from 0, limits rounded": (raw_bytes(FAR, limits=(60, 190)), FAR),
    "bytes, limits 0": (raw_bytes(coded("i1", -10)), coded("i1", -10)),
    "bytes, DMAX < DMIN": (raw_bytes(NEAR, **UNSET), NEAR),
    "bytes, IMOD unsigned": (raw_bytes(UNSIGNED, imod=0, **UNSET), UNSIGNED),
    "bytes, IMOD signed": (raw_bytes(SIGNED, imod=1, **UNSET), SIGNED),
    "bytes, IMOD unsigned against limits": (raw_bytes(UNSIGNED, imod=0, limits=(-128, 127)), UNSIGNED),
    "bytes, big-endian, IMOD unsigned": (raw_bytes(UNSIGNED, imod=0, order=">"), UNSIGNED),
    "bytes, limits of a float version": (raw_bytes(NEAR, limits=(-1.25, 3.5)), NEAR),
    "mode 1 above 32767": (raw_words(HIGH, 1, limits=(40_000, 40_199)), HIGH),
    "mode 1, limits 0 to 65535": (raw_words(HIGH, 1, limits=(0, 65_535)), HIGH),
    "mode 1 negative": (raw_words(coded("i2"), 1, limits=(-100, 99)), coded("i2")),
    "mode 1 without limits": (raw_words(coded("i2"), 1), coded("i2")),
    "mode 1, DMAX < DMIN": (raw_words(coded("i2"), 1, **UNSET), coded("i2")),
    "mode 1, big-endian, above 32767": (raw_words(HIGH, 1, limits=(40_000, 40_199), order=">"), HIGH),
    "mode 6": (raw_words(HIGH, 6, limits=(40_000, 40_199)), HIGH),
    "mode 6 without limits": (raw_words(HIGH, 6), HIGH),
    "mode 6, limits negative": (raw_words(coded("i2"), 6, limits=(-100, 99)), coded("i2")),
    "mode 12": (a_mrc(coded("f2"), limits=(-100, 99)), VALUES),
    "mode 12, big-endian": (a_mrc(coded("f2"), order=">"), VALUES),
    "mode 2, limits unset": (a_mrc(VALUES, **UNSET), VALUES),
    "origin and start": (a_mrc(VALUES, start=(-4, 3, 9), origin=(500.0, -20.0, 1.0)), VALUES),
    "axes y x z": (a_mrc(np.ascontiguousarray(VALUES.transpose(0, 2, 1)), axes=(2, 1, 3)), VALUES),
    "axes z y x": (a_mrc(np.ascontiguousarray(VALUES.transpose(2, 1, 0)), axes=(3, 2, 1)), VALUES),
    "axes y z x": (a_mrc(np.ascontiguousarray(VALUES.transpose(2, 0, 1)), axes=(2, 3, 1)), VALUES),
    "axes 0 0 0": (a_mrc(VALUES, axes=(0, 0, 0), intervals=(8, 7, 6)), VALUES),
    "extended header": (a_mrc(VALUES, extended=b"\x07" * 160), VALUES),
    "ends in .rec": (lambda folder: mrc(folder / "t.rec", VALUES), VALUES),
    "space group 0": (a_mrc(VALUES, group=0), VALUES),
}

MRC_NOTED: dict[str, tuple[Make, np.ndarray, str]] = {
    **{
        f"stamp {stamp.hex(' ')}{' big' * (order == '>')}": (
            a_mrc(VALUES, stamp=stamp, order=order), VALUES, "machine stamp"
        )
        for order in "<>"
        for stamp in STAMPS
    },
    "stamp of the other order": (a_mrc(VALUES, stamp=b"\x11\x11\0\0"), VALUES, "contradicts"),
    "no stamp, bytes": (raw_bytes(SIGNED, stamp=b"\0\0\0\0", limits=(-100, 99)), SIGNED, "machine stamp"),
    "no stamp, mode 1": (raw_words(coded("i2"), 1, stamp=b"\0\0\0\0"), coded("i2"), "machine stamp"),
    "stale NSYMBT": (a_mrc(VALUES, nsymbt=2048), VALUES, "2,048 bytes"),
    "stale NSYMBT, big-endian": (a_mrc(VALUES, nsymbt=131_072, order=">"), VALUES, "NSYMBT"),
    "NSYMBT of blanks": (a_mrc(VALUES, nsymbt=0x20202020), VALUES, "NSYMBT"),
    "no MAP": (a_mrc(VALUES, word=b"\0\0\0\0"), VALUES, "MAP"),
    "no MAP, no stamp, old and big-endian": (a_mrc(VALUES, word=b"\0" * 4, stamp=b"\0" * 4, order=">"), VALUES, "MAP"),
    "no MAP, extended header": (a_mrc(VALUES, word=b"    ", extended=b"\x01" * 80), VALUES, "MAP"),
    "axes 1 1 3": (a_mrc(VALUES, axes=(1, 1, 3), intervals=(8, 7, 6), cell=(80.0, 70.0, 60.0)), VALUES, "MAPC"),
    "mode 1 above 32767": (raw_words(HIGH, 1, limits=(0, 65_535)), HIGH, "unsigned, as its limits say (0 to 65535)"),
    "bytes above 127": (raw_bytes(UNSIGNED, limits=(0, 255)), UNSIGNED, "unsigned, as its limits say"),
    "bytes of unknown sign": (raw_bytes(NEAR), NEAR, "taken as signed"),
    "a header in nm": (a_mrc(VALUES, voxel=0.784), VALUES, "may be nm"),
    "MX of another size": (
        a_mrc(VALUES, intervals=(8, 8, 8), cell=(80.0, 70.0, 60.0)), VALUES, "its size [8, 7, 6] does"
    ),
}  # fmt: skip

MRC_REFUSED: dict[str, tuple[Make, str]] = {
    "bytes torn, no limits": (raw_bytes(FAR), "look unsigned"),
    "bytes torn, limits signed and stale": (raw_bytes(FAR, limits=(-3, 4)), "look unsigned"),
    "mode 1 torn": (raw_words((HIGH - 7_300).astype("u2"), 1), "look unsigned"),
    "mode 6 torn": (raw_words(coded("i2"), 6), "look signed"),
    "mode 1 in the other order": (a_mrc(coded("i2").byteswap(), limits=(-100, 99)), "wrong order"),
    "mode 2 in the other order": (a_mrc(VALUES.byteswap()), "wrong order"),
    "mode 3": (a_mrc(coded("i2"), mode=3), "complex"),
    "mode 4": (a_mrc(VALUES, mode=4), "complex"),
    "mode 16": (a_mrc(coded("i1"), mode=16), "mode 16 (colours)"),
    "mode 101": (a_mrc(coded("i1"), mode=101), "mode 101 (integers of 4 bits)"),
    "mode 77": (a_mrc(VALUES, mode=77), "mode 77"),
    "truncated": (lambda folder: cut_short(mrc(folder / "t.mrc", VALUES), 10), "is truncated"),
    "truncated, no stamp": (lambda folder: cut_short(mrc(folder / "t.mrc", VALUES, stamp=b"\0" * 4), 10), "stamp"),
    "truncated, no MAP": (lambda folder: cut_short(mrc(folder / "t.mrc", VALUES, word=b"\0" * 4), 10), "not an MRC"),
    "more at the end": (a_mrc(VALUES, after=b"more"), "4 bytes more"),
    "NSYMBT beyond the file": (a_mrc(VALUES, nsymbt=4000, after=b"1234"), "is truncated"),
    "images": (a_mrc(VALUES, group=0, intervals=(8, 7, 1)), "stack of images"),
    "volumes": (a_mrc(VALUES, group=401, intervals=(8, 7, 3)), "stack of volumes"),
}


def cut_short(path: Path, by: int) -> Path:
    path.write_bytes(path.read_bytes()[:-by])
    return path


def each(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("situation", table.values(), ids=table)


@each(MRC_READ)
def test_mrc_that_is_read(situation: tuple[Make, np.ndarray], tmp_path: Path) -> None:
    make, right = situation
    path = make(tmp_path)
    np.testing.assert_array_equal(read_volume(path), right)
    tomogram = open_tomogram(path)
    np.testing.assert_array_equal(tomogram[:], right)
    np.testing.assert_array_equal(tomogram[2:4, 3:5, 1:6], right[2:4, 3:5, 1:6])


@each(MRC_NOTED)
def test_mrc_that_is_read_with_a_note(situation: tuple[Make, np.ndarray, str], tmp_path: Path) -> None:
    make, right, phrase = situation
    path = make(tmp_path)
    np.testing.assert_array_equal(read_volume(path), right)
    tomogram = open_tomogram(path)
    np.testing.assert_array_equal(tomogram[:], right)
    assert phrase in " ".join(tomogram.notes)


@pytest.mark.parametrize("read", [read_volume, lambda path: open_tomogram(path)[:]], ids=["volume", "tomogram"])
@each(MRC_REFUSED)
def test_mrc_that_is_refused(situation: tuple[Make, str], read: Callable[[Path], Any], tmp_path: Path) -> None:
    make, phrase = situation
    refused(lambda: read(make(tmp_path)), "t.mrc", phrase)


def refused(use: Callable[[], Any], *phrases: str) -> None:
    with pytest.raises(DataError) as caught:
        use()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "; " in message
    for phrase in phrases:
        assert phrase in message


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"cell": (80.0, 70.0, 60.0)}, 10.0),
        ({"cell": (160.0, 140.0, 120.0), "intervals": (16, 14, 12)}, 10.0),
        ({"cell": (80.0, 70.0, 60.0), "intervals": (8, 8, 8)}, 10.0),
        ({"cell": (80.0, 80.0, 80.0), "intervals": (8, 8, 8)}, 10.0),
        ({"cell": (-80.0, -70.0, -60.0)}, None),
        ({"cell": (0.0, 0.0, 0.0)}, None),
        ({"cell": (80.0, 70.0, float("nan"))}, None),
        ({"cell": (80.0, 70.0, 60.0), "intervals": (8, 7, 0)}, None),
    ],
    ids=str,
)
def test_mrc_voxel_size(header: dict[str, Any], size: float | None, tmp_path: Path) -> None:
    path = mrc(tmp_path / "t.mrc", VALUES, **header)
    found = open_tomogram(path).voxel_size
    assert found == (None if size is None else pytest.approx(size))
    assert open_tomogram(path, 7.0).voxel_size == 7.0
    sizes = read_header(path).voxel_sizes
    assert sizes == (None if size is None else pytest.approx((size,) * 3))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", None])
def test_compressed_mrc_whose_order_the_size_of_the_file_cannot_tell(
    stamp: bytes | None, order: str, tmp_path: Path
) -> None:
    """Bytes, and edges that are plausible in either order: 256 is 65,536 in the other."""
    stored = coded("i1", -100, (2, 256, 256))
    plain = mrc(tmp_path / "t.mrc", stored, mode=0, order=order, stamp=stamp, limits=(-100, 99))
    (tmp_path / "t.mrc.gz").write_bytes(gzip.compress(plain.read_bytes(), 1))
    np.testing.assert_array_equal(read_volume(tmp_path / "t.mrc.gz"), stored)


def test_flat_voxels_are_asked_for_and_can_be_overruled(tmp_path: Path) -> None:
    path = mrc(tmp_path / "t.mrc", VALUES, cell=(80.0, 70.0, 120.0))
    refused(lambda: open_tomogram(path), "t.mrc", "10 × 10 × 20 Å")
    assert open_tomogram(path, 10.0).voxel_size == 10.0


TIFF_READ: dict[str, tuple[Make, np.ndarray]] = {
    "int8": (a_tiff(SIGNED, sample=2), SIGNED),
    "uint8": (a_tiff(UNSIGNED), UNSIGNED),
    "uint8, SampleFormat 1": (a_tiff(UNSIGNED, sample=1), UNSIGNED),
    "int16": (a_tiff(coded("i2", -3000), sample=2), coded("i2", -3000)),
    "uint16": (a_tiff(HIGH), HIGH),
    "uint16, big-endian": (a_tiff(HIGH, order=">"), HIGH),
    "int16, big-endian": (a_tiff(coded("i2", -3000), sample=2, order=">"), coded("i2", -3000)),
    "int32": (a_tiff(coded("i4", -100_000), sample=2), coded("i4", -100_000)),
    "uint32": (a_tiff(coded("u4", 3_000_000_000).clip(3_000_000_000), sample=1), coded("u4", 3_000_000_000)),
    "float32": (a_tiff(VALUES, sample=3), VALUES),
    "float64": (a_tiff(coded("f8"), sample=3), VALUES),
    "float16": (a_tiff(coded("f2"), sample=3), VALUES),
    "white is zero, 8 bits": (a_tiff(UNSIGNED, photometric=0), UNSIGNED),
    "white is zero, 16 bits": (a_tiff(HIGH, photometric=0), HIGH),
    "white is zero, int8": (a_tiff(SIGNED, photometric=0, sample=2), SIGNED),
    "white is zero, float32": (a_tiff(VALUES, photometric=0, sample=3), VALUES),
    "MRC named .tif": (lambda folder: mrc(folder / "t.tif", VALUES), VALUES),
    "TIFF named .mrc": (lambda folder: tiff(folder / "t.mrc", UNSIGNED), UNSIGNED),
}


@each(TIFF_READ)
def test_tiff_that_is_read(situation: tuple[Make, np.ndarray], tmp_path: Path) -> None:
    make, right = situation
    tomogram = open_tomogram(make(tmp_path))
    np.testing.assert_array_equal(tomogram[:], right.astype("f4"))
    np.testing.assert_array_equal(tomogram[2:4, 3:5, 1:6], right[2:4, 3:5, 1:6].astype("f4"))


@pytest.mark.parametrize("sections", [UNSIGNED, HIGH, SIGNED], ids=["8 bits", "16 bits", "signed"])
def test_white_is_zero_is_said(sections: np.ndarray, tmp_path: Path) -> None:
    path = tiff(tmp_path / "t.tif", sections, photometric=0, sample=2 if sections.dtype == "i1" else 1)
    assert "WhiteIsZero" in " ".join(open_tomogram(path).notes)
    assert not open_tomogram(tiff(tmp_path / "b.tif", UNSIGNED)).notes


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
@pytest.mark.parametrize("sections", [UNSIGNED, HIGH, VALUES], ids=["uint8", "uint16", "float32"])
def test_compressed_tiff(sections: np.ndarray, compression: str, tmp_path: Path) -> None:
    pages = [Image.fromarray(section) for section in sections]
    pages[0].save(tmp_path / "t.tif", save_all=True, append_images=pages[1:], compression=compression)
    np.testing.assert_array_equal(open_tomogram(tmp_path / "t.tif")[:], sections)


WRITTEN: dict[str, tuple[dict[str, Any], float | None]] = {
    "plain": ({}, None),
    "BigTIFF": ({"bigtiff": True}, None),
    "deflated": ({"compression": "zlib"}, None),
    "tiled": ({"tile": (16, 16)}, None),
    "big-endian": ({"byteorder": ">"}, None),
    "72 dots per inch": ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
    "10 Å in cm": ({"resolution": (1e7, 1e7), "resolutionunit": "CENTIMETER"}, 10.0),
    "10 Å in inches": ({"resolution": (2.54e7, 2.54e7), "resolutionunit": "INCH"}, 10.0),
    "ImageJ, nm": (
        {"imagej": True, "resolution": (1, 1), "metadata": {"axes": "ZYX", "spacing": 1.0, "unit": "nm"}}, 10.0
    ),
    "ImageJ, µm": (
        {"imagej": True, "resolution": (1000, 1000), "metadata": {"axes": "ZYX", "spacing": 1e-3, "unit": "um"}}, 10.0
    ),
    "ImageJ, pixels": ({"imagej": True, "resolution": (1, 1), "metadata": {"axes": "ZYX", "unit": "pixel"}}, None),
    "ImageJ, sections as times": ({"imagej": True, "metadata": {"axes": "TYX"}}, None),
    "OME, nm": ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 1.0, "PhysicalSizeZUnit": "nm"}}, 10.0),
    "OME, default unit": ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 1e-3, "PhysicalSizeY": 1e-3,
        "PhysicalSizeZ": 1e-3}}, 10.0),
    "OME, Å": ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 10, "PhysicalSizeXUnit": "Å",
        "PhysicalSizeY": 10, "PhysicalSizeYUnit": "Å"}}, 10.0),
}  # fmt: skip


@each(WRITTEN)
def test_tiff_by_tifffile(situation: tuple[dict[str, Any], float | None], tmp_path: Path) -> None:
    how, size = situation
    tifffile.imwrite(tmp_path / "t.tif", HIGH, **({"photometric": "minisblack"} | how))
    tomogram = open_tomogram(tmp_path / "t.tif")
    np.testing.assert_array_equal(tomogram[:], HIGH)
    assert tomogram.voxel_size == (None if size is None else pytest.approx(size))
    assert open_tomogram(tmp_path / "t.tif", 7.0).voxel_size == 7.0


def test_imagej_writes_signed_integers_by_a_calibration(tmp_path: Path) -> None:
    """As its TiffEncoder does: numbers are 32,768 more than the values."""
    signed = coded("i2", -90)
    words = "ImageJ=1.53t\nimages=6\nslices=6\nloop=false\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n"
    stored = (signed.astype("i4") + 32_768).astype("u2")
    tifffile.imwrite(tmp_path / "t.tif", stored, description=words, metadata=None, photometric="minisblack")
    tomogram = open_tomogram(tmp_path / "t.tif")
    np.testing.assert_array_equal(tomogram[:], signed)
    assert "calibrated" in tomogram.notes[0]


def in_a_circle(path: Path) -> Path:
    """Let the first page be followed by itself."""
    raw = bytearray(path.read_bytes())
    tags = int.from_bytes(raw[8:10], "little")
    raw[10 + 12 * tags : 14 + 12 * tags] = (8).to_bytes(4, "little")
    path.write_bytes(raw)
    return path


def claiming(path: Path, width: int) -> Path:
    """Write a small deflated stack whose tags tell of sections of a great width."""
    tifffile.imwrite(path, HIGH, compression="zlib", photometric="minisblack", metadata=None, rowsperstrip=7)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.pages:
            page.tags["ImageWidth"].overwrite(width, dtype="I")
    return path


TIFF_REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "colours": (lambda path: tifffile.imwrite(path, np.zeros((4, 8, 8, 3), "u1"), photometric="rgb"), "mode RGB"),
    "two channels": (
        lambda path: tifffile.imwrite(path, np.zeros((4, 2, 8, 8), "u1"), imagej=True, metadata={"axes": "ZCYX"}),
        "not one volume",
    ),
    "rows from the bottom, which Pillow turns": (
        lambda path: Image.fromarray(UNSIGNED[0]).save(
            path, save_all=True, append_images=[Image.fromarray(UNSIGNED[1])], compression="tiff_lzw", tiffinfo={274: 4}
        ),
        "is LZW and marked as mirrored or turned",
    ),
    "one section": (lambda path: tifffile.imwrite(path, UNSIGNED[0]), "single section"),
    "complex": (lambda path: tifffile.imwrite(path, coded("c8"), photometric="minisblack"), "complex"),
    "sections of two sizes": (
        lambda path: (
            tifffile.imwrite(path, UNSIGNED, photometric="minisblack")
            or tifffile.imwrite(path, np.zeros((3, 9, 9), "u1"), append=True, photometric="minisblack")
        ),
        "several sizes",
    ),
    "truncated": (lambda path: cut_short(tiff(path, HIGH), 100), "t.tif"),
    "truncated, in one piece": (
        lambda path: tifffile.imwrite(path, HIGH, metadata=None) or cut_short(path, len(path.read_bytes()) - 500),
        "t.tif",
    ),
    "a page too few": (lambda path: cut_short(tiff(path, HIGH), 260), "is truncated"),
    "pages in a circle": (lambda path: in_a_circle(tiff(path, HIGH)), "circle"),
    "claims to be huge": (lambda path: claiming(path, 2**20), "is compressed, and has"),
    "flat voxels": (
        lambda path: tifffile.imwrite(
            path, HIGH, imagej=True, resolution=(1, 1), metadata={"axes": "ZYX", "spacing": 4.0, "unit": "nm"}
        ),
        "10 × 10 × 40 Å",
    ),
}


@each(TIFF_REFUSED)
def test_tiff_that_is_refused(situation: tuple[Callable[[Path], Any], str], tmp_path: Path) -> None:
    write, phrase = situation
    write(tmp_path / "t.tif")
    refused(lambda: open_tomogram(tmp_path / "t.tif")[:], "t.tif", phrase)
