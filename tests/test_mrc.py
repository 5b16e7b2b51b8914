"""One MRC file: what is read, and the one line for each kind of damage."""

from __future__ import annotations

import os
import struct

import mrcfile
import numpy as np
import pytest
from support.mrc_writing import edit, noise, open_files, state, write_mrc

from cryoreg.datasets.io.mrc import read_header, read_volume
from cryoreg.errors import DataError

BOX = (6, 5, 4)


def counts(dtype: str) -> np.ndarray:
    """Known values that every MRC mode holds exactly."""
    return (np.arange(np.prod(BOX)).reshape(BOX) - (0 if dtype == "u2" else 60)).astype(dtype)


@pytest.mark.parametrize("compression", [None, "gzip", "bzip2"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", "f4"])
def test_every_real_mode_is_read_as_float32(tmp_path, dtype, order, compression):
    suffix = {None: ".mrc", "gzip": ".mrc.gz", "bzip2": ".mrc.bz2"}[compression]
    known = counts(dtype)
    path = write_mrc(tmp_path / f"a{suffix}", known.astype(order + dtype), compression=compression)
    volume = read_volume(path)
    assert volume.dtype == np.dtype("=f4")
    assert volume.flags.c_contiguous
    assert volume.flags.writeable
    np.testing.assert_array_equal(volume, known)
    assert read_header(path).box == BOX


def test_extended_header_is_skipped(tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path, noise()) as file:
        file.set_extended_header(np.arange(160, dtype="u1"))
    np.testing.assert_array_equal(read_volume(path), noise())


@pytest.mark.parametrize(("written", "read"), [(7.84, 7.84), (0, None), (-3, None), (np.nan, None), (np.inf, None)])
def test_voxel_size_is_none_where_the_header_says_nothing(tmp_path, written, read):
    path = write_mrc(tmp_path / "a.mrc", noise(), voxel_size=written)
    sizes = read_header(path).voxel_sizes
    assert sizes == (None if read is None else pytest.approx((read,) * 3, rel=1e-6))


def test_voxel_size_is_none_without_intervals(tmp_path):
    assert read_header(write_mrc(tmp_path / "a.mrc", noise(), mx=0)).voxel_sizes is None


def test_stored_axes_become_z_y_x(tmp_path):
    """A file whose columns run along z, rows along x and sections along y holds one voxel at (z, y, x) = (3, 1, 2)."""
    z, y, x = 3, 1, 2
    stored = np.zeros((4, 5, 6), np.float32)  # (y, x, z)
    stored[y, x, z] = 1
    path = write_mrc(tmp_path / "a.mrc", stored, mapc=3, mapr=1, maps=2)
    volume = read_volume(path)
    assert volume.shape == read_header(path).box == (6, 4, 5)
    assert np.argwhere(volume).tolist() == [[z, y, x]]


def test_old_volumes_with_space_group_0_are_volumes(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise(), ispg=0)
    np.testing.assert_array_equal(read_volume(path), noise())


# ---- mode 0: signed or unsigned bytes

UNSIGNED = np.clip(np.random.default_rng(1).normal(128, 30, (8, 8, 8)), 0, 255).astype("u1")
UNKNOWN = {"dmin": 0, "dmax": -1}


def imod_stamp(flags: int) -> bytes:
    return struct.pack("<2i", 1146047817, flags)


def test_imod_says_that_bytes_are_unsigned(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", UNSIGNED.view("i1"), **UNKNOWN)
    edit(path, 152, imod_stamp(0))
    np.testing.assert_array_equal(read_volume(path), UNSIGNED)


def test_imod_says_that_bytes_are_signed(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", UNSIGNED.view("i1"), **UNKNOWN)
    edit(path, 152, imod_stamp(1))
    np.testing.assert_array_equal(read_volume(path), UNSIGNED.view("i1"))


def test_limits_in_the_header_say_that_bytes_are_unsigned(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", UNSIGNED.view("i1"), dmin=UNSIGNED.min(), dmax=UNSIGNED.max())
    np.testing.assert_array_equal(read_volume(path), UNSIGNED)


@pytest.mark.parametrize("limits", [{}, UNKNOWN], ids=["limits", "no limits"])
@pytest.mark.parametrize(("mean", "sd"), [(0, 10), (0, 60), (60, 20), (-90, 15)])
def test_signed_bytes_stay_signed(tmp_path, mean, sd, limits):
    signed = np.clip(np.random.default_rng(2).normal(mean, sd, (8, 8, 8)), -128, 127).astype("i1")
    np.testing.assert_array_equal(read_volume(write_mrc(tmp_path / "a.mrc", signed, **limits)), signed)


@pytest.mark.parametrize("sd", [5, 100, 3000])
@pytest.mark.parametrize("mean", [0, 500])
def test_int16_without_limits_is_not_taken_for_swapped(tmp_path, mean, sd):
    data = np.clip(np.random.default_rng(3).normal(mean, sd, (8, 8, 8)), -32768, 32767).astype("i2")
    np.testing.assert_array_equal(read_volume(write_mrc(tmp_path / "a.mrc", data, **UNKNOWN)), data)


def test_int16_in_steps_of_256_is_right_where_the_header_confirms_it(tmp_path):
    data = counts("i2") * 256
    np.testing.assert_array_equal(read_volume(write_mrc(tmp_path / "a.mrc", data)), data)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_floats_of_any_sensible_scale_are_read(tmp_path, scale):
    data = noise() * np.float32(scale)
    np.testing.assert_array_equal(read_volume(write_mrc(tmp_path / "a.mrc", data)), data)


# ---- damage


def with_one(value: float, dtype: str = "f4") -> np.ndarray:
    data = noise().astype(dtype)
    data[1, 2, 3] = value
    return data


def swapped(data: np.ndarray) -> np.ndarray:
    return data.byteswap()


def truncate(path, by: int = 7) -> None:
    os.truncate(path, path.stat().st_size - by)


def append(path) -> None:
    with open(path, "ab") as stream:
        stream.write(b"more")


INT16 = np.random.default_rng(4).normal(0, 300, (8, 8, 8)).astype("i2")

WRITTEN = {
    "nan": (with_one(np.nan), {}, "NaN or infinite voxels (1 of 120)"),
    "infinite": (with_one(-np.inf), {}, "NaN or infinite voxels (1 of 120)"),
    "float16 overflow": (with_one(np.inf, "f2"), {}, "NaN or infinite"),
    "constant": (np.full(BOX, 3, np.float32), {}, "constant"),
    "zeros": (np.zeros(BOX, np.int16), {}, "constant"),
    "huge": (with_one(1e20), {}, "no density"),
    "complex": (noise().astype(np.complex64), {}, "complex"),
    "wrapped bytes": (UNSIGNED.view("i1"), UNKNOWN, "unsigned"),
    "swapped float32": (swapped(noise()), {}, "wrong order"),
    "swapped whole floats": (swapped(counts("f4")), {}, "wrong order"),
    "swapped float16": (swapped(noise((16, 16, 16)).astype("f2")), {}, "wrong order"),
    "swapped int16, no limits": (swapped(INT16), UNKNOWN, "wrong order"),
    "swapped int16, limits": (swapped(INT16), {"dmin": INT16.min(), "dmax": INT16.max()}, "wrong order"),
    "image": (noise((5, 4)), {}, "2D image"),
    "image stack": (noise(), {"ispg": 0, "mz": 1}, "stack of images"),
    "volume stack": (noise((2, 3, 4, 5)), {}, "stack of volumes"),
    "no columns": (noise(), {"nx": 0}, "damaged header"),
    "negative extended header": (noise(), {"nsymbt": -80}, "damaged header"),
    "unknown mode": (noise(), {"mode": 101}, "mode 101"),
    "header too large": (noise(), {"nz": 2**31 - 1}, "truncated"),
}

EDITED = {
    "empty": (lambda path: os.truncate(path, 0), "is empty"),
    "short header": (lambda path: os.truncate(path, 500), "not an MRC file"),
    "tiny": (lambda path: path.write_bytes(b"hello"), "not an MRC file"),
    "text": (lambda path: path.write_text("no volume\n" * 500), "not an MRC file"),
    "header only": (lambda path: os.truncate(path, 1024), "truncated (1,024 of 1,504 bytes)"),
    "truncated": (truncate, "truncated (1,497 of 1,504 bytes)"),
    "longer": (append, "4 bytes more"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "missing": (lambda path: path.unlink(), "does not exist"),
    "broken link": (lambda path: (path.unlink(), path.symlink_to("nowhere.mrc")), "does not exist"),
}


def refused(path, phrase: str, read=read_volume) -> None:
    before, files = state(path), open_files()
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert phrase in message
    assert "; " in message, "no word on what to do"
    assert len(message.splitlines()) == 1
    assert state(path) == before
    assert open_files() == files


@pytest.mark.filterwarnings("ignore::RuntimeWarning:mrcfile", "ignore::RuntimeWarning:numpy")
@pytest.mark.parametrize(("data", "header", "phrase"), WRITTEN.values(), ids=WRITTEN)
def test_a_file_that_was_written_wrongly_is_refused(tmp_path, data, header, phrase):
    refused(write_mrc(tmp_path / "a.mrc", data, **header), phrase)


@pytest.mark.parametrize("read", [read_header, read_volume])
@pytest.mark.parametrize(("damage", "phrase"), EDITED.values(), ids=EDITED)
def test_a_file_that_was_damaged_is_refused_by_its_header_alone(tmp_path, damage, phrase, read):
    path = write_mrc(tmp_path / "a.mrc", noise())
    damage(path)
    refused(path, phrase, read)


@pytest.mark.parametrize(("suffix", "compression"), [(".gz", "gzip"), (".bz2", "bzip2")])
@pytest.mark.parametrize("damage", [truncate, lambda path: edit(path, 300, b"\0" * 60)], ids=["truncated", "edited"])
def test_damaged_compressed_files_are_refused(tmp_path, suffix, compression, damage):
    path = write_mrc(tmp_path / f"a.mrc{suffix}", noise((16, 16, 16)), compression=compression)
    damage(path)
    refused(path, "cannot be read")


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_a_plain_file_named_as_compressed_is_refused(tmp_path, suffix):
    path = write_mrc(tmp_path / f"a.mrc{suffix}", noise())
    refused(path, "cannot be read")


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    path = write_mrc(tmp_path / "a.mrc", noise())
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything

        def denied(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(DataError, match="may not be read; ask its owner"):
        read_header(path)


def test_reading_changes_nothing_and_leaves_nothing_open(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", noise())
    path.chmod(0o444)
    before, files = state(path), open_files()
    for _ in range(20):
        read_header(path)
        read_volume(path)
    assert state(path) == before
    assert open_files() == files


def test_headers_are_read_without_voxels(tmp_path, monkeypatch):
    """A sparse file of 4 GB: reading its voxels would take the memory and the time that a header does not."""
    path = write_mrc(tmp_path / "a.mrc", noise((2, 2, 2)), nx=1024, ny=1024, nz=1024)
    os.truncate(path, 1024 + 4 * 1024**3)
    monkeypatch.setattr("cryoreg.datasets.io.mrc._bytes", lambda *_: pytest.fail("opened for its voxels"))
    assert read_header(path).box == (1024, 1024, 1024)
