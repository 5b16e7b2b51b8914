"""The store: what goes in comes out, a kill at any moment loses little, and damage is told in one line."""

from __future__ import annotations

import errno
import fcntl
import gc
import hashlib
import os
import pickle
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.mrc_writing import edit, open_files, state
from support.storing import BOX, dies, kill_self, layout, rich_columns, rich_layout, volume, write_store

from cryoreg.contracts import Origin, SubtomogramDataset
from cryoreg.datasets.conventions import Conventional
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.datasets.specs import StoreSpec
from cryoreg.datasets.store.reader import Store
from cryoreg.datasets.store.writer import StoreWriter
from cryoreg.errors import DataError, OutputError


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "störe.h5")


def part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def offset(path: Path, name: str) -> int:
    with h5py.File(path, "r", locking=False) as file:
        return file[name].id.get_offset()


def one_line(error: pytest.ExceptionInfo, *phrases: str) -> None:
    message = str(error.value)
    assert len(message.splitlines()) == 1
    for phrase in phrases:
        assert phrase in message


# ---- what goes in comes out


def test_everything_comes_back(tmp_path):
    plan = rich_layout()
    dataset = Store(write_store(tmp_path / "s.h5", plan))
    assert isinstance(dataset, SubtomogramDataset)
    for name in ("ids", "labels", "groups", "classes", "box", "voxel_size", "contrast", "tilt_range", "tilt_axis"):
        assert getattr(dataset, name) == getattr(plan, name), name
    assert dataset.settings == {"snr": 0.05, "who": "ß", "path": "x", "range": [1, 2]}
    assert dataset.origin(0) == Origin("list.star", 7, 10.0, (-60.0, 50.0))
    assert dataset.origin(1) == Origin("list.star", None, 10.0, None)
    assert dataset.origin(2).file == "ö.mrc"
    assert [dataset.origin(row).place for row in range(4)] == [None, None, (-1.5, 0.0, 2.0), None]
    for row in range(4):
        sample = dataset[row]
        assert (sample.id, sample.label, sample.group) == (plan.ids[row], plan.labels[row], plan.groups[row])
        assert sample.volume.shape == (1, *BOX)
        np.testing.assert_array_equal(sample.volume[0], volume(row))
        np.testing.assert_array_equal(dataset.clean[row].volume[0], volume(row) / 2)
        for name, value in rich_columns(row).items():
            np.testing.assert_array_equal(dataset.columns[name][row], value)


def test_any_hdf5_library_reads_it(store):
    with h5py.File(store, "r") as file:
        assert file["volumes"].shape == (6, *BOX)
        assert file["volumes"].dtype == np.float32
        assert [np.unravel_index(v.argmax(), BOX) for v in file["volumes"]] == [(i % 4, i % 5, i % 6) for i in range(6)]
        assert file["ids"].asstr()[()].tolist() == [f"s{i}" for i in range(6)]
        assert file["labels"][()].tolist() == [0, 1] * 3
        assert file["crc32"][()].tolist() == [zlib.crc32(volume(i).tobytes()) for i in range(6)]
        hashes = [hashlib.blake2b(volume(i).tobytes(), digest_size=16).digest() for i in range(6)]
        assert [row.tobytes() for row in file["content_hash"][()]] == hashes
        assert file.attrs["voxel_size"] == 10


def test_what_is_unknown_stays_unknown(tmp_path):
    plan = layout(2, labels=[None, None], classes=[], voxel_size=None)
    dataset = Store(write_store(tmp_path / "s.h5", plan))
    assert (dataset.voxel_size, dataset.contrast, dataset.tilt_range, dataset.tilt_axis) == (None,) * 4
    assert (dataset.labels, dataset.classes, dataset.clean) == ([None, None], [], None)
    assert dataset.origin(1) == Origin(dataset.root, 1, None, None)
    assert Store(dataset.root, voxel_size=7.5).voxel_size == 7.5


def test_the_fingerprint_is_that_of_the_rows(tmp_path):
    assert fingerprint(Store(write_store(tmp_path / "s.h5", rich_layout()))) == fingerprint(rich_layout())


