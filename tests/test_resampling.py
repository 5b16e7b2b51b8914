"""Other voxel sizes and centres, against closed forms: what lies at a physical place stays there."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from cryoreg.datasets.resampling import resample, sample_box


def coordinates(edge: int, voxel_size: float) -> np.ndarray:
    """Return Å from the centre voxel, edge // 2, as (z, y, x) each (edge, edge, edge)."""
    axis = (np.arange(edge) - edge // 2) * voxel_size
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))


def blob(edge: int, voxel_size: float, place: tuple[float, ...], sigma: float) -> np.ndarray:
    """Return a Gaussian of height 1 at a place in Å."""
    distance = coordinates(edge, voxel_size) - np.reshape(place, (3, 1, 1, 1))
    return np.exp(-(distance**2).sum(axis=0) / (2 * sigma**2)).astype(np.float32)


PLACE = (20.0, -30.0, 45.0)


@pytest.mark.parametrize("edge", [32, 33])
@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("target", [5.0, 7.3, 10.0, 13.3, 20.0])
def test_a_gaussian_stays_where_it_is(edge, odd, target):
    """Sampled anew on the other grid, in closed form; odd and even boxes, finer and coarser."""
    wanted = int(edge * 10 / target) // 2 * 2 + odd
    found = resample(blob(edge, 10, PLACE, 30), 10 / target, (wanted,) * 3)
    np.testing.assert_allclose(found, blob(wanted, target, PLACE, 30), atol=2e-3)


@pytest.mark.parametrize("edge", [20, 21])
@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_a_bright_voxel_keeps_its_place(edge, factor):
    """At whole multiples of the step from the centre, so that it lies on both grids."""
    volume = np.zeros((edge,) * 3, np.float32)
    steps = np.array([2, -4, 6])
    volume[tuple(edge // 2 + steps)] = 1
    wanted = int(edge * factor) | 1
    found = resample(volume, factor, (wanted,) * 3)
    assert np.unravel_index(found.argmax(), found.shape) == tuple((wanted // 2 + steps * factor).astype(int))


@pytest.mark.parametrize("frequency", [0.05, 0.2, 0.3, 0.33])
def test_a_wave_that_both_grids_hold_is_kept(frequency):
    """In cycles per voxel, up to two thirds of the Nyquist frequency; away from the edges, which no wave respects."""
    along = np.cos(2 * np.pi * frequency * (np.arange(80) - 40) + 0.4)
    volume = np.broadcast_to(along, (8, 8, 80)).astype(np.float32)
    for factor in (1.37, 2.0):
        edge = int(80 * factor)
        found = resample(volume, factor, (8, 8, edge))[4, 4]
        expected = np.cos(2 * np.pi * frequency * (np.arange(edge) - edge // 2) / factor + 0.4)
        inner = slice(edge // 4, -edge // 4)
        np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3)


@pytest.mark.parametrize("frequency", [0.36, 0.42, 0.5])
def test_a_wave_that_the_new_grid_cannot_hold_is_removed(frequency):
    """At half the resolution the Nyquist frequency is 0.25; the window's slope ends at a third."""
    along = np.cos(2 * np.pi * frequency * np.arange(80))
    found = resample(np.broadcast_to(along, (8, 8, 80)).astype(np.float32), 0.5, (4, 4, 40))
    assert np.abs(found[2, 2, 10:-10]).max() < 5e-3


def test_white_noise_keeps_the_power_that_the_new_grid_holds():
    """Along each axis: half of it, less what a straight slope from 2/3 to 4/3 of the Nyquist frequency takes."""
    volume = np.random.default_rng(0).standard_normal((64, 64, 64)).astype(np.float32)
    found = resample(volume, 0.5, (32, 32, 32))[6:-6, 6:-6, 6:-6]
    slope = 1 / 6
    assert 2**3 * (1 / 4 - slope / 6) ** 3 < found.var() < 1 / 8


@pytest.mark.parametrize("factor", [0.3, 0.77, 1.6])
def test_a_constant_stays_constant(factor):
    np.testing.assert_allclose(resample(np.full((9, 10, 11), 7, np.float32), factor, (12, 13, 14)), 7, rtol=1e-6)


def test_the_same_grid_is_no_change():
    volume = np.random.default_rng(0).standard_normal((7, 8, 9)).astype(np.float32)
    assert resample(volume, 1, (7, 8, 9)) is volume


@pytest.mark.parametrize(("edge", "box"), [(9, 5), (9, 4), (8, 5), (8, 4), (5, 9), (4, 9)])
def test_at_the_same_voxel_size_boxes_are_cut_and_padded_about_the_centre_voxel(edge, box):
    volume = np.random.default_rng(0).standard_normal((edge,) * 3).astype(np.float32)
    found = resample(volume, 1, (box,) * 3)
    indices = (np.arange(box) - box // 2 + edge // 2).clip(0, edge - 1)
    np.testing.assert_array_equal(found, volume[np.ix_(indices, indices, indices)])


@pytest.mark.parametrize("centre", [(10, 11, 12), (0, 0, 0), (19, 21, 23), (-3, 30, 5)])
@pytest.mark.parametrize("box", [(4, 5, 6), (7, 6, 5)])
def test_at_whole_voxels_a_box_is_a_copy(centre, box):
    volume = np.random.default_rng(0).standard_normal((20, 22, 24)).astype(np.float32)
    indices = [(np.arange(e) - e // 2 + c).clip(0, s - 1) for e, c, s in zip(box, centre, volume.shape, strict=True)]
    np.testing.assert_array_equal(sample_box(volume, centre, box), volume[np.ix_(*indices)])


@pytest.mark.parametrize("step", [1.0, 1.25])
def test_between_voxels_a_smooth_volume_is_what_a_spline_of_fifth_order_says(step):
    """By another library and method, on noise smoothed to what both reproduce."""
    noise = np.random.default_rng(0).standard_normal((40, 41, 42))
    volume = ndimage.gaussian_filter(noise, 2).astype(np.float32)
    centre, box = (19.3, 20.75, 21.5), (8, 9, 10)
    offset = [c - step * (e // 2) for c, e in zip(centre, box, strict=True)]
    expected = ndimage.affine_transform(volume, np.full(3, step), offset, box, order=5)
    np.testing.assert_allclose(sample_box(volume, centre, box, step), expected, atol=0.02 * volume.std())


def test_no_more_than_the_surroundings_of_a_box_are_read():
    class Watched:
        shape = (500, 500, 500)

        def __getitem__(self, part):
            self.read = [s.stop - s.start for s in part]
            return np.zeros(self.read, np.float32)

    watched = Watched()
    sample_box(watched, (250.5, 250, 3), (16, 16, 16))
    assert max(watched.read) <= 16 + 2 * 6
    sample_box(watched, (250, 250, 250), (16, 16, 16))
    assert watched.read == [16, 16, 16]


def test_it_is_quick():
    """A bound of 5 ms; a fiftieth of it was measured."""
    volume = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
    resample(volume, 10 / 13.3, (24, 24, 24))
    start = time.perf_counter()
    for _ in range(20):
        resample(volume, 10 / 13.3, (24, 24, 24))
    assert (time.perf_counter() - start) / 20 < 5e-3
