"""The geometry of whole batches against scipy's resampling and positions worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryoreg.augmentations import batched

BOXES = [(16, 16, 16), (12, 20, 27)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blob(box, centre, sigma=2.0) -> torch.Tensor:
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in box], indexing="ij")
    squares = sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True))
    return torch.from_numpy(np.exp(-squares / (2 * sigma**2))).float()[None, None]


def centre_of_mass(x: torch.Tensor) -> np.ndarray:
    """Where the density of (1, 1, D, H, W) lies, in voxels about the box's centre."""
    return np.array(ndimage.center_of_mass(x[0, 0].numpy())) - (np.array(x.shape[2:]) - 1) / 2


def angles(*degrees: float) -> torch.Tensor:
    return torch.tensor(degrees, dtype=torch.float64).deg2rad()


def moved(angle=0.0, zoom=1.0, shift=(0.0, 0.0, 0.0)) -> torch.Tensor:
    as_batch = lambda value: torch.tensor([value], dtype=torch.float64)  # noqa: E731
    return batched.similarity(batched.rotation_about_z(angles(angle)), as_batch(zoom), as_batch(shift))


def maps_about_z(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    angle, zoom, shift = (
        rng.uniform(-math.pi, math.pi, count),
        rng.uniform(0.7, 1.4, count),
        rng.uniform(-3, 3, (count, 3)),
    )
    rotation = batched.rotation_about_z(torch.from_numpy(angle))
    return batched.similarity(rotation, torch.from_numpy(zoom), torch.from_numpy(shift))


def maps_in_space(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())
    zoom, shift = rng.uniform(0.7, 1.4, count), rng.uniform(-3, 3, (count, 3))
    return batched.similarity(rotation, torch.from_numpy(zoom), torch.from_numpy(shift))


def scipy_resample(x: torch.Tensor, reads: torch.Tensor) -> np.ndarray:
    """Trilinear, 0 outside, in double precision; scipy counts voxels from the corner."""
    centre = (np.array(x.shape[2:]) - 1) / 2
    out = [
        [
            ndimage.affine_transform(
                channel.astype(np.float64),
                m[:, :3],
                centre + m[:, 3] - m[:, :3] @ centre,
                order=1,
                mode="grid-constant",
            )
            for channel in sample
        ]
        for sample, m in zip(x.numpy(), reads.numpy(), strict=True)
    ]
    return np.array(out)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("resample", "maps"),
    [
        (batched.resample, maps_in_space),
        (batched.resample, maps_about_z),
        (batched.resample_about_z, maps_about_z),
    ],
)
def test_resampling_agrees_with_scipy(resample, maps, box, channels):
    x, reads = noise(4, channels, *box), maps(4)
    np.testing.assert_allclose(resample(x, reads).numpy(), scipy_resample(x, reads), atol=5e-5)


@pytest.mark.parametrize("resample", [batched.resample, batched.resample_about_z])
def test_resampling_leaves_the_input_alone_and_is_the_same_in_any_batch(resample):
    x, reads = noise(8, 1, 9, 10, 11), maps_about_z(8)
    before = x.clone()
    whole = resample(x, reads)
    assert torch.equal(x, before)
    assert whole.dtype == torch.float32
    for rows in ([0], [5], [7, 2, 4]):
        assert torch.equal(resample(x[rows], reads[rows]), whole[rows])


@pytest.mark.parametrize("resample", [batched.resample, batched.resample_about_z])
def test_resampling_stays_in_float32_under_autocast(resample):
    x, reads = noise(2, 1, 8, 8, 8), maps_about_z(2)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = resample(x, reads)
    assert torch.equal(under_autocast, resample(x, reads))


@pytest.mark.parametrize("box", BOXES)
def test_resampling_takes_strided_volumes(box):
    x = noise(2, 1, *box).to(memory_format=torch.channels_last_3d).flip(2).transpose(3, 4)
    reads = maps_about_z(2)
    dense = batched.resample_about_z(x.contiguous(), reads)
    assert torch.equal(batched.resample_about_z(x, reads), dense)


