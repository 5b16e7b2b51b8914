"""Forty real ribosomes (EMPIAR-10499) as WarpTools exports them, against the map that comes with them.

The map is a mirror of what the files' own projections and poses give, about plane edge // 2 of its z axis: with it
turned over, and nothing else changed, all agrees as far as the noise of 40 particles lets it. Both are compared within
a sphere of a ribosome's radius, as what lies beyond is other molecules.
"""

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from cryoreg.datasets.readers.tilt_stack import TiltStack

NAME = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
EDGE, PIXEL, RADIUS, SOFT = 32, 12.0, 120.0, 36.0
Volume = NDArray[np.floating]

_k = np.fft.fftfreq(EDGE, 1 / EDGE)
SHELL = np.rint(np.sqrt(_k[:, None, None] ** 2 + _k[:, None] ** 2 + _k**2)).astype(int)
_r = np.sqrt(sum((axis - EDGE // 2) ** 2 for axis in np.mgrid[:EDGE, :EDGE, :EDGE])) * PIXEL
SPHERE = np.clip((RADIUS + SOFT - _r) / SOFT, 0, 1)


def turned(volume: Volume, pose: NDArray[np.float64], order: int) -> Volume:
    """Turn a volume from the tomogram's frame into the particle's: what is at pose·p comes to p (x, y, z)."""
    reads, centre = pose[::-1, ::-1], np.full(3, EDGE // 2)
    return affine_transform(volume, reads, centre - reads @ centre, order=order)


def whole(half: Volume) -> Volume:
    """Return a real, even half-spectrum as a whole one about its middle."""
    opposite = -np.arange(EDGE) % EDGE
    rest = half[opposite][:, opposite][:, :, EDGE // 2 - 1 : 0 : -1]
    return np.fft.fftshift(np.concatenate([half, rest], axis=2))


def average(dataset: TiltStack, poses: NDArray[np.float64], chosen: range) -> Volume:
    """Return the mean of volumes in the particle's frame, divided by the mean of their weights."""
    spectrum, weight = np.zeros((EDGE,) * 3, complex), np.zeros((EDGE,) * 3)
    for index in chosen:
        made = dataset.reconstruct(index)
        spectrum += np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(turned(made.volume, poses[index], 3))))
        weight += turned(whole(made.weight), poses[index], 1)
    mean = spectrum / (weight + 0.02 * weight.max())
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(mean)).real)


def shell_correlation(a: Volume, b: Volume) -> NDArray[np.float64]:
    one, other = np.fft.fftn(a * SPHERE), np.fft.fftn(b * SPHERE)
    products = ((one * other.conj()).real, abs(one) ** 2, abs(other) ** 2)
    sums = [np.bincount(SHELL.ravel(), values.ravel()) for values in products]
    return (sums[0] / np.sqrt(sums[1] * sums[2]))[1 : EDGE // 2]


def resolution(curve: NDArray[np.float64], limit: float = 0.5) -> float:
    """Return at how many Å a curve first falls below a limit."""
    return EDGE * PIXEL / (1 + int(np.argmax(curve < limit)))


def correlation(a: Volume, b: Volume, finest: float = 40.0) -> float:
    passed = EDGE * PIXEL / finest >= SHELL
    one, other = (np.fft.ifftn(np.fft.fftn(each * SPHERE) * passed).real for each in (a, b))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def detail(a: Volume, b: Volume) -> float:
    """Return the mean correlation of shells from 64 to 38 Å, of which a blob of the right size knows nothing."""
    return float(shell_correlation(a, b)[5:10].mean())


class Ribosomes:
    def __init__(self, folder: Path) -> None:
        self.dataset = TiltStack(folder / f"{NAME}_optimisation_set.star", wiener=1.0)
        angles = starfile.read(folder / f"{NAME}.star")["particles"][["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]]
        self.poses = Rotation.from_euler("ZYZ", angles.to_numpy(), degrees=True).inv().as_matrix()
        self.map = mrcfile.read(folder / "warptools_test_box-32_angpix-12_reconstruct.mrc").astype(float)
        self.mirrored = np.roll(self.map[::-1], 1, axis=0)


@pytest.fixture(scope="module")
def ribosomes(request: pytest.FixtureRequest) -> Ribosomes:
    folder = Path(__file__).parents[2] / "shared" / "data" / "real" / "relion5_2d_stacks"
    if not folder.is_dir():
        pytest.skip("needs the real data in ../shared/data, which is not here")
    return Ribosomes(folder)


@pytest.fixture(scope="module")
def halves(ribosomes: Ribosomes) -> list[Volume]:
    return [average(ribosomes.dataset, ribosomes.poses, range(first, 40, 2)) for first in (0, 1)]


@pytest.mark.slow
def test_average_of_forty_is_the_map(ribosomes: Ribosomes, halves: list[Volume]) -> None:
    mean = halves[0] + halves[1]
    assert correlation(mean, ribosomes.mirrored) > 0.95
    assert resolution(shell_correlation(mean, ribosomes.mirrored)) <= 36
    assert correlation(mean, ribosomes.map) < 0.7, "the other hand"


@pytest.mark.slow
def test_it_is_as_good_as_the_noise_lets_it(ribosomes: Ribosomes, halves: list[Volume]) -> None:
    """Halves that correlate as h tell that their mean correlates as √(2h / (1 + h)) with what has no noise."""
    between = shell_correlation(*halves).clip(0)
    expected = np.sqrt(2 * between / (1 + between))
    found = shell_correlation(halves[0] + halves[1], ribosomes.mirrored)
    assert resolution(between) <= 77
    np.testing.assert_allclose(found[:10], expected[:10], atol=0.12)


MUTATIONS = {
    "transposed": lambda turns: turns.transpose(0, 2, 1),
    "x for y in the image": lambda turns: turns[:, [1, 0, 2]],
    "sign of a row": lambda turns: turns * np.array([1, -1, 1])[:, None],
    "sign of the depth": lambda turns: turns * np.array([1, 1, -1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_wrong_projections_fail(name: str, ribosomes: Ribosomes, halves: list[Volume]) -> None:
    wrong = TiltStack(ribosomes.dataset.path, wiener=1.0)
    for series, known in wrong._series.items():
        wrong._series[series] = replace(known, rotations=MUTATIONS[name](known.rotations))
    mean = average(wrong, ribosomes.poses, range(0, 40, 2))
    right = detail(halves[0], ribosomes.mirrored)
    assert max(detail(mean, ribosomes.mirrored), detail(mean, ribosomes.map)) < 0.7 * right
    assert correlation(mean, ribosomes.mirrored) < correlation(halves[0], ribosomes.mirrored) - 0.03
