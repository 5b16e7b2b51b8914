"""Hostile data: one line of error, and neither does anything run nor is anything written."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import torch
from PIL import Image
from support import particle_writing, storing
from support.hostile import MARK, Evil, refused
from support.mrc_writing import noise, write_mrc
from support.tomograms import write_tomogram

from cryoreg.datasets.io.mrc import read_volume
from cryoreg.datasets.store.reader import Store
from cryoreg.datasets.store.writer import StoreWriter
from cryoreg.errors import DataError

Attack = Callable[[Path], tuple[str, Path, str]]
"""Writes files into a folder; returns the reader, what it is to read, and words of the answer."""
DEEP = 200_000
ATTACKS: dict[str, Attack] = {}


def attack(write: Attack) -> Attack:
    ATTACKS[write.__name__] = write
    return write


# NumPy and pickles


@attack
def npy_of_objects(folder):
    np.save(folder / "a.npy", np.array([Evil()] * 8, dtype=object).reshape(2, 2, 2), allow_pickle=True)
    return "npy_folder", folder, "could run code"


@attack
def npy_whose_header_is_a_program(folder):
    header = b"{'descr': __import__('os').system('touch executed'), 'fortran_order': False, 'shape': (2, 2, 2)}\n"
    (folder / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(32))
    return "npy_folder", folder, "cannot be read"


@attack
def npy_that_claims_a_terabyte(folder):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8192, 8192, 8192)}\n"
    (folder / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(32))
    return "npy_folder", folder, "truncated"


@attack
def pickle_under_the_name_of_an_array(folder):
    (folder / "a.npy").write_bytes(pickle.dumps(Evil()))
    return "npy_folder", folder, "not a NumPy file"


@attack
def lab_pickle(folder):
    (folder / "a.pkl").write_bytes(pickle.dumps([{"v": Evil(), "id": "a"}]))
    return "lab", folder / "a.pkl", "would run code"


@attack
def lab_pickle_of_protocol_0(folder):
    (folder / "a.pkl").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    return "lab", folder / "a.pkl", "would run code"


# Archives, which no reader unpacks


@attack
def tar_that_climbs(folder):
    with tarfile.open(folder / "a.tar", "w") as archive:
        member = tarfile.TarInfo(f"../../{MARK}")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    return "lab", folder / "a.tar", "pickle"


@attack
def zip_bomb(folder):
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        # A ZipInfo has no clock: bytes of the hour would decide on what a reader of pickles stumbles.
        archive.writestr(zipfile.ZipInfo(f"../../{MARK}"), bytes(10_000_000), zipfile.ZIP_DEFLATED)
    return "lab", folder / "a.zip", "pickle"


# MRC


@attack
def mrc_that_claims_petabytes(folder):
    write_mrc(folder / "a.mrc", noise(), nx=2**30, ny=2**30, nz=2**30)
    return "mrc_folder", folder, "truncated"


@attack
def mrc_whose_size_overflows(folder):
    write_mrc(folder / "a.mrc", noise(), nx=2**31 - 1, ny=2**31 - 1, nz=4)
    return "mrc_folder", folder, "truncated"


@attack
def compressed_mrc_that_claims_petabytes(folder):
    write_mrc(folder / "a.mrc", noise(), nx=2**16, ny=2**16, nz=2**16)
    (folder / "a.mrc.gz").write_bytes(gzip.compress((folder / "a.mrc").read_bytes()))
    (folder / "a.mrc").unlink()
    return "mrc_folder", folder, "unpack"


# HDF5


@attack
def hdf5_of_objects(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("dataset_1", (2, 2, 2, 2), h5py.string_dtype())
    return "lab", folder / "a.h5", "holds"


@attack
def hdf5_that_borrows_the_bytes_of_another_file(folder):
    (folder / "secret").write_bytes(noise((2, 4, 4, 4)).tobytes())
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("dataset_1", (2, 4, 4, 4), "<f4", external=[(folder / "secret", 0, 512)])
    return "lab", folder / "a.h5", "another file"


@attack
def hdf5_that_links_to_another_file(folder):
    with h5py.File(folder / "b.h5", "w") as file:
        file["v"] = noise((2, 4, 4, 4))
    with h5py.File(folder / "a.h5", "w") as file:
        file["dataset_1"] = h5py.ExternalLink("b.h5", "/v")
    return "lab", folder / "a.h5", "another file"


@attack
def hdf5_that_is_virtual(folder):
    with h5py.File(folder / "b.h5", "w") as file:
        file["v"] = noise((2, 4, 4, 4))
    with h5py.File(folder / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((2, 4, 4, 4), "<f4")
        layout[:] = h5py.VirtualSource("b.h5", "v", (2, 4, 4, 4))
        file.create_virtual_dataset("dataset_1", layout)
    return "lab", folder / "a.h5", "another file"


@attack
def hdf5_that_claims_petabytes(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("dataset_1", (2**10, 2**14, 2**14, 2**14), "<f4", chunks=(1, 16, 16, 16))
    return "lab", folder / "a.h5", ""


# Lists


@attack
def star_that_reads_the_keyboard(folder):
    (folder / "a.star").write_text("data_\nloop_\n_rlnImageName #1\n/dev/stdin\n")
    return "star", folder / "a.star", "no file"


@attack
def star_with_a_shell_in_it(folder):
    (folder / "a.star").write_text(f"data_\nloop_\n_rlnImageName #1\n`touch$IFS{MARK}`\n")
    return "star", folder / "a.star", "names"


@attack
def star_that_names_the_passwords(folder):
    (folder / "a.star").write_text("data_\nloop_\n_rlnImageName #1\n../../../../../../../../etc/passwd\n")
    return "star", folder / "a.star", "not an MRC file"


@attack
def star_that_steers_the_terminal(folder):
    (folder / "a.star").write_text("data_\nloop_\n_rlnImageName #1\n\x1b]0;owned\x07\x1b[2Jx.mrc\n")
    return "star", folder / "a.star", "x.mrc"


@attack
def star_whose_loop_never_ends(folder):
    labels = "".join(f"_rlnColumn{number} #{number}\n" for number in range(20_000))
    (folder / "a.star").write_text(f"data_\nloop_\n_rlnImageName #1\n{labels}")
    return "star", folder / "a.star", "a.star"


@attack
def csv_of_formulas(folder):
    (folder / "a.csv").write_text("x,y,z\n\"=cmd|' /C calc'!A0\",1,1\n")
    return "tomogram", folder / "a.csv", "not a number"


@attack
def ndjson_without_end(folder):
    (folder / "a.ndjson").write_text("[" * DEEP)
    return "tomogram", folder / "a.ndjson", "deep"


@attack
def json_without_end(folder):
    (folder / "a.json").write_text('{"points":' * DEEP)
    return "tomogram", folder / "a.json", "deep"


@attack
def lab_json_without_end(folder):
    write_mrc(folder / "subtomogram_mrc" / "tomotarget0.mrc", noise((4, 4, 4)))
    (folder / "json_label").mkdir()
    (folder / "json_label" / "target0.json").write_text("[" * DEEP)
    return "lab", folder, "recursion"


@attack
def dynamo_list_of_commands(folder):
    write_tomogram(folder / "1.mrc")
    path = particle_writing.dynamo(folder)
    path.with_suffix(".doc").write_text(f"1 $(touch {MARK})\n")
    return "tomogram", path, "names the tomogram"


# Pictures and tomograms


def png(width: int, height: int) -> bytes:
    """Return a picture of that size, of which almost everything is missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@attack