def test_attributes_may_be_long(tmp_path):
    """HDF5 has no room for more than 64 kB in an attribute."""
    plan = layout(2, settings={"long": "x" * 100_000}, classes=["a", "b", *(f"class {i}" * 10 for i in range(2000))])
    dataset = Store(write_store(tmp_path / "s.h5", plan))
    assert dataset.settings == plan.settings
    assert dataset.classes == plan.classes


def test_clean_copies_keep_sign_and_scale_of_the_volumes(tmp_path):
    """Half the volume is the copy's, so it must be half the volume after any convention, too."""
    path = write_store(tmp_path / "s.h5", replace(rich_layout(), contrast="dark"))
    dataset = StoreSpec(root=path, rescale_to=12.0).build()
    assert dataset.contrast == dataset.clean.contrast == "bright"
    assert dataset.box == dataset.clean.box != BOX
    for row in range(4):
        np.testing.assert_allclose(dataset[row].volume / 2, dataset.clean[row].volume, atol=1e-5)
    assert StoreSpec(root=path).build()[0].volume.min() == -volume(0).max()
    assert StoreSpec(root=path).build().columns["rank"].tolist() == [0, -1, -2, -3]
    assert dataset.columns == {}


def test_reading_leaves_no_trace_and_needs_no_lock(store):
    """HDF5 locks files by itself, which fails on read-only media and network disks."""
    before = state(store.parent)
    with open(store, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [sample.id for sample in Store(store)] == [f"s{i}" for i in range(6)]
    assert state(store.parent) == before


def test_processes_read_together(store):
    dataset = Store(store)
    dataset[0]  # the descriptor is open, and shared after the fork
    copy = pickle.loads(pickle.dumps(StoreSpec(root=store, contrast="dark").build()))

    def read():
        for _ in range(50):
            for row in np.random.default_rng(os.getpid()).permutation(6).tolist():
                if not np.array_equal(dataset[row].volume[0], volume(row)):
                    kill_self()

    assert not dies(read)
    read()
    np.testing.assert_array_equal(copy[3].volume[0], -volume(3))


@pytest.mark.slow
def test_no_file_stays_open(store):
    gc.collect()
    before = open_files()
    dataset = Store(store)
    assert open_files() == before
    dataset[1], dataset.columns, dataset.prefetch(range(6))
    assert open_files() == before + 1
    del dataset
    gc.collect()
    assert open_files() == before


def test_what_is_wanted_soon_is_asked_of_the_system(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, advice: asked.append((start, length, advice)))
    path = write_store(tmp_path / "s.h5", layout(clean=True))
    dataset = StoreSpec(root=path, contrast="dark").build()
    for name, served in (("volumes", dataset), ("clean", dataset.clean)):
        asked.clear()
        served.prefetch([4, 1])
        size = volume(0).nbytes
        assert asked == [(offset(path, name) + row * size, size, os.POSIX_FADV_WILLNEED) for row in (1, 4)]


# ---- writing


def test_metadata_is_whole_before_the_first_voxel(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, rich_layout()) as writer:
        with h5py.File(writer.part, "r", locking=False) as file:
            assert file["ids"].asstr("utf-8", "surrogateescape")[0] == "tomo 1/α"
            offsets = {name: file[name].id.get_offset() for name in ("volumes", "clean", "crc32", "columns/rotation")}
            eof = writer.part.stat().st_size
        for row in range(4):
            writer.put(row, volume(row), volume(row), rich_columns(row))
        writer.finish()
    assert None not in offsets.values()
    assert path.stat().st_size == eof, "writing rows must not move anything"
    assert {name: offset(path, name) for name in offsets} == offsets


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1, 3, 5])
def test_killed_at_any_row_it_goes_on(tmp_path, first):
    path = tmp_path / "s.h5"

    def work(rows: int):
        with StoreWriter(path, layout()) as writer:
            for row in writer.missing()[:rows]:
                writer.put(row, volume(row))
                writer.flush()
            kill_self()

    assert dies(lambda: work(first))
    assert not path.exists()
    with StoreWriter(path, layout()) as writer:
        assert writer.missing() == list(range(first, 6))
    assert dies(lambda: work(1))
    assert [s.volume.max() for s in Store(write_store(path))] == [100 + i for i in range(6)]
    assert os.listdir(tmp_path) == ["s.h5"]


