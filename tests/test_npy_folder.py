"""Folders of NumPy arrays: volumes and stacks, and the one line for each way to get them wrong."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.mrc_writing import noise
from support.refusing import check_dataset, refused

from cryoreg.datasets.readers.npy_folder import NpyFolder
from cryoreg.datasets.specs import NpyFolderSpec


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=True)
    return path


def test_classes_volumes_and_stacks(tmp_path):
    save(tmp_path / "b/one.npy", noise((4, 5, 6), 1))
    save(tmp_path / "a/many.npy", noise((3, 4, 5, 6), 2))
    save(tmp_path / "b/channel.npy", noise((2, 4, 5, 6, 1), 3))
    dataset = NpyFolderSpec(root=tmp_path, voxel_size=9.5).build()
    expected = [*noise((3, 4, 5, 6), 2), *noise((2, 4, 5, 6, 1), 3)[..., 0], noise((4, 5, 6), 1)]
    check_dataset(dataset, expected, tmp_path)
    assert dataset.ids == ["a/many/0", "a/many/1", "a/many/2", "b/channel/0", "b/channel/1", "b/one"]
    assert (dataset.classes, list(dataset.labels)) == (["a", "b"], [0, 0, 0, 1, 1, 1])
    assert (dataset.box, dataset.voxel_size) == ((4, 5, 6), 9.5)
    assert (dataset.origin(1).row, dataset.origin(5).row) == (1, None)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "f2", "<f4", ">f8", "?"])
@pytest.mark.parametrize("order", "CF")
def test_every_kind_of_number(tmp_path, dtype, order):
    volumes = np.asarray(np.arange(2 * 4 * 5 * 6).reshape(2, 4, 5, 6) % 7, dtype=dtype, order=order)
    save(tmp_path / "a.npy", volumes)
    dataset = NpyFolder(tmp_path / "a.npy")
    check_dataset(dataset, list(volumes), tmp_path)
    assert dataset.voxel_size is None
    assert not dataset.classes


@pytest.mark.parametrize("edge", [4, 5])
def test_a_bright_voxel_is_where_it_was_written(tmp_path, edge):
    volume = np.zeros((edge,) * 3)
    volume[edge // 2, 0, edge - 1] = 1
    save(tmp_path / "a.npy", volume)
    assert np.argwhere(NpyFolder(tmp_path)[0].volume[0].numpy()).tolist() == [[edge // 2, 0, edge - 1]]


def test_opening_reads_no_voxels(tmp_path):
    """A sparse file of 8 GB."""
    path = tmp_path / "a.npy"
    header = np.lib.format.header_data_from_array_1_0(noise((2, 4, 4, 4))) | {"shape": (2, 1024, 1024, 1024)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 8 * 1024**3)
    assert NpyFolder(path).box == (1024, 1024, 1024)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def with_one(value: float) -> np.ndarray:
    data = noise((4, 5, 6))
    data[0, 0, 0] = value
    return data


ON_OPENING = {
    "objects": (np.array([None, 3, "x"], dtype=object), "Python objects"),
    "evil": (np.array([Evil()], dtype=object), "Python objects"),
    "complex": (noise((4, 5, 6)).astype("c8"), "complex numbers"),
    "text": (np.array(["volume"]), "not numbers"),
    "records": (np.zeros((4, 5, 6), dtype=[("a", "f4")]), "not numbers"),
    "number": (np.float32(3), "the shape of a single number"),
    "line": (noise((4,)), "the shape 4,"),
    "image": (noise((5, 6)), "the shape 5×6, not that of a volume"),
    "flat volume": (noise((1, 5, 6)), "the shape 1×5×6, not that of a volume"),
    "two channels": (noise((3, 4, 5, 6, 2)), "4×5×6×2, not that of a volume"),
    "nothing": (noise((0, 4, 5, 6)), "holds no volumes"),
}


@pytest.mark.parametrize(("array", "phrase"), ON_OPENING.values(), ids=ON_OPENING)
def test_wrong_arrays_are_refused_on_opening(tmp_path, monkeypatch, array, phrase):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "a.npy", array)
    refused(lambda: NpyFolder(tmp_path), phrase, root=path)
    assert os.listdir(tmp_path) == ["a.npy"]


ON_READING = {
    "nan": (with_one(np.nan), "NaN or infinite voxels (1 of 120)"),
    "infinite": (with_one(-np.inf), "NaN or infinite"),
    "too large for float32": (noise((4, 5, 6)).astype("f8") * 1e300, "NaN or infinite"),
    "constant": (np.full((4, 5, 6), 3), "constant (every voxel is 3)"),
    "huge": (with_one(1e20), "no density"),
}


@pytest.mark.parametrize(("array", "phrase"), ON_READING.values(), ids=ON_READING)
def test_wrong_voxels_are_refused_on_reading(tmp_path, array, phrase):
    path = save(tmp_path / "a.npy", array)
    dataset = NpyFolder(path)
    refused(lambda: dataset[0], phrase, root=path)


DAMAGED = {
    "empty": (lambda path: os.truncate(path, 0), "or empty"),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size - 3), "is truncated"),
    "truncated header": (lambda path: os.truncate(path, 30), "is truncated"),
    "text": (lambda path: path.write_text("no array " * 99), "not a NumPy file"),
    "zip": (
        lambda path: (np.savez(path.with_suffix(""), noise()), path.with_suffix(".npz").replace(path)),
        "not a NumPy file",
    ),
    "code in the header": (lambda path: path.write_bytes(b"\x93NUMPY\x01\0\x10\0exit(open('x'))\n"), "cannot be read"),
    "open bracket in the header": (lambda path: path.write_bytes(b"\x93NUMPY\x01\0\x08\0{'a': (\n"), "cannot be read"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "holds no NumPy files"),
    "missing": (lambda path: path.unlink(), "does not exist"),
}


@pytest.mark.parametrize(("damage", "phrase"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_files(tmp_path, damage, phrase):
    path = save(tmp_path / "a.npy", noise((4, 5, 6)))
    damage(path)
    refused(lambda: NpyFolder(path), phrase, root=path)


def test_mixed_boxes_and_empty_classes(tmp_path):
    first = save(tmp_path / "a/1.npy", noise((4, 5, 6)))
    save(tmp_path / "b/1.npy", noise((2, 4, 4, 4)))
    refused(lambda: NpyFolder(tmp_path), "mixed box sizes", "4×5×6", "4×4×4", root=first)
    (tmp_path / "b/1.npy").unlink()
    refused(lambda: NpyFolder(tmp_path), "this class holds no NumPy files", root=tmp_path / "b")


def test_an_array_that_changes_later(tmp_path):
    path = save(tmp_path / "a.npy", noise((3, 4, 4, 4)))
    dataset = NpyFolder(path)
    save(path, noise((2, 4, 4, 4)))
    refused(lambda: dataset[2], "changed its size", root=path)
