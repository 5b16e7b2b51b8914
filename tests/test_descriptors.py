"""`benchmarks/descriptors.py`: power of spherical harmonics, against closed forms."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from scipy.special import eval_legendre

FILE = Path(__file__).parents[1] / "benchmarks" / "descriptors.py"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="benchmarks/ is not part of this source")
pytest.importorskip("scipy", "1.15")


@pytest.fixture(scope="module")
def descriptors():
    spec = importlib.util.spec_from_file_location("descriptors", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def turns():
    """The 24 rotations of a cube: every way of naming and directing its axes that is not a mirror image."""
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        if np.linalg.det(np.diag(signs)[:, order]) > 0:
            yield lambda x, order=order, signs=signs: np.transpose(x, order)[tuple(slice(None, None, s) for s in signs)]


@pytest.mark.parametrize("edge", [12, 13])
def test_the_24_turns_of_the_cube_change_nothing(descriptors, edge):
    volume = np.random.default_rng(0).normal(size=(edge,) * 3).astype(np.float32)
    all_turns = np.stack([turn(volume) for turn in turns()])
    assert len(all_turns) == 24
    found = descriptors.describe(all_turns)
    assert np.abs(found - found[0]).max() < 1e-3
    assert np.abs(found[0] - descriptors.describe(volume[None, ::-1] ** 3)[0]).max() > 0.1


def test_fourier_descriptors_do_not_see_shifts(descriptors):
    volume = np.random.default_rng(1).normal(size=(1, 12, 12, 12)).astype(np.float32)
    one, other = (descriptors.describe(x)[0] for x in (volume, np.roll(volume, (3, -2, 5), (1, 2, 3))))
    changed = np.abs(one - other) > 1e-3
    real = 6 * (descriptors.LARGEST_DEGREE + 1)
    assert changed[:real].any()
    assert not changed[real:].any()


def test_two_bright_voxels_by_legendre(descriptors):
    """By the addition theorem, Σₘ |Yₗₘ(a) + Yₗₘ(b)|² = (2l + 1)/4π · 2 (1 + Pₗ(cos γ)), γ being the angle between."""
    volume = np.zeros((1, 9, 9, 9))
    a, b = np.array([0, 0, 3]), np.array([1, 3, 0])  # both in the shell from 3 to 4; centre at index 4
    volume[0, 4, 4, 7] = volume[0, 5, 7, 4] = 1
    axis = descriptors.centred(9)
    radius = np.sqrt(sum(grid**2 for grid in np.meshgrid(axis, axis, axis, indexing="ij")))
    voxels = np.count_nonzero((radius >= 3) & (radius < 4))
    found = descriptors.power(volume, axis)[0, 3] * voxels**2
    degrees = np.arange(descriptors.LARGEST_DEGREE + 1)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    expected = (2 * degrees + 1) / (4 * np.pi) * 2 * (1 + eval_legendre(degrees, cosine))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_other_shells_are_dark(descriptors):
    volume = np.zeros((1, 9, 9, 9))
    volume[0, 4, 4, 7] = 1
    found = descriptors.power(volume, descriptors.centred(9))[0]
    assert found[3].all()
    assert not np.delete(found, 3, axis=0).any()


def test_any_rotation_changes_a_smooth_volume_less_than_another_structure(descriptors):
    rng = np.random.default_rng(2)
    smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(2, 24, 24, 24)), (0, 3, 3, 3))
    axis = np.arange(24) - 11.5
    radius = np.sqrt(sum(grid**2 for grid in np.meshgrid(axis, axis, axis, indexing="ij")))
    one, other = smooth * np.exp(-((radius / 6) ** 4))
    angled = scipy.ndimage.rotate(one, 37, (0, 2), reshape=False, order=3)
    angled = scipy.ndimage.rotate(angled, 61, (0, 1), reshape=False, order=3)
    powers = descriptors.power(np.stack([one, angled, other]), descriptors.centred(24))[:, 1:9, :5]
    turned, unlike = (np.linalg.norm(powers[0] - each) for each in powers[1:])
    assert turned < 0.1 * unlike
