"""Small files that ask for much memory or time, pipes, values that code does not expect: one line names the file."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import pickle
import resource
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest
from support.hostile import answer, refused
from support.mrc_writing import noise, write_mrc
from support.tomograms import write_tomogram

from cryoreg.datasets.io.volume_files import check_holes
from cryoreg.errors import DataError

SECONDS = 60
GB = 2**30
HUGE = 2**31 - 2

Case = Callable[[Path], list[str | Path]]
"""Writes files into a folder; returns the words of the command."""
CASES: dict[str, tuple[Case, str]] = {}


def case(phrase: str) -> Callable[[Case], Case]:
    def note(write: Case) -> Case:
        CASES[write.__name__] = (write, phrase)
        return write

    return note


@pytest.fixture
def limits() -> Iterator[None]:
    """Let the test take a gigabyte more than it has, and some seconds."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)

    def stop(*_: object) -> None:
        pytest.fail("it takes too long")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (used + GB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)


# ---- volumes


def stack(path: Path) -> bytes:
    """Return an MRC file that says that it holds a thousand million volumes of 2³ voxels."""
    return write_mrc(path, noise((2, 2, 2)), nz=HUGE, ispg=401, mz=2).read_bytes()


def npy(path: Path, shape: str, size: int) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    os.truncate(path, 10 + len(header) + size)


@case("unpack it")
def gzipped_volume(folder):
    content = write_mrc(folder / "a.mrc", noise(), nz=2**31 - 1).read_bytes()
    (folder / "a.mrc").unlink()
    (folder / "a.mrc.gz").write_bytes(gzip.compress(content))
    return ["inspect", "--dataset", "mrc_folder", folder]


@case("1,073,741,823 volumes")
def gzipped_stack(folder):
    (folder / "a.mrcs.gz").write_bytes(gzip.compress(stack(folder / "x")))
    return ["inspect", "--dataset", "mrc_stack", folder / "a.mrcs.gz"]


@case("1,073,741,823 volumes")
def bzip2_stack(folder):
    (folder / "a.mrcs.bz2").write_bytes(bz2.compress(stack(folder / "x")))
    return ["inspect", "--dataset", "mrc_stack", folder / "a.mrcs.bz2"]


@case("1,073,741,823 volumes")
def sparse_stack(folder):
    (folder / "a.mrcs").write_bytes(stack(folder / "x"))
    os.truncate(folder / "a.mrcs", 1024 + HUGE * 16)
    return ["inspect", "--dataset", "mrc_stack", folder / "a.mrcs"]


@case("were ever written")
def sparse_volume(folder):
    write_mrc(folder / "a.mrc", noise(), nx=512, ny=512, nz=512)
    os.truncate(folder / "a.mrc", 1024 + 4 * 2**27)
    return ["convert", "--dataset", "mrc_folder", "--data", folder, "--output", "o.h5"]


@case("were ever written")
def sparse_npy(folder):
    npy(folder / "a.npy", "(512, 512, 512)", 2**27)
    return ["convert", "--dataset", "npy_folder", "--data", folder, "--output", "o.h5"]


@case("1,000,000,000 volumes")
def sparse_npy_of_many(folder):
    npy(folder / "a.npy", "(1000000000, 2, 2, 2)", 8 * 10**9)
    return ["inspect", "--dataset", "npy_folder", folder]