def test_killed_before_its_rows_are_on_disk_it_writes_them_again(tmp_path):
    path = tmp_path / "s.h5"

    def work():
        writer = StoreWriter(path, layout())
        writer.put(0, volume(0))
        kill_self()

    assert dies(work)
    with StoreWriter(path, layout()) as writer:
        assert writer.missing() == list(range(6))


def test_rows_are_flushed_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("cryoreg.datasets.store.writer._FLUSH_SECONDS", 0)
    path = tmp_path / "s.h5"
    assert dies(lambda: [(w := StoreWriter(path, layout())).put(0, volume(0)), w.put(1, volume(1)), kill_self()])
    with StoreWriter(path, layout()) as writer:
        assert writer.missing() == [2, 3, 4, 5]


@pytest.mark.parametrize("name", ["volumes", "clean"])
def test_rows_whose_checksum_fails_are_written_again(tmp_path, name):
    path, plan = tmp_path / "s.h5", layout(clean=True)
    with StoreWriter(path, plan) as writer:
        for row in range(4):
            writer.put(row, volume(row), volume(row))
    edit(part_of(path), offset(part_of(path), name) + 2 * volume(0).nbytes, b"\xff")
    with StoreWriter(path, plan) as writer:
        assert writer.missing() == [2, 4, 5]


def test_rows_in_any_order_and_again(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout()) as writer:
        for row in (5, 0, 3, 1, 1, 4, 2):
            writer.put(row, volume(row)[None])
        writer.finish()
    assert [s.volume.max() for s in Store(path)] == [100 + i for i in range(6)]


def test_rows_left_out(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, rich_layout()) as writer:
        for row in (0, 2, 3):
            writer.put(row, volume(row), volume(row) / 2, rich_columns(row))
        writer.leave_out(1)
        writer.finish()
    dataset = Store(path)
    assert dataset.left_out == ["b\udcff"]
    assert "1 subtomograms were left out" in dataset.notes[0]
    assert dataset.ids == ["tomo 1/α", "c", "d"]
    assert dataset.labels == [1, 0, 1]
    assert dataset.origin(2) == Origin("list.star", 9, 10.0, (-40.0, 40.0))
    assert dataset.columns["rank"].tolist() == [0, -2, -3]
    for index, row in enumerate((0, 2, 3)):
        np.testing.assert_array_equal(dataset[index].volume[0], volume(row))
        np.testing.assert_array_equal(dataset.clean[index].volume[0], volume(row) / 2)


def test_a_row_left_out_is_tried_again(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout(2)) as writer:
        writer.leave_out(1)
    assert len(Store(write_store(path, layout(2)))) == 2


def test_starting_afresh(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout()) as writer:
        writer.put(0, volume(0))
    with StoreWriter(path, layout(3), resume=False) as writer:
        assert writer.missing() == [0, 1, 2]


def test_an_existing_store_is_replaced_only_on_demand(store):
    before = state(store.parent)
    with pytest.raises(OutputError) as error:
        StoreWriter(store, layout(2))
    one_line(error, store.name, "--overwrite")
    assert state(store.parent) == before
    write_store(store, layout(2), overwrite=True)
    assert len(Store(store)) == 2


