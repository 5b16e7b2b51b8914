"""Rotations: uniform over SO(3) by statistical tests, or exactly those that keep a missing wedge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation
from support.augmenting import ALPHA, streams

from cryoreg.augmentations import batched
from cryoreg.augmentations.rotations import half_turns, rotation_of_quaternion, uniform_rotations
from cryoreg.simulation import optics

COUNT = 4000


def uniform(columns: int = 3, count: int = COUNT) -> torch.Tensor:
    return streams(torch.arange(count)).uniform((columns,)).double()


def rotations() -> np.ndarray:
    return uniform_rotations(uniform()).numpy()


@pytest.mark.parametrize("matrices", [rotations(), half_turns(uniform()[:, 0]).numpy()], ids=["uniform", "half turns"])
def test_they_are_proper_rotations(matrices):
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (COUNT, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-12)


def test_quaternions_become_matrices_as_in_scipy():
    expected = Rotation.random(50, random_state=0)
    real_last = expected.as_quat()
    real_first = torch.from_numpy(np.roll(real_last, 1, axis=1))
    np.testing.assert_allclose(rotation_of_quaternion(real_first).numpy(), expected.as_matrix(), atol=1e-12)


def test_rotation_angles_have_the_density_of_the_haar_measure():
    trace = np.trace(rotations(), axis1=1, axis2=2)
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > ALPHA


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_is_taken_to_everywhere_on_the_sphere(axis):
    """Archimedes: every coordinate of a uniform direction is uniform in ±1."""
    direction = rotations()[:, :, axis]
    for coordinate in direction.T:
        assert stats.kstest(coordinate, stats.uniform(-1, 2).cdf).pvalue > ALPHA
    azimuth = np.arctan2(direction[:, 1], direction[:, 2])
    assert stats.kstest(azimuth, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > ALPHA


def test_rotation_axes_are_uniform_on_the_sphere():
    axis = Rotation.from_matrix(rotations()).as_rotvec()
    for coordinate in (axis / np.linalg.norm(axis, axis=1, keepdims=True)).T:
        assert stats.kstest(coordinate, stats.uniform(-1, 2).cdf).pvalue > ALPHA


def test_the_four_half_turns_are_equally_likely():
    turns = half_turns(uniform()[:, 0])
    found, counts = np.unique(turns.diagonal(dim1=1, dim2=2).numpy(), axis=0, return_counts=True)
    assert {tuple(signs) for signs in found} == {(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)}
    assert stats.chisquare(counts).pvalue > ALPHA


def keeps_the_wedge(matrix: np.ndarray, swap: bool) -> bool:
    """Tell whether a signed permutation maps the measured frequencies of a ±60° series onto themselves."""
    edge = 15  # odd: every frequency has its opposite
    frequency = np.fft.fftfreq(edge)
    full = optics.Frequencies(frequency[:, None, None], frequency[None, :, None], frequency[None, None, :])
    measured = optics.wedge(full, 60)
    if swap:
        measured = measured.transpose(0, 2, 1)
    k = np.stack(np.meshgrid(*[np.arange(edge) - edge // 2] * 3, indexing="ij"), axis=-1)
    turned = k @ matrix.T.astype(int)
    return bool((measured[tuple(np.moveaxis(turned, -1, 0))] == measured[tuple(np.moveaxis(k, -1, 0))]).all())


@pytest.mark.parametrize("swap", [False, True], ids=["tilt axis y", "tilt axis x"])
def test_the_half_turns_are_all_the_rotations_of_the_cube_that_keep_the_wedge(swap):
    signed = [
        np.eye(3)[list(order)] * signs
        for order in itertools.permutations(range(3))
        for signs in itertools.product([-1, 1], repeat=3)
    ]
    cube = [matrix for matrix in signed if np.linalg.det(matrix) > 0]
    assert len(cube) == 24
    keeping = {tuple(matrix.ravel()) for matrix in cube if keeps_the_wedge(matrix, swap)}
    assert keeping == {tuple(matrix.ravel()) for matrix in half_turns(uniform()[:100, 0]).numpy()}


@pytest.mark.parametrize("start", [(0, 0, 3), (1, -2, 3), (4, 4, -1)])
def test_a_particle_of_one_voxel_lands_where_the_rotation_takes_it(start):
    box, middle = (11, 11, 11), 5
    quarter = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]], dtype=torch.float64)  # about y: z to x, x to −z
    for turn in (quarter, quarter.T, *half_turns(torch.tensor([0.1, 0.3, 0.6, 0.9]).double())):
        end = (turn @ torch.tensor(start).double()).round().long() + middle
        x, expected = torch.zeros(2, 1, 1, *box)
        x[0, 0, *(torch.tensor(start) + middle)] = expected[0, 0, *end] = 1
        reads = batched.similarity(turn[None], torch.ones(1).double(), torch.zeros(1, 3).double())
        torch.testing.assert_close(batched.resample(x, reads), expected, atol=1e-5, rtol=0)


def test_a_particle_turned_by_any_rotation_lands_where_the_matrix_says():
    turns = uniform_rotations(uniform(count=20))
    start = torch.tensor([3.0, -2.0, 5.0], dtype=torch.float64)
    axis = torch.arange(25.0) - 12
    blob = torch.exp(
        -sum((grid - s) ** 2 for grid, s in zip(torch.meshgrid(*[axis] * 3, indexing="ij"), start, strict=True)) / 8
    )
    x = blob.float()[None, None].expand(20, 1, 25, 25, 25)
    y = batched.resample(x, batched.similarity(turns, torch.ones(20).double(), torch.zeros(20, 3).double()))
    mass = y.sum(dim=(1, 2, 3, 4))
    centre = [(y * axis.view(shape)).sum(dim=(1, 2, 3, 4)) / mass for shape in [(-1, 1, 1), (1, -1, 1), (1, 1, -1)]]
    torch.testing.assert_close(torch.stack(centre, dim=-1).double(), turns @ start, atol=0.02, rtol=0)