@case("header longer")
def npy_header(folder):
    (folder / "a.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31 - 1))
    os.truncate(folder / "a.npy", 2**31 + 12)
    return ["inspect", "--dataset", "npy_folder", folder]


@case("1,000,000,000 volumes")
def hdf5_of_many(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("dataset_1", (10**9, 4, 4, 4), "u1", chunks=(1, 4, 4, 4))
    return ["inspect", "--dataset", "lab", folder / "a.h5"]


def nested(path: Path, depth: int = 2000) -> Path:
    """Write groups within groups, through which HDF5 itself goes in minutes."""
    with h5py.File(path, "w") as file:
        file.attrs["cryoreg_store"] = 1
        group: h5py.Group = file
        for _ in range(depth):
            group = group.create_group("g")
    return path


@case("groups within another")
def hdf5_nested(folder):
    return ["inspect", "--dataset", "lab", nested(folder / "a.h5")]


@case("groups within another")
def store_nested(folder):
    return ["inspect", "--dataset", "store", nested(folder / "a.h5")]


# ---- Zarr


def zarr(folder: Path, name: str, text: str) -> list[str | Path]:
    (folder / "a.zarr").mkdir()
    (folder / "a.zarr" / name).write_text(text)
    (folder / "a.csv").write_text("x,y,z\n4,4,4\n")
    return ["inspect", "--dataset", "tomogram", folder / "a.csv", "--set", "dataset.box=4"]


def zarr_array(folder: Path, **changes: object) -> list[str | Path]:
    plain = {"zarr_format": 2, "shape": [8] * 3, "chunks": [8] * 3, "dtype": "<f4", "fill_value": 0, "order": "C"}
    return zarr(folder, ".zarray", json.dumps(plain | {"compressor": None, "filters": None} | changes))


def zarr_group(folder: Path, attributes: object) -> list[str | Path]:
    words = zarr(folder, ".zgroup", '{"zarr_format": 2}')
    (folder / "a.zarr" / ".zattrs").write_text(json.dumps(attributes))
    return words


@case("chunks of")
def zarr_chunk(folder):
    words = zarr_array(folder, shape=[2**20] * 3, chunks=[2**20] * 3, compressor={"id": "zlib", "level": 1})
    (folder / "a.zarr" / "0.0.0").write_bytes(zlib.compress(bytes(1000)))
    return words


ODD = {
    "edges": {"shape": [10**400, 8, 8]},
    "all of it": {"shape": "8", "dtype": 7, "fill_value": "x", "order": 3, "compressor": 5, "filters": 6},
    "filters": {"filters": {"a": 1}},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_arrays_of_odd_types(tmp_path, limits, changes):
    refused(tmp_path, *zarr_array(tmp_path, **changes), phrase="a.zarr")


ATTRIBUTES = {
    "a list": [1],
    "tables for lists": {"multiscales": {"0": 1}, "ome": 5},
    "numbers": {"multiscales": [{"axes": [{"name": ["z"]}], "datasets": [{"path": 7}]}]},
    "a unit": {"multiscales": [{"axes": [{"name": axis, "unit": 5} for axis in "zyx"], "datasets": [{"path": "0"}]}]},
}


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_images_of_odd_types(tmp_path, limits, attributes):
    refused(tmp_path, *zarr_group(tmp_path, attributes), phrase="a.zarr")


@pytest.mark.parametrize("text", ["[1, 2]", '{"zarr_format": "three"}', "7"])
def test_arrays_that_are_no_tables(tmp_path, limits, text):
    refused(tmp_path, *zarr(tmp_path, ".zarray", text), phrase="a.zarr")


# ---- settings


@case("nested too deeply")
def toml_of_dots(folder):
    (folder / "a.toml").write_text("a." * 20_000 + "a = 1\n")
    return ["pretrain", "--config", folder / "a.toml", "--dry-run"]


@case("nested too deeply")
def toml_of_dots_in_a_value(folder):
    (folder / "a.toml").write_text("[training]\nlr = {" + "a . " * 20_000 + "a = 1}\n")
    return ["pretrain", "--config", folder / "a.toml", "--dry-run"]


@case("nested too deeply")
def toml_of_quoted_dots(folder):
    (folder / "a.toml").write_text("[" + '"a".' * 20_000 + "a]\n")
    return ["inspect", folder / "a.toml"]


@case("nested too deeply")
def study_of_dots(folder):
    (folder / "a.toml").write_text("a." * 20_000 + "a = 1\n")
    return ["benchmark", folder / "a.toml", "--run-dir", folder / "r", "--dry-run"]


@case("not TOML")
def toml_of_one_word(folder):
    (folder / "a.toml").write_text("a" * 1_000_000)
    return ["pretrain", "--config", folder / "a.toml", "--dry-run"]


@case("far more than settings need")
def toml_of_a_gigabyte(folder):
    (folder / "a.toml").touch()
    os.truncate(folder / "a.toml", 2**31)
    return ["pretrain", "--config", folder / "a.toml", "--dry-run"]


@pytest.mark.parametrize(
    "text", ["[training]\nlr = 1e-3\n", "\ufeff[training]\nlr = 1e-3\n", '[training]\n"l\\u0072" = 1e-3\n']
)
def test_ordinary_settings_are_read(tmp_path, text):
    (tmp_path / "a.toml").write_text(text, "utf-8")
    status, said = answer("pretrain", "--config", tmp_path / "a.toml", "--dry-run")
    assert (status, "0.001" in said) == (0, True)


# ---- lists


def picks(folder: Path, **changes: object) -> list[str | Path]:
    write_tomogram(folder / "t.mrc")
    point = {"location": {"x": 80, "y": 80, "z": 80}}
    content = {"pickable_object_name": "r", "run_name": "t", "points": [point] * 2} | changes
    (folder / "a.json").write_text(json.dumps(content))
    words = ["--set", "dataset.box=4", "--set", f"dataset.tomograms={folder}"]
    return ["inspect", "--dataset", "tomogram", folder / "a.json", *words]


@pytest.mark.parametrize("key", ["run_name", "pickable_object_name"])
@pytest.mark.parametrize("name", [7, ["t"], {"a": 1}, True, "\udcff"])
def test_names_of_picks_are_text(tmp_path, key, name):
    refused(tmp_path, *picks(tmp_path, **{key: name}), phrase=f"has a {key} ")


def test_the_same_picks_with_names_are_read(tmp_path):
    assert answer(*picks(tmp_path))[0] == 0


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_of_many_digits(tmp_path, limits, digits):
    words = picks(tmp_path)
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("80", "9" * digits))
    refused(tmp_path, *words, phrase="a.json")


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("column", [19, 23])
def test_numbers_of_many_digits_in_a_dynamo_table(tmp_path, limits, digits, column):
    write_tomogram(tmp_path / "1.mrc")
    row = ["0"] * 32
    row[19], row[23:26] = "1", ["4"] * 3
    row[column] = "9" * digits
    (tmp_path / "a.tbl").write_text(" ".join(row) + "\n")
    words = ["inspect", "--dataset", "tomogram", tmp_path / "a.tbl", "--set", "dataset.box=4"]
    status, said = answer(*words)
    assert status == 1
    assert "a.tbl" in said


@pytest.mark.parametrize("name", [10**5000, "\udcff"], ids=["digits", "surrogate"])
def test_class_names_of_a_pickle(tmp_path, name):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([{"v": noise((4, 4, 4)), "id": name}] * 2))
    refused(tmp_path, "inspect", "--dataset", "lab", tmp_path / "a.pkl", phrase="a.pkl")


def test_class_names_of_the_lab(tmp_path):
    write_mrc(tmp_path / "subtomogram_mrc" / "tomotarget0.mrc", noise((4, 4, 4)))
    (tmp_path / "json_label").mkdir()
    (tmp_path / "json_label" / "target0.json").write_text('{"name": "\\ud800"}')
    refused(tmp_path, "inspect", "--dataset", "lab", tmp_path, phrase="target0.json: has a class with characters")


@pytest.mark.parametrize("name", CASES)
def test_bombs_do_not_go_off(tmp_path, monkeypatch, limits, name):
    write, phrase = CASES[name]
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    refused(tmp_path, *write(tmp_path), phrase=phrase)


def test_large_files_that_are_there_are_taken(tmp_path):
    """Half of it is a hole, as of a volume with an empty half on a file system that keeps no zeros."""
    with (tmp_path / "a").open("wb") as file:
        file.write(b"\1" * (40 * 2**20))
    os.truncate(tmp_path / "a", 80 * 2**20)
    check_holes(tmp_path / "a", 80 * 2**20)
    os.truncate(tmp_path / "a", 2**33)
    with pytest.raises(DataError, match="were ever written"):
        check_holes(tmp_path / "a", 2**33)


# ---- pipes

PIPES = [
    *(("inspect", f"a{ending}") for ending in (".star", ".csv", ".json", ".ndjson", ".tbl", ".mrc", ".mrcs", ".npy")),
    *(
        ("inspect", f"a{ending}")
        for ending in (".png", ".pkl", ".h5", ".tif", ".toml", ".ckpt", ".safetensors", ".pth")
    ),
    *(("inspect", "--dataset", reader, "a") for reader in ("store", "lab", "star", "mrc_stack")),
    *(("inspect", ".", f"a{ending}") for ending in (".mrc", ".npy", ".png")),
    ("pretrain", "--dry-run", "--config", "a.toml"),
    ("benchmark", "--dry-run", "a.toml"),
    ("finetune", "--dataset", "demo", "--run-dir", "r", "--from", "a"),
    ("finetune", "--dataset", "demo", "--run-dir", "r", "--from", "a.pth"),
    ("embed", "--output", "o.npz", "a"),
    ("predict", "--output", "o.csv", "a"),
    ("evaluate", "a"),
    ("pick", "--diameter", "100", "--output", "o.star", "a.mrc"),
]


@pytest.mark.parametrize("words", PIPES, ids=" ".join)
def test_pipes_are_refused_at_once(tmp_path, monkeypatch, limits, words):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(words[-1])
    words = words[:-1] if "." in words else words
    refused(tmp_path, *words, phrase="is a pipe or a device, not a file")


@pytest.mark.parametrize("name", [".zattrs", ".zgroup", "zarr.json"])
def test_pipes_in_a_zarr_image(tmp_path, limits, name):
    words = zarr_array(tmp_path)
    os.mkfifo(tmp_path / "a.zarr" / name)
    refused(tmp_path, *words, phrase="is a pipe or a device")


def test_pipes_as_the_files_of_a_list(tmp_path, limits):
    os.mkfifo(tmp_path / "a.mrc")
    (tmp_path / "a.star").write_text("data_\nloop_\n_rlnImageName #1\na.mrc\n")
    refused(tmp_path, "inspect", "--dataset", "star", tmp_path / "a.star", phrase="which is no file")


def test_devices_are_refused(tmp_path, limits):
    refused(tmp_path, "inspect", "--dataset", "store", "/dev/zero", phrase="is a pipe or a device")
    refused(tmp_path, "pretrain", "--config", "/dev/zero", "--dry-run", phrase="is a pipe or a device")


# ---- names that are not UTF-8

NOT_UTF8 = os.fsdecode(b"\xff")


def test_data_whose_name_is_not_utf8_are_told_so(tmp_path):
    for i in range(4):
        write_mrc(tmp_path / NOT_UTF8 / f"{i}.mrc", noise(seed=i))
    words = ["--dataset", "mrc_folder", "--data", tmp_path / NOT_UTF8]
    phrase = "is a path that is not UTF-8, which no run can record; rename it"
    assert phrase in refused(tmp_path, "pretrain", *words, "--run-dir", tmp_path / "r")
    assert phrase in refused(tmp_path, "convert", *words, "--output", tmp_path / "o.h5")


def test_a_run_directory_whose_name_is_not_utf8_is_told_so(tmp_path):
    words = ["--dataset", "demo", "--set", "dataset.per_class=4", "--run-dir", tmp_path / NOT_UTF8]
    assert "is not UTF-8, as TensorBoard needs names to be" in refused(tmp_path, "pretrain", *words)


def test_what_is_not_there_is_not_called_something_else(tmp_path):
    assert "no such file" in refused(tmp_path, "inspect", tmp_path / NOT_UTF8)
