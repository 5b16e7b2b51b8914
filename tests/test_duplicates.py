"""Identical subtomograms: found from known copies, and kept in one part of a split."""

from __future__ import annotations

import numpy as np
import pytest
from support.mrc_writing import edit, write_mrc
from support.storing import layout, volume, write_store
from support.synthetic import write_classes

from cryoreg import create_dataset
from cryoreg.datasets.conversion.convert import convert
from cryoreg.datasets.duplicates import across_splits, find_duplicates
from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.datasets.splits import split
from cryoreg.datasets.store.reader import Store
from cryoreg.datasets.store.writer import StoreWriter

COPIES = [("class0/000", "class0/007"), ("class1/001", "class1/004", "class1/009")]


@pytest.fixture
def source(tmp_path):
    """Twenty subtomograms, of which two and three are the same."""
    root = write_classes(tmp_path / "source")
    for first, *others in COPIES:
        content = (root / f"{first}.mrc").read_bytes()
        for other in others:
            (root / f"{other}.mrc").write_bytes(content)
    return MrcFolder(root)


def ids(dataset, groups):
    return [tuple(dataset.ids[index] for index in group) for group in groups]


def test_files_and_store_have_the_same_duplicates(source, tmp_path):
    assert ids(source, find_duplicates(source)) == COPIES
    store = Store(convert(source, tmp_path / "s.h5").path)
    assert ids(store, find_duplicates(store)) == COPIES
    dark = create_dataset("store", root=store.root, contrast="dark")
    assert ids(dark, find_duplicates(dark)) == COPIES


def test_a_store_tells_without_reading(source, tmp_path, monkeypatch):
    store = Store(convert(source, tmp_path / "s.h5").path)
    monkeypatch.setattr(Store, "__getitem__", None)
    assert ids(store, find_duplicates(store)) == COPIES


def test_of_files_only_those_that_end_alike_are_read(source, tmp_path, monkeypatch):
    content = bytearray((tmp_path / "source/class0/000.mrc").read_bytes())
    content[1024:1028] = np.float32(3.5).tobytes()  # the first voxel, after the header
    (tmp_path / "source/class0/002.mrc").write_bytes(content)
    read, getitem = [], MrcFolder.__getitem__
    monkeypatch.setattr(MrcFolder, "__getitem__", lambda self, i: read.append(self.ids[i]) or getitem(self, i))
    assert ids(source, find_duplicates(source)) == COPIES
    assert sorted(read) == sorted(["class0/002", *(name for group in COPIES for name in group)])


def test_copies_are_found_whatever_their_headers_say(source, tmp_path):
    edit(tmp_path / "source/class0/007.mrc", 224, b"written on another day")  # the first label
    assert ids(source, find_duplicates(source)) == COPIES


def test_copies_in_other_kinds_of_numbers_are_found(tmp_path):
    whole = np.random.default_rng(0).integers(-9, 9, (8, 8, 8))
    for name, kind in (("a", np.int16), ("b", np.float32), ("c", np.float32)):
        write_mrc(tmp_path / f"{name}.mrc", whole.astype(kind))
    assert find_duplicates(MrcFolder(tmp_path)) == [[0, 1, 2]]


def test_without_duplicates(tmp_path):
    store = Store(write_store(tmp_path / "s.h5"))
    assert find_duplicates(store) == []
    assert store.duplicates == [None] * 6
    assert across_splits(store, split(store, (0.5, 0.5, 0))) == []


def test_rows_left_out_are_no_duplicates(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout(4)) as writer:
        for row, content in enumerate((0, 1, 0, 1)):
            writer.put(row, volume(content))
        writer.leave_out(0)
        writer.finish()
    assert find_duplicates(Store(path)) == [[0, 2]]


def test_almost_the_same_is_another(tmp_path):
    one = volume(0)
    other = one.copy()
    other[0, 0, 0] = np.nextafter(other[0, 0, 0], np.float32(1000))
    for name, content in (("a", one), ("b", other), ("c", one)):
        write_mrc(tmp_path / f"{name}.mrc", content)
    assert find_duplicates(MrcFolder(tmp_path)) == [[0, 2]]


def test_a_split_that_does_not_know_tears_them_and_that_is_told(source, tmp_path):
    torn = [across_splits(source, split(source, seed=seed)) for seed in range(10)]
    assert any(torn), "of ten splits, not one tears five copies"
    for groups in torn:
        assert {tuple(group) for group in groups} <= set(COPIES)
    store = Store(convert(source, tmp_path / "s.h5").path)
    assert [across_splits(store, split(store, seed=seed)) for seed in range(10)] == [[]] * 10
