"""The paper's recipe draws what the paper says, and agrees with MONAI's transforms."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.augmenting import ALPHA, batch, create, streams

from cryoreg.augmentations.gupta2022 import Parameters

RECIPES = ["gupta2022", "gupta2022_monai"]


# ---- which samples change ----


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("box", [(32, 32, 32), (28, 28, 28), (9, 15, 22)])
def test_a_sample_for_which_nothing_is_drawn_comes_out_bit_by_bit(name, box):
    x = torch.randn(32, 1, *box, generator=torch.Generator().manual_seed(0))
    augmentation, rng = create(name), streams(torch.arange(32))
    drawn = create(name).draw(streams(torch.arange(32)))
    untouched = ~(drawn.cropped | drawn.moved)
    y = augmentation(x, rng)
    assert 0 < untouched.sum() < 32
    assert torch.equal(y[untouched], x[untouched])
    assert (y != x).flatten(1).any(dim=1)[drawn.moved].all()  # a crop can round to the whole box


@pytest.mark.parametrize("name", RECIPES)
def test_probability_zero_is_the_identity(name):
    y = create(name, crop_p=0, affine_p=0)(batch(), streams(torch.arange(8)))
    assert torch.equal(y, batch())


# ---- what is drawn ----

COUNT = 4000


@functools.cache
def drawn(**settings: float) -> Parameters:
    return Parameters(*(v.numpy() for v in create("gupta2022", **settings).draw(streams(torch.arange(COUNT)))))


def test_crop_and_affine_are_each_drawn_half_of_the_time_and_independently():
    p = drawn()
    table = [[np.sum((p.cropped == c) & (p.moved == m)) for m in (False, True)] for c in (False, True)]
    assert stats.chisquare(np.ravel(table)).pvalue > ALPHA


@pytest.mark.parametrize(("field", "p"), [("cropped", 0.2), ("moved", 0.9)])
def test_probabilities_can_be_set(field, p):
    settings = {"cropped": {"crop_p": p}, "moved": {"affine_p": p}}[field]
    assert stats.binomtest(int(getattr(drawn(**settings), field).sum()), COUNT, p).pvalue > ALPHA


PAPER = {
    "volume of the crop": (lambda p: p.edge**3, 0.5, 1.0),
    "place along z": (lambda p: p.place[:, 0], 0.0, 1.0),
    "place along y": (lambda p: p.place[:, 1], 0.0, 1.0),
    "place along x": (lambda p: p.place[:, 2], 0.0, 1.0),
    "rotation": (lambda p: np.degrees(p.angle), -45.0, 45.0),
    "zoom": (lambda p: p.zoom, 0.9, 1.1),
    "shift along y": (lambda p: p.shift[:, 0], -0.1, 0.1),
    "shift along x": (lambda p: p.shift[:, 1], -0.1, 0.1),
}


@pytest.mark.parametrize("name", PAPER)
def test_parameters_are_uniform_in_the_papers_ranges(name):
    values, low, high = PAPER[name]
    draws = values(drawn())
    assert draws.min() >= low - 1e-12
    assert draws.max() <= high + 1e-12
    assert stats.kstest(draws, stats.uniform(low, high - low).cdf).pvalue > ALPHA


def test_parameters_are_independent_of_each_other():
    p = drawn()
    columns = [values(p) for values, _, _ in PAPER.values()] + [p.cropped, p.moved]
    correlation = stats.spearmanr(np.column_stack(columns)).statistic
    off_diagonal = correlation[np.triu_indices(len(columns), 1)]
    assert np.abs(off_diagonal).max() < 4.5 / math.sqrt(COUNT)  # 45 pairs, each of standard deviation 1/√n


@functools.cache
def monai_draws() -> dict[str, list[float]]:
    """Let MONAI's random transforms draw the paper's parameters from their own generator."""
    from monai.transforms import RandAffine, RandSpatialCrop, RandZoom

    box = (1000, 1000, 1000)  # voxels; fine enough for a place to count as continuous
    affine = RandAffine(
        prob=1, rotate_range=(math.pi / 4, 0, 0), translate_range=(0, 100, 100), scale_range=(0.1, 0.1, 0.1)
    ).set_random_state(seed=11)
    zoom = RandZoom(prob=1, min_zoom=0.9, max_zoom=1.1).set_random_state(seed=12)
    crop = RandSpatialCrop(roi_size=500, max_roi_size=500, random_size=False).set_random_state(seed=13)
    draws: dict[str, list[float]] = {name: [] for name in PAPER}
    for _ in range(COUNT // 2):
        affine.randomize()
        zoom.randomize(np.empty((1, 2, 2, 2)))
        crop.randomize(box)
        draws["rotation"].append(math.degrees(affine.rand_affine_grid.rotate_params[0]))
        draws["shift along y"].append(affine.rand_affine_grid.translate_params[1] / box[1])
        draws["shift along x"].append(affine.rand_affine_grid.translate_params[2] / box[2])
        draws["zoom"].append(zoom._zoom[0])
        for axis, part in zip("zyx", crop._slices, strict=True):
            draws[f"place along {axis}"].append(part.start / 500)
    del draws["volume of the crop"]  # MONAI draws the edge
    return draws


@pytest.mark.parametrize("name", sorted(PAPER.keys() - {"volume of the crop"}))
def test_parameters_are_distributed_as_monai_draws_them(name):
    values, _, _ = PAPER[name]
    assert stats.ks_2samp(values(drawn()), monai_draws()[name]).pvalue > ALPHA


# ---- the same parameters give the same volumes ----


def given(
    cropped=False, moved=False, size=32, n=32, start=(0, 0, 0), angle=0.0, zoom=1.0, shift=(0.0, 0.0)
) -> Parameters:
    """Parameters of one sample whose crop is ``size`` of ``n`` voxels from ``start``; shift in voxels of the box."""
    f = functools.partial(torch.tensor, dtype=torch.float64)
    return Parameters(
        cropped=torch.tensor([cropped]),
        moved=torch.tensor([moved]),
        edge=f([size / n]),
        place=f([[s / max(n - size, 1) for s in start]]),
        angle=f([math.radians(angle)]),
        zoom=f([zoom]),
        shift=f([[s / n for s in shift]]),
    )


def both(x: torch.Tensor, p: Parameters) -> tuple[torch.Tensor, torch.Tensor]:
    return create("gupta2022").apply(x, p), create("gupta2022_monai").apply(x, p)


@pytest.mark.parametrize("angle", [-45, 0, 17])
@pytest.mark.parametrize("zoom", [0.9, 1.1])
@pytest.mark.parametrize("shift", [(0, 0), (3.2, -1.7)])
def test_an_affine_alone_agrees_with_monai_on_noise(angle, zoom, shift):
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    ours, monais = both(x, given(moved=True, angle=angle, zoom=zoom, shift=shift))
    torch.testing.assert_close(ours, monais, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("angle", "zoom"), [(30, 1.05), (-45, 0.9)])
def test_an_affine_agrees_with_monai_in_a_box_that_is_no_cube(angle, zoom):
    p = given(moved=True, angle=angle, zoom=zoom)._replace(shift=torch.tensor([[0.05, -0.1]]).double())
    ours, monais = both(batch(1), p)
    torch.testing.assert_close(ours, monais, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("size", "start"), [(26, (0, 3, 6)), (29, (1, 2, 3)), (31, (0, 1, 0))])
def test_a_crop_of_whole_voxels_agrees_with_monai_on_noise(size, start):
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(2))
    ours, monais = both(x, given(cropped=True, size=size, start=start))
    inner = (..., *[slice(1, -1)] * 3)  # beyond the crop's outermost voxels `Resize` repeats them
    torch.testing.assert_close(ours[inner], monais[inner], atol=1e-4, rtol=0)


def test_at_the_crops_rim_the_real_data_goes_on():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32, 32)
    ours, monais = both(ramp, given(cropped=True, size=26, start=(3, 3, 3)))
    slope = 26 / 32  # voxels of the input per voxel of the output, whose first is centred at 3 − ½ + slope / 2
    exact = 3 - 0.5 + slope * (torch.arange(32) + 0.5)
    torch.testing.assert_close(ours[0, 0, 16, 16], exact, atol=1e-4, rtol=0)
    torch.testing.assert_close(monais[0, 0, 16, 16], exact.clamp(3, 28), atol=1e-4, rtol=0)


SIGMA = 2.5
BLOBS = np.array([(0, 0, 0), (3, -5, 4), (-4, 4, 2), (1, 5, -5)], dtype=float)  # voxels about the middle of 48³
TOGETHER = [
    {"size": 40, "start": (4, 2, 7), "angle": 45, "zoom": 0.9, "shift": (3.0, -2.0)},
    {"size": 42, "start": (3, 0, 6), "angle": -30, "zoom": 1.1, "shift": (-4.8, 4.8)},
    {"size": 46, "start": (1, 2, 0), "angle": 10, "zoom": 1.0, "shift": (0.0, 1.5)},
]


def density(points: np.ndarray) -> np.ndarray:
    """Evaluate the phantom at ``points`` (..., 3)."""
    return sum(np.exp(-((points - blob) ** 2).sum(-1) / (2 * SIGMA**2)) for blob in BLOBS)


def curvature() -> float:
    """Return Σ_axes max|∂²f| of the phantom, looked up every half voxel around the blobs."""
    points = grid(49) / 2
    offsets = [points - blob for blob in BLOBS]
    bells = [np.exp(-(d**2).sum(-1, keepdims=True) / (2 * SIGMA**2)) for d in offsets]
    second = sum(((d / SIGMA) ** 2 - 1) / SIGMA**2 * bell for d, bell in zip(offsets, bells, strict=True))
    return np.abs(second).max(axis=(0, 1, 2)).sum()


def grid(n: int) -> np.ndarray:
    """Return the voxels' coordinates about the middle of an n³ box: (n, n, n, 3)."""
    return np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2] * 3, indexing="ij"), axis=-1)