def test_a_store_that_came_meanwhile_is_kept(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout(1)) as writer:
        writer.put(0, volume(0))
        path.write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists already"):
            writer.finish()
    assert path.read_bytes() == b"mine"
    assert part_of(path).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"snr": 2}},
        {"labels": [0] * 6},
        {"clean": True},
        {"columns": {"score": ("f4", ())}},
        {"origins": [Origin(f"{i}.mrc") for i in range(6)]},
        {"voxel_size": 9.0},
    ],
)
def test_another_layout_does_not_go_on(tmp_path, change):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout()) as writer:
        writer.put(0, volume(0))
    before = state(tmp_path)
    with pytest.raises(DataError) as error:
        StoreWriter(path, layout(**change))
    one_line(error, part_of(path).name, "other data or settings")
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"ids": []}, "no subtomograms"),
        ({"ids": ["a", "b", "a"], "labels": [0] * 3, "groups": [None] * 3}, "the id 'a'"),
        ({"labels": [0]}, "6 ids and 1 labels"),
        ({"ids": ["a\0b", *"cdefg"]}, "NUL"),
        ({"columns": {"name": ("O", ())}}, "column 'name'"),
    ],
)
def test_layouts_that_cannot_be(tmp_path, change, phrase):
    with pytest.raises(DataError) as error:
        StoreWriter(tmp_path / "s.h5", layout(**change))
    one_line(error, phrase)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"volume": np.full(BOX, np.nan)}, "NaN"),
        ({"volume": np.full(BOX, np.inf)}, "infinite"),
        ({"volume": np.zeros((4, 4, 4))}, "shape (4, 4, 4)"),
        ({"volume": np.ones(BOX), "columns": {}}, "columns []"),
        ({"volume": np.ones(BOX), "clean": None}, "noise-free"),
    ],
)
def test_rows_that_cannot_be(tmp_path, given, phrase):
    with StoreWriter(tmp_path / "s.h5", layout(clean=True, columns={"score": ("f4", ())})) as writer:
        with pytest.raises(DataError) as error:
            writer.put(3, **({"clean": np.ones(BOX), "columns": {"score": 1}} | given))
        one_line(error, "s3", phrase)
        assert writer.missing() == list(range(6))


def test_an_incomplete_store_gets_no_name(tmp_path):
    with StoreWriter(tmp_path / "s.h5", layout(3)) as writer:
        writer.put(0, volume(0))
        with pytest.raises(DataError) as error:
            writer.finish()
        one_line(error, "2 subtomograms", "s1")
    with StoreWriter(tmp_path / "t.h5", layout(1)) as writer:
        writer.leave_out(0)
        with pytest.raises(DataError, match="every subtomogram was left out"):
            writer.finish()
    assert not (tmp_path / "s.h5").exists()
    assert not (tmp_path / "t.h5").exists()


def test_two_writers_do_not_meet(tmp_path):
    with StoreWriter(tmp_path / "s.h5", layout()) as writer:
        writer.put(0, volume(0))
        with pytest.raises(DataError) as error:
            StoreWriter(tmp_path / "s.h5", layout())
        one_line(error, "another process")


def test_a_damaged_part(tmp_path):
    path = tmp_path / "s.h5"
    part_of(path).write_bytes(b"no HDF5")
    with pytest.raises(DataError) as error:
        StoreWriter(path, layout())
    one_line(error, part_of(path).name, "damaged", "remove it")
    assert len(Store(write_store(path, resume=False))) == 6


def test_a_full_disk_loses_nothing(tmp_path, small_files_only):
    path = tmp_path / "s.h5"
    with StoreWriter(path, layout()) as writer:
        for row in (0, 1):
            writer.put(row, volume(row))
        writer.flush()
        small_files_only(offset(writer.part, "volumes") + 3 * volume(0).nbytes)
        writer.put(2, volume(2))
        with pytest.raises(DataError) as error:
            writer.put(3, volume(3))
        one_line(error, os.strerror(errno.EFBIG), ".part")
        small_files_only(None)
    with StoreWriter(path, layout()) as writer:
        assert writer.missing() == [3, 4, 5]


def test_room_is_asked_for_first(tmp_path):
    with pytest.raises(DataError) as error:
        StoreWriter(tmp_path / "s.h5", layout(box=(100_000, 100_000, 100_000)))
    one_line(error, "GB free")
    assert os.listdir(tmp_path) == []


# ---- what is refused