@pytest.mark.parametrize(
    ("angle", "start", "end"),
    [
        (90, (0, 0, 3), (0, 3, 0)),  # +x goes to +y
        (90, (2, 3, 0), (2, 0, -3)),  # +y goes to −x, z stays
        (-90, (-1, 0, 3), (-1, -3, 0)),
        (180, (1, 2, 3), (1, -2, -3)),
    ],
)
def test_one_bright_voxel_turns_right_handedly_about_z(angle, start, end):
    box = (9, 11, 13)
    middle = np.array(box) // 2
    x, expected = torch.zeros(2, 1, 1, *box)
    x[0, 0, *(middle + start)] = expected[0, 0, *(middle + end)] = 1
    torch.testing.assert_close(batched.resample_about_z(x, moved(angle=angle)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("box", [(32, 32, 32), (24, 30, 38)])
@pytest.mark.parametrize(("angle", "turned"), [(45, (4, 5, 5)), (-45, (4, -5, 5))])
def test_a_blob_turns_by_45_degrees_to_the_predicted_place(box, angle, turned):
    x = blob(box, (4, 0, math.hypot(5, 5)))
    y = batched.resample_about_z(x, moved(angle=angle))
    np.testing.assert_allclose(centre_of_mass(y), turned, atol=0.02)


def test_zoom_comes_first_then_rotation_then_shift():
    x = blob((32, 32, 32), (2, 0, 4))
    y = batched.resample_about_z(x, moved(angle=90, zoom=1.5, shift=(0.0, -2.0, 3.0)))
    np.testing.assert_allclose(centre_of_mass(y), (3, 6 - 2, 3), atol=0.02)
    assert y.sum() / x.sum() == pytest.approx(1.5**3, rel=0.01)


def test_a_shift_by_whole_voxels_moves_the_data_and_brings_in_zeros():
    x = noise(1, 1, 8, 8, 8)
    y = batched.resample_about_z(x, moved(shift=(1.0, 2.0, -3.0)))
    expected = torch.zeros_like(x)
    expected[:, :, 1:, 2:, :-3] = x[:, :, :-1, :-2, 3:]
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("place", "start"), [((0.0, 0.0, 0.0), (0, 0, 0)), ((1.0, 0.5, 0.25), (8, 6, 5))])
def test_half_a_box_fills_the_whole(place, start):
    box = (16, 24, 40)  # the crop is 8 × 12 × 20, so that it lies at place · (8, 12, 20)
    reads = batched.crop(torch.tensor([0.5]), torch.tensor([place]), box)[0]
    corners = torch.tensor([[-(n - 1) / 2, (n - 1) / 2] for n in box])  # of the output, about its centre
    read = reads.diagonal()[:, None] * corners + reads[:, 3:] + (torch.tensor(box)[:, None] - 1) / 2
    # Half-size voxels: the first is centred a quarter of a voxel before the crop's first, the last one after its last.
    first = torch.tensor(start) - 0.25
    last = torch.tensor(start) + torch.tensor(box) / 2 - 1 + 0.25
    torch.testing.assert_close(read, torch.stack([first, last], dim=1))


def test_composition_is_one_map_after_the_other():
    box = (28, 32, 36)
    x = blob(box, (2, 1, 5), sigma=4.0)
    crop = batched.crop(torch.tensor([0.8], dtype=torch.float64), torch.tensor([[0.2, 0.5, 0.9]]), box)
    turn = moved(angle=40, zoom=0.95, shift=(0.0, 2.0, -1.0))
    fused = batched.resample(x, batched.compose(crop, turn))
    stepwise = batched.resample(batched.resample(x, crop), turn)
    swapped = batched.resample(x, batched.compose(turn, crop))
    inner = (..., *[slice(6, -6)] * 3)
    # Trilinear interpolation errs by at most ⅜ max|f''| = ⅜ / σ² each time.
    assert (fused - stepwise)[inner].abs().max() < 3 * 0.375 / 4.0**2
    assert (fused - swapped)[inner].abs().max() > 3 * 0.375 / 4.0**2


def test_a_map_and_its_inverse_cancel():
    reads = maps_in_space(3)
    row = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]], dtype=torch.float64).expand(3, 1, 4)
    inverse = torch.linalg.inv(torch.cat([reads, row], dim=1))[:, :3]
    identity = torch.eye(4, dtype=torch.float64)[:3].expand(3, 3, 4)
    torch.testing.assert_close(batched.compose(reads, inverse), identity)