def true_view(n: int, size: int, start: tuple, angle: float, zoom: float, shift: tuple) -> np.ndarray:
    """Evaluate the moved phantom: undo shift, rotation and zoom at each voxel, then the crop."""
    out = grid(n) - (0, *shift)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    z, y, x = np.moveaxis(out, -1, 0)
    before = np.stack([z, c * y - s * x, s * y + c * x], axis=-1) / zoom
    return density(before * size / n + (np.array(start) + size / 2 - n / 2))


@pytest.mark.parametrize("settings", TOGETHER)
def test_crop_and_affine_together_agree_with_monai_and_are_closer_to_the_truth(settings):
    n = 48
    x = torch.from_numpy(density(grid(n))).float()[None, None]
    ours, monais = (view[0, 0].numpy() for view in both(x, given(True, True, n=n, **settings)))
    truth = true_view(n, **settings)
    inner = (slice(10, -10),) * 3
    # One trilinear interpolation of f errs by at most Σ_axes max|∂²f| / 8 (voxels of unit size). MONAI's second one
    # acts on the resized volume, whose curvature is smaller, and passes the first one's error on unamplified.
    once = curvature() / 8
    error, their_error = np.abs(ours - truth)[inner], np.abs(monais - truth)[inner]
    assert error.max() <= once
    assert their_error.max() <= 2 * once
    assert np.abs(ours - monais)[inner].max() <= 3 * once
    assert np.sqrt((error**2).mean()) < np.sqrt((their_error**2).mean())