def _version(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["cryoreg_store"] = 2


def _chunk(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        volumes = file["volumes"][()]
        del file["volumes"]
        file.create_dataset("volumes", data=volumes, chunks=(1, *BOX), compression="gzip")


def _delete(name: str) -> Callable[[Path], None]:
    def delete(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[name]

    return delete


def _relabel(path: Path) -> None:
    edit(path, offset(path, "labels"), b"\1")


def _unwrite(path: Path) -> None:
    edit(path, offset(path, "state") + 4, b"\0")


def _foreign(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file["dataset_1"] = np.zeros((2, 3, 3, 3))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS = {
    "missing": (Path.unlink, "does not exist"),
    "a folder": (_folder, "is a folder"),
    "empty": (lambda path: path.write_bytes(b""), "is not an HDF5 file"),
    "text": (lambda path: path.write_text("volumes"), "is not an HDF5 file"),
    "foreign": (_foreign, "not a store of cryoreg"),
    "truncated": (lambda path: os.truncate(path, path.stat().st_size - 500), "is truncated"),
    "newer": (_version, "format 2"),
    "repacked": (_chunk, "repacked"),
    "unfinished": (_unwrite, "unfinished (5 of 6"),
    "of unknown state": (lambda path: edit(path, offset(path, "state") + 4, b"\x11"), "is damaged"),
    "relabelled": (_relabel, "not as they were written"),
    "without ids": (_delete("ids"), "is damaged"),
    "damaged metadata": (lambda path: edit(path, 60, b"\xff\xff"), "is damaged"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_store_that_cannot_be_opened(store, how):
    damage, phrase = BREAKS[how]
    damage(store)
    before = state(store.parent)
    with pytest.raises(DataError) as error:
        Store(store)
    one_line(error, str(store), phrase, "; " if how not in ("foreign",) else "`cryoreg convert`")
    assert state(store.parent) == before


def test_the_part_of_a_store_is_unfinished(tmp_path):
    with StoreWriter(tmp_path / "s.h5", layout()) as writer:
        writer.put(0, volume(0))
    with pytest.raises(DataError, match=r"unfinished \(1 of 6"):
        Store(part_of(tmp_path / "s.h5"))


def test_a_flipped_bit_is_one_line(store):
    place = offset(store, "volumes") + 3 * volume(0).nbytes + 17
    byte = store.read_bytes()[place]
    edit(store, place, bytes([byte ^ 4]))
    dataset = Store(store)
    assert [dataset[row].id for row in (0, 1, 2, 4, 5)] == ["s0", "s1", "s2", "s4", "s5"]
    with pytest.raises(DataError) as error:
        dataset[3]
    one_line(error, str(store), "'s3'", "checksum", "copy the file again")


def test_a_store_that_shrinks_while_it_is_read(store):
    dataset = Store(store)
    os.truncate(store, offset(store, "volumes") + 10)
    with pytest.raises(DataError) as error:
        dataset[5]
    one_line(error, str(store), "truncated")


@pytest.mark.slow
def test_every_damaged_byte_of_the_metadata_is_told_or_harmless(store):
    """No damage may pass for another data set, nor end in anything but a DataError."""
    content, before, told = store.read_bytes(), Store(store), []
    known = (before.ids, before.labels, before.groups, before.classes, before.box)
    voxels = range(offset(store, "volumes"), offset(store, "volumes") + 6 * volume(0).nbytes)
    metadata = [place for place in range(len(content)) if place not in voxels]
    for place in metadata[::17]:
        edit(store, place, bytes([content[place] ^ 16]))
        try:
            after = Store(store)
            volumes = [after[row].volume for row in range(6)]
        except DataError as error:
            told.append(str(error))
        else:
            assert (after.ids, after.labels, after.groups, after.classes, after.box) == known
            assert all(np.array_equal(v[0], volume(row)) for row, v in enumerate(volumes))
        edit(store, place, content[place : place + 1])
    assert told
    assert all(len(message.splitlines()) == 1 for message in told)


def test_conventions_without_copies(store):
    assert Conventional(Store(store)).clean is None


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError) as error:
        StoreWriter(tmp_path / "file" / "s.h5", layout())
    one_line(error, "cannot write", "s.h5")
    assert ".part" not in str(error.value)
