"""Tomograms in files: what is read, and boxes cut around known voxels."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from support.mrc_writing import edit, noise, open_files, state, write_mrc
from support.tomograms import POINTS, SHAPE, bright, write_ome_zarr, write_tomogram

from cryoreg.datasets.tomograms.files import Tomogram, cut, open_tomogram
from cryoreg.errors import DataError


def write_any(folder: Path, kind: str, volume: np.ndarray, voxel_size: float = 10.0) -> Path:
    if kind == "mrc":
        return write_mrc(folder / "t.mrc", volume, voxel_size)
    if kind == "zarr2":
        return write_ome_zarr(folder / "t2.zarr", {voxel_size: volume})
    if kind == "zarr3":
        return write_ome_zarr(folder / "t3.zarr", {voxel_size: volume}, zarr_format=3)
    pages = [Image.fromarray(section) for section in volume]
    pages[0].save(folder / "t.tif", save_all=True, append_images=pages[1:])
    return folder / "t.tif"


KINDS = ("mrc", "zarr2", "zarr3", "tif")


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_voxels(kind: str, tmp_path: Path) -> None:
    volume = bright()
    tomogram = open_tomogram(write_any(tmp_path, kind, volume), 10.0 if kind == "tif" else None)
    assert tomogram.shape == SHAPE
    assert tomogram.voxel_size == pytest.approx(10.0)
    assert tomogram[:].dtype == np.float32
    np.testing.assert_array_equal(tomogram[:], volume)
    np.testing.assert_array_equal(tomogram[3:9, 5:6], volume[3:9, 5:6])
    np.testing.assert_array_equal(tomogram.read((slice(1, 4), slice(2, 7), slice(3, 5))), volume[1:4, 2:7, 3:5])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edge", [8, 9])
def test_the_bright_voxel_is_at_half_the_edge(kind: str, edge: int, tmp_path: Path) -> None:
    tomogram = open_tomogram(write_any(tmp_path, kind, bright()))
    for i, (x, y, z) in enumerate(POINTS):
        box, outside = cut(tomogram, (z, y, x), edge)
        assert box.shape == (edge, edge, edge)
        assert box.dtype == np.float32
        assert box[edge // 2, edge // 2, edge // 2] == 100 + i
        assert (outside == 0) == all(
            p - edge // 2 >= 0 and p - edge // 2 + edge <= n for p, n in zip((z, y, x), SHAPE, strict=True)
        )


def test_a_box_inside_is_copied_to_the_bit(tmp_path: Path) -> None:
    volume = bright()
    box, outside = cut(open_tomogram(write_mrc(tmp_path / "t.mrc", volume)), (20.0, 21.0, 22.0), (6, 7, 8))
    np.testing.assert_array_equal(box, volume[17:23, 18:25, 18:26])
    assert outside == 0


def test_edges_repeat_the_outermost_voxels(tmp_path: Path) -> None:
    volume = bright()
    tomogram = open_tomogram(write_mrc(tmp_path / "t.mrc", volume))
    box, outside = cut(tomogram, (1, 43, 20), 8)
    padded = np.pad(volume, 8, mode="edge")
    np.testing.assert_array_equal(box, padded[5:13, 47:55, 24:32])
    assert outside == pytest.approx(1 - (5 / 8) * (5 / 8))
    assert cut(tomogram, (-50, 20, 20), 8)[1] == 1


@pytest.mark.parametrize("centre", [(20.25, 21.5, 19.0), (20.0, 21.0, 19.0), (22.4, 19.7, 20.9)])
def test_a_blob_between_voxels_is_centred(centre: tuple[float, float, float], tmp_path: Path) -> None:
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    blob = np.exp(-sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) / (2 * 2.0**2))
    box, _ = cut(open_tomogram(write_mrc(tmp_path / "t.mrc", blob.astype(np.float32))), centre, 16)
    places = np.meshgrid(*(np.arange(16) - 8,) * 3, indexing="ij")
    expected = np.exp(-sum(p**2 for p in places) / (2 * 2.0**2))
    np.testing.assert_allclose(box, expected, atol=0.005)
    mass = [(p * box).sum() / box.sum() for p in places]
    np.testing.assert_allclose(mass, [(p * expected).sum() / expected.sum() for p in places], atol=0.02)


@pytest.mark.parametrize("step", [2.0, 1.5, 0.5])
def test_a_step_samples_the_same_blob_on_another_grid(step: float, tmp_path: Path) -> None:
    grid = np.meshgrid(*(np.arange(64),) * 3, indexing="ij")
    blob = np.exp(-sum((g - c) ** 2 for g, c in zip(grid, (30, 31, 33), strict=True)) / (2 * 5.0**2))
    box, _ = cut(open_tomogram(write_mrc(tmp_path / "t.mrc", blob.astype(np.float32))), (30, 31, 33), 12, step)
    places = np.meshgrid(*(step * (np.arange(12) - 6),) * 3, indexing="ij")
    np.testing.assert_allclose(box, np.exp(-sum(p**2 for p in places) / (2 * 5.0**2)), atol=0.005)


def test_a_coarser_step_removes_what_it_cannot_hold(tmp_path: Path) -> None:
    wave = np.broadcast_to(np.cos(np.pi * np.arange(64) * 0.8), (64, 64, 64)).astype(np.float32)
    tomogram = open_tomogram(write_mrc(tmp_path / "t.mrc", wave))
    assert np.abs(cut(tomogram, (32, 32, 32), 12, 2.0)[0]).max() < 0.02
    assert np.abs(cut(tomogram, (32, 32, 32), 12, 1.0)[0]).max() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_tomogram_pickles_small_and_keeps_no_file_open(kind: str, tmp_path: Path) -> None:
    path = write_any(tmp_path, kind, noise((40, 40, 40)))
    before = open_files()
    tomogram = open_tomogram(path)
    first, _ = cut(tomogram, (20, 20, 20), 8)
    raw = pickle.dumps(tomogram)
    assert len(raw) < 4000
    np.testing.assert_array_equal(cut(pickle.loads(raw), (20, 20, 20), 8)[0], first)
    if not kind.startswith("zarr"):  # zarr's event loop has descriptors of its own
        assert open_files() == before


@pytest.mark.parametrize(
    ("dtype", "low"), [(np.int8, -100), (np.int16, -3000), (np.uint16, 0), (np.float16, -5), (np.float32, -5)]
)
def test_mrc_modes(dtype: type, low: int, tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(low, 100, (6, 7, 8)).astype(dtype)
    np.testing.assert_array_equal(open_tomogram(write_mrc(tmp_path / "t.mrc", volume))[:], volume.astype(np.float32))


def test_bytes_are_unsigned_where_the_header_says_so(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(90, 180, (6, 7, 8)).astype(np.uint8)
    by_limits = write_mrc(tmp_path / "limits.mrc", volume.view(np.int8), dmin=90, dmax=180)
    by_imod = write_mrc(tmp_path / "imod.mrc", volume.view(np.int8))
    edit(by_imod, 152, (1146047817).to_bytes(4, "little") + (0).to_bytes(4, "little"))
    for path in (by_limits, by_imod):
        np.testing.assert_array_equal(open_tomogram(path)[:], volume.astype(np.float32))


def test_permuted_axes_are_put_in_order(tmp_path: Path) -> None:
    volume = noise((6, 7, 8))
    path = write_mrc(tmp_path / "t.mrc", np.ascontiguousarray(volume.transpose(2, 0, 1)), mapc=2, mapr=3, maps=1)
    tomogram = open_tomogram(path)
    np.testing.assert_array_equal(tomogram[:], volume)
    [note] = tomogram.notes
    assert note.startswith("is stored with columns along y, rows along z and sections along x (MAPC, MAPR, MAPS), and")


def test_voxel_size_given_overrules_the_header(tmp_path: Path) -> None:
    assert open_tomogram(write_tomogram(tmp_path / "t.mrc"), 7.5).voxel_size == 7.5
    assert open_tomogram(write_tomogram(tmp_path / "n.mrc", voxel_size=None)).voxel_size is None


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_levels_of_an_ome_zarr(zarr_format: int, tmp_path: Path) -> None:
    fine, coarse = noise((16, 16, 16)), noise((8, 8, 8), 1)
    path = write_ome_zarr(tmp_path / "t.zarr", {1.0: fine, 2.0: coarse}, zarr_format, "nanometer")
    assert (open_tomogram(path).shape, open_tomogram(path).voxel_size) == ((16, 16, 16), 10.0)
    assert (open_tomogram(path, 20.1).shape, open_tomogram(path, 20.1).voxel_size) == ((8, 8, 8), 20.1)
    with pytest.raises(DataError, match=r"levels of 10 and 20 Å, none of 13 Å; .*t\.zarr/0"):
        open_tomogram(path, 13.0)
    assert (open_tomogram(path / "0", 13.0).shape, open_tomogram(path / "0", 13.0).voxel_size) == ((16, 16, 16), 13.0)
    assert (open_tomogram(path / "1").shape, open_tomogram(path / "1").voxel_size) == ((8, 8, 8), 20.0)


def test_ome_zarr_with_time_channel_and_no_unit(tmp_path: Path) -> None:
    volume = noise((8, 9, 10))
    path = write_ome_zarr(tmp_path / "t.zarr", {10.0: volume[None, None]}, axes="tczyx")
    np.testing.assert_array_equal(open_tomogram(path)[:], volume)
    path = write_ome_zarr(tmp_path / "u.zarr", {10.0: volume}, unit=None)
    assert open_tomogram(path).voxel_size is None
    path = write_ome_zarr(tmp_path / "x.zarr", {10.0: np.ascontiguousarray(volume.transpose(2, 1, 0))}, axes="xyz")
    np.testing.assert_array_equal(open_tomogram(path)[2:5], volume[2:5])


def test_ome_zarr_written_by_the_reference_library(tmp_path: Path) -> None:
    ngff = pytest.importorskip("ome_zarr.writer", reason="needs ome-zarr")
    volume = noise((16, 16, 16))
    group = zarr.open_group(str(tmp_path / "t.zarr"), mode="w")
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    scale = [[{"type": "scale", "scale": [7.84] * 3}]]
    ngff.write_multiscale([volume], group, axes=axes, coordinate_transformations=scale)
    tomogram = open_tomogram(tmp_path / "t.zarr")
    assert tomogram.voxel_size == pytest.approx(7.84)
    np.testing.assert_array_equal(tomogram[:], volume)


def test_real_tiff(shared_data: Path) -> None:
    tomogram = open_tomogram(shared_data / "real" / "13pf_MT.tif", 10.52)
    assert tomogram.shape == (36, 206, 94)
    assert 0 <= tomogram[:].min() < tomogram[:].max() <= 255


def nan_near(path: Path) -> Path:
    volume = bright()
    volume[20, 20, 20] = np.nan
    return write_mrc(path, volume)


def truncated(path: Path) -> Path:
    write_tomogram(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def swapped(path: Path) -> Path:
    return write_mrc(path, bright().byteswap())


BAD = {
    "missing": (lambda d: d / "no.mrc", "does not exist"),
    "empty": (lambda d: (d / "e.mrc").touch() or d / "e.mrc", "is empty"),
    "no MRC": (lambda d: (d / "t.mrc").write_bytes(b"x" * 3000) and d / "t.mrc", "not an MRC file"),
    "truncated": (lambda d: truncated(d / "t.mrc"), "is truncated"),
    "compressed": (lambda d: write_mrc(d / "t.mrc.gz", bright(), compression="gzip"), "unpack it"),
    "NaN": (
        lambda d: nan_near(d / "t.mrc"),
        r"at x 16-23, y 16-23, z 16-23: holds NaN or infinite voxels \(1 of 512\)",
    ),
    "byte order": (lambda d: swapped(d / "t.mrc"), "wrong order"),
    "flat voxels": (
        lambda d: write_mrc(d / "t.mrc", bright(), (10.0, 10.0, 20.0)),
        "voxels of 10 × 10 × 20 Å",
    ),
    "unsigned bytes": (
        lambda d: write_mrc(
            d / "t.mrc",
            np.random.default_rng(0).integers(90, 180, (40, 40, 40)).astype(np.uint8).view(np.int8),
            dmin=0,
            dmax=0,
        ),
        "bytes that look unsigned",
    ),
    "folder": (lambda d: (d / "f").mkdir() or d / "f", "neither a Zarr array nor a Zarr group"),
    "two channels": (
        lambda d: write_ome_zarr(d / "t.zarr", {10.0: noise((16, 16, 16))[None].repeat(2, 0)}, axes="czyx"),
        "2 volumes along axis c",
    ),
    "a group without images": (
        lambda d: Path(zarr.open_group(str(d / "g.zarr"), mode="w").store.root),
        "no OME-Zarr metadata",
    ),
    "one TIFF page": (lambda d: Image.new("L", (8, 8)).save(d / "t.tif") or d / "t.tif", "single section"),
    "colours": (lambda d: Image.new("RGB", (8, 8)).save(d / "t.tif") or d / "t.tif", "mode RGB"),
    "no TIFF": (lambda d: (d / "t.tif").write_bytes(b"nothing") and d / "t.tif", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tomograms(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    path = make(tmp_path)
    before = state(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        cut(open_tomogram(path), (20, 20, 20), 8)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state(tmp_path) == before


def test_the_rest_of_a_tomogram_with_nan_can_be_cut(tmp_path: Path) -> None:
    box = cut(open_tomogram(nan_near(tmp_path / "t.mrc")), (30, 30, 30), 8)[0]
    assert box.shape[-3:] == (8, 8, 8)
    assert np.isfinite(box).all()


def _first_box(tomogram: Tomogram) -> np.ndarray:
    return cut(tomogram, (20, 20, 20), 8)[0]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "tif"])
def test_another_process_reads_what_this_one_opened(kind: str, start: str, tmp_path: Path) -> None:
    tomogram = open_tomogram(write_any(tmp_path, kind, bright()))
    here = _first_box(tomogram)
    with ProcessPoolExecutor(1, get_context(start)) as pool:
        np.testing.assert_array_equal(pool.submit(_first_box, tomogram).result(timeout=60), here)