def png_bomb(folder):
    (folder / "a.png").write_bytes(png(29 * 30_000, 29 * 30_000))
    return "png_montage", folder, "pixels"


@attack
def postscript_under_the_name_of_a_tiff(folder):
    """Pillow would hand it to Ghostscript, another program."""
    (folder / "a.tif").write_text(
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch {MARK}) (w) file\nshowpage\n"
    )
    (folder / "a.csv").write_text("x,y,z\n4,4,4\n")
    return "tomogram", folder / "a.csv", "a.tif"


@attack
def tiff_bomb(folder):
    Image.new("L", (4, 4)).save(folder / "a.tif", save_all=True, append_images=[Image.new("L", (4, 4))])
    raw = (folder / "a.tif").read_bytes()
    for tag in (256, 257):  # ImageWidth and ImageLength of the first page
        place = raw.index(struct.pack("<HHI", tag, 4, 1)) + 8
        raw = raw[:place] + struct.pack("<I", 100_000) + raw[place + 4 :]
    (folder / "a.tif").write_bytes(raw)
    (folder / "a.csv").write_text("x,y,z\n4,4,4\n")
    return "tomogram", folder / "a.csv", "a.tif"


def zarr_array(folder: Path, **more) -> tuple[str, Path, str]:
    store = folder / "a.zarr"
    store.mkdir()
    plain = {"zarr_format": 2, "shape": [8] * 3, "chunks": [8] * 3, "dtype": "<f4", "fill_value": 0, "order": "C"}
    (store / ".zarray").write_text(json.dumps(plain | {"compressor": None, "filters": None} | more))
    (store / "0.0.0").write_bytes(pickle.dumps(Evil()))
    (folder / "a.csv").write_text("x,y,z\n4,4,4\n")
    return "tomogram", folder / "a.csv", "codec"


@attack
def zarr_that_unpickles(folder):
    return zarr_array(folder, compressor={"id": "pickle"})


@attack
def zarr_that_unpickles_in_a_filter(folder):
    return zarr_array(folder, filters=[{"id": "vlen-utf8"}, {"id": "pickle"}])


@attack
def zarr_of_objects(folder):
    return zarr_array(folder, dtype="|O", filters=[{"id": "pickle"}])


@attack
def zarr_3_with_an_unknown_codec(folder):
    inner = {"name": "numcodecs.pickle", "configuration": {}}
    shards = {"name": "sharding_indexed", "configuration": {"chunk_shape": [4] * 3, "codecs": [inner]}}
    answer = zarr_array(folder)
    (folder / "a.zarr" / ".zarray").unlink()
    grid = {"name": "regular", "configuration": {"chunk_shape": [8] * 3}}
    metadata = {"zarr_format": 3, "node_type": "array", "shape": [8] * 3, "data_type": "float32", "chunk_grid": grid}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    (folder / "a.zarr" / "zarr.json").write_text(
        json.dumps(metadata | {"chunk_key_encoding": keys, "fill_value": 0, "codecs": [shards]})
    )
    return answer


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_data_are_refused_in_one_line(tmp_path, monkeypatch, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    reader, data, phrase = ATTACKS[name](tmp_path / "data")
    monkeypatch.chdir(tmp_path / "work")
    words = ["--set", "dataset.box=4"] if reader == "tomogram" else []
    words += ["--set", "dataset.voxel_size=10"]
    refused(tmp_path, "convert", "--dataset", reader, "--data", data, *words, "--output", "out.h5", phrase=phrase)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    layout = storing.rich_layout()
    with StoreWriter(tmp_path_factory.mktemp("store") / "a.h5", layout) as writer:
        for row in writer.missing():
            columns = {"rotation": np.eye(3), "chosen": True, "rank": 1}
            writer.put(row, noise(layout.box, row), noise(layout.box, row), columns=columns)
        writer.finish()
    return writer.path


def arrays_of(path: Path) -> list[str]:
    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    return names


def becomes_objects(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, h5py.string_dtype())


def lies_in_the_passwords(file, name):
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, 100_000)])


def is_a_link_elsewhere(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", name)


def has_no_end(file, name):
    shape, dtype = (2**40, *file[name].shape[1:]), file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]))


@pytest.mark.parametrize("change", [becomes_objects, lies_in_the_passwords, is_a_link_elsewhere, has_no_end])
def test_hostile_stores_end_in_one_line_or_in_what_was_written(tmp_path, store, change):
    """Each array of a store in turn is another one: the store is refused, unless nothing is read from that array."""
    expected = Store(store)
    for name in arrays_of(store):
        shutil.copy(store, tmp_path / "b.h5")
        with h5py.File(tmp_path / "b.h5", "r+") as file:
            change(file, name)
        read = store_or_message(tmp_path / "b.h5")
        if isinstance(read, str):
            assert len(read.splitlines()) == 1
            continue
        assert change in (becomes_objects, has_no_end), name
        assert name.startswith("origin/")
        for one, other in ((read, expected), (read.clean, expected.clean)):
            assert torch.equal(one[0].volume, other[0].volume)
            assert (one[0].label, one[0].id, one[0].group) == (other[0].label, other[0].id, other[0].group)


def store_or_message(path: Path) -> Store | str:
    """Open a store and read of it what there is; return what is said where that is refused."""
    try:
        read = Store(path)
        _ = read[0], read.clean[0], read.columns, read.duplicates
    except DataError as error:
        return str(error)
    return read


def test_the_attacks_would_do_harm(tmp_path, monkeypatch):
    """What is refused does run where it is read carelessly."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / MARK).exists()


def test_a_codec_that_runs_code_runs_it(tmp_path, monkeypatch):
    import numcodecs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    numcodecs.get_codec({"id": "pickle"}).decode(pickle.dumps(Evil()))
    assert (tmp_path / MARK).exists()


def test_a_compressed_volume_within_reason_is_read(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc.gz", noise((4, 4, 4)), compression="gzip") as file:
        file.voxel_size = 10
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mrc.gz"), noise((4, 4, 4)))
