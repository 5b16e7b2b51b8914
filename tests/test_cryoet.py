"""The recipe `cryoet`: particles turn, the missing wedge stays."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from support.augmenting import ALPHA, create, streams

from cryoreg.augmentations.cryoet import Parameters
from cryoreg.augmentations.fourier import white_noise
from cryoreg.augmentations.specs import CryoETSpec
from cryoreg.config import Layer, resolve
from cryoreg.contracts import Origin, Subtomograms
from cryoreg.errors import ConfigError
from cryoreg.simulation import optics

BARE = {"rotation": "none", "shift": 0, "wedge_p": 0, "bandpass_p": 0, "ctf_p": 0, "noise_p": 0}
"""Nothing at all, on which a test adds what it is about."""
COUNT = 4000


def particles(count: int = 4, edge: int = 24, seed: int = 0) -> torch.Tensor:
    """Smooth random densities away from the rim of the box, of mean 0 and standard deviation 1: (B, 1, D, H, W)."""
    rng = np.random.default_rng(seed)
    axis = np.arange(edge) - (edge - 1) / 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    envelope = np.exp(-(z**2 + y**2 + x**2) / (2 * (edge / 8) ** 2))
    volumes = [envelope * ndimage.gaussian_filter(rng.normal(size=envelope.shape), 1.5) for _ in range(count)]
    return torch.from_numpy(np.array([zscore(v) for v in volumes])).float()[:, None]


def zscore(volume: np.ndarray) -> np.ndarray:
    return (volume - volume.mean()) / volume.std()


def views(x: torch.Tensor, **settings) -> np.ndarray:
    return create("cryoet", **{**BARE, **settings})(x, streams(torch.arange(len(x))))[:, 0].numpy()


def drawn(count: int = COUNT, **settings) -> Parameters:
    return Parameters(*(v.numpy() for v in create("cryoet", **settings).draw(streams(torch.arange(count)))))


# ---- the whole ----


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("edge", [24, 28, 32])
def test_a_view_has_the_same_bits_in_any_batch(edge, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, samples, augmentation = particles(8, edge), torch.arange(8), create("cryoet")
        whole = augmentation(x, streams(samples))
        for rows in ([0], [7, 3], [1, 2, 3, 4, 5]):
            assert torch.equal(augmentation(x[rows], streams(samples[rows])), whole[rows])
    finally:
        torch.set_num_threads(before)


def test_views_have_mean_0_and_standard_deviation_1():
    out = views(particles(16) * 7 + 3, **create_defaults())
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(1, 2, 3)), 1, atol=1e-4)


def create_defaults() -> dict:
    return {"rotation": "so3", "shift": 1.5, "wedge_p": 1, "bandpass_p": 0.5, "ctf_p": 0.5, "noise_p": 0.8}


def test_nothing_drawn_is_the_z_scored_subtomogram():
    x = particles()
    np.testing.assert_allclose(views(x * 7 + 3), x[:, 0], atol=1e-4)


def test_an_empty_volume_stays_finite():
    assert np.isfinite(views(torch.zeros(2, 1, 16, 16, 16), **create_defaults())).all()


def test_how_much_is_drawn_from_a_stream_depends_on_no_setting():
    left = []
    for settings in ({}, BARE, {"rotation": "in_plane", "mirror_p": 1.0, "noise": 0.0}):
        rng = streams(torch.arange(3))
        create("cryoet", **settings)(particles(3, 16), rng)
        left.append(rng.bits())
    assert torch.equal(left[0], left[1])
    assert torch.equal(left[0], left[2])


# ---- geometry ----


@pytest.mark.parametrize("rotation", ["so3", "in_plane", "wedge_preserving", "none"])
def test_the_particle_is_turned_zoomed_and_shifted_as_scipy_does(rotation):
    settings = {"rotation": rotation, "shift": 2.0, "zoom": 0.1, "mirror_p": 0.5}
    x, p = particles(8), drawn(8, **settings)
    centre = (np.array(x.shape[2:]) - 1) / 2
    for view, volume, turn, zoom, shift in zip(
        views(x, **settings), x[:, 0].numpy(), p.rotation, p.zoom, p.shift, strict=True
    ):
        inverse = np.linalg.inv(zoom * turn)
        offset = centre - inverse @ (centre + shift)
        expected = ndimage.affine_transform(volume.astype(float), inverse, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(view, zscore(expected), atol=1e-3)


def test_a_rotation_in_plane_leaves_the_beam_where_it_is():
    np.testing.assert_allclose(drawn(rotation="in_plane").rotation[:, 0], np.eye(3)[[0]].repeat(COUNT, 0), atol=1e-12)


def test_rotations_that_keep_the_wedge_only_flip_two_axes():
    x = particles(8)
    turned = [x, x.flip(3, 4), x.flip(2, 4), x.flip(2, 3)]
    out = torch.from_numpy(views(x, rotation="wedge_preserving"))[:, None]
    nearest = torch.stack([(out - candidate).abs().amax(dim=(1, 2, 3, 4)) for candidate in turned]).amin(dim=0)
    assert nearest.max() < 1e-3


def test_no_particle_is_mirrored_unless_told_to():
    np.testing.assert_allclose(np.linalg.det(drawn().rotation), 1)
    np.testing.assert_allclose(np.linalg.det(drawn(mirror_p=1).rotation), -1)
    assert stats.binomtest(int((np.linalg.det(drawn(mirror_p=0.3).rotation) < 0).sum()), COUNT, 0.3).pvalue > ALPHA
    x = particles(2)
    np.testing.assert_allclose(views(x, mirror_p=1), x.flip(4)[:, 0], atol=1e-4)


@pytest.mark.parametrize("wave", [(0, 0, 3), (2, 0, 0), (1, 2, 0)])
def test_a_sub_voxel_shift_turns_the_phase_of_a_plane_wave(wave):
    """Fourier's shift theorem; linear interpolation also damps: (1 − f) + f·exp(−iφ) in place of exp(−ifφ) per axis."""
    edge, settings = 24, {"shift": 1.5}
    k = 2 * math.pi * np.array(wave) / edge
    index = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1)
    x = torch.from_numpy(np.cos(index @ k)).float().expand(6, 1, edge, edge, edge)
    for view, shift in zip(views(x, **settings), drawn(6, **settings).shift, strict=True):
        whole, part = np.floor(shift), shift - np.floor(shift)
        factor = np.prod(np.exp(-1j * k * whole) * ((1 - part) + part * np.exp(-1j * k)))
        expected = (factor * np.exp(1j * (index @ k))).real
        inner = (slice(3, -3),) * 3
        # The z-score scales the wave, and the zeros that came in move its mean.
        basis = np.stack([expected[inner].ravel(), np.ones(expected[inner].size)], axis=1)
        (scale, offset), *_ = np.linalg.lstsq(basis, view[inner].ravel(), rcond=None)
        assert scale > 0
        np.testing.assert_allclose(view[inner], scale * expected[inner] + offset, atol=1e-3)
        assert abs(np.angle(factor * np.exp(1j * k @ shift))) < 0.1  # near to the theorem's phase


# ---- Fourier ----


@pytest.mark.parametrize("rotation", ["so3", "none"])
def test_nothing_is_left_in_the_laboratorys_wedge_whatever_the_rotation(rotation):
    settings = {**create_defaults(), "rotation": rotation, "tilt_jitter": 0, "tilt": 55}
    measured = optics.wedge(optics.frequencies((24, 24, 24), 1.0), 55)
    power = np.abs(np.fft.rfftn(views(particles(6), **settings), axes=(1, 2, 3))) ** 2
    assert power[:, ~measured].max() < 1e-8 * power[:, measured].mean()
    assert (power[:, measured][:, 1:] > 0).all()  # but for the mean


def test_a_weight_stands_in_for_the_wedge_that_is_assumed():
    """The wedge of ±60° itself, given as the weight, changes nothing; another one is imposed as it is."""
    x, bare = particles(), BARE | {"rotation": "so3", "wedge_p": 1, "tilt_jitter": 0, "noise_p": 1}
    augmentation = create("cryoet", **bare)
    sixty = torch.from_numpy(optics.wedge(optics.frequencies((24, 24, 24), 1.0), 60)).float()
    assumed, same = (augmentation(x, streams(torch.arange(4)), *given) for given in ((), (fourier_wedge(x, sixty),)))
    inside = power(assumed - same) / power(assumed)
    assert float(inside.max()) < 1e-2, "but for frequencies at Nyquist, which the one counts for half"
    mine = torch.zeros(len(x), 1, 24, 24, 13)
    mine[:, :, :, :, 2:5] = 1
    spectrum = torch.fft.rfftn(augmentation(x, streams(torch.arange(4)), mine), dim=(-3, -2, -1)).abs()
    assert float(spectrum[..., :2].max()) < 1e-3 * float(spectrum.max())
    assert float(spectrum[..., 5:].max()) < 1e-3 * float(spectrum.max())


def test_a_weight_is_left_out_as_often_as_a_wedge():
    x, nothing = particles(), torch.zeros(4, 1, 24, 24, 13)
    one, other = (create("cryoet", **BARE)(x, streams(torch.arange(4)), *given) for given in ((nothing,), ()))
    assert torch.equal(one, other)


def fourier_wedge(x, wedge):
    return wedge.expand(len(x), 1, *wedge.shape)


def power(volumes):
    return volumes.square().mean(dim=(1, 2, 3, 4))


def test_about_x_the_wedge_is_across_x():
    out = views(particles(4), wedge_p=1, tilt_axis="x", tilt_jitter=0)
    measured = optics.wedge(optics.frequencies((24, 24, 24), 1.0), 60)
    power = np.abs(np.fft.rfftn(out.transpose(0, 1, 3, 2), axes=(1, 2, 3))) ** 2
    assert power[:, ~measured].max() < 1e-8 * power[:, measured].mean()


def test_a_freely_turned_series_keeps_four_ninths_of_the_frequencies():
    """Two independent wedges, each measuring two thirds of all directions."""
    directions = np.random.default_rng(0).normal(size=(COUNT, 3))
    before_the_turn = np.einsum("bji,bj->bi", drawn().rotation, directions)
    kept = [np.abs(d[:, 0]) <= math.tan(math.radians(60)) * np.abs(d[:, 2]) for d in (directions, before_the_turn)]
    assert stats.binomtest(int((kept[0] & kept[1]).sum()), COUNT, 4 / 9).pvalue > ALPHA


def test_filters_of_a_view_multiply():
    """A view without motion and noise is its subtomogram times wedge, Gaussian, high-pass and rings, then z-scored."""
    settings = {"wedge_p": 1, "bandpass_p": 1, "ctf_p": 1, "highpass": 0.2}
    x, p = particles(5), drawn(5, **{**BARE, **settings})
    frequencies = optics.frequencies((24, 24, 24), 1.0)
    k = np.sqrt(frequencies.squared) * 2
    tilt = np.degrees(np.arctan2(frequencies.z, np.maximum(frequencies.x, 1e-9)))
    for i, view in enumerate(views(x, **settings)):
        gain = np.exp(-((k * p.inverse_lowpass[i]) ** 2)) * (1 - np.exp(-((k / p.highpass[i]) ** 2)))
        gain *= 1 - p.depth[i] * np.cos(2 * np.pi * p.rings[i] * k**2)
        inside = (tilt >= p.low[i]) & (tilt <= p.high[i]) | ((frequencies.z == 0) & (frequencies.x == 0))
        expected = np.fft.irfftn(np.fft.rfftn(x[i, 0].numpy()) * gain * inside, s=(24, 24, 24))
        # At kz = ±Nyquist both tilts count for half, which this does not know; a smooth particle has little there.
        np.testing.assert_allclose(view, zscore(expected), atol=0.02)


@pytest.mark.parametrize("level", [0.2, 0.5, 2.0])
def test_noise_has_the_given_share_of_each_volumes_own_deviation(level):
    augmentation, x = (
        create("cryoet", **BARE, noise_colour=0),
        particles(6) * torch.logspace(-2, 2, 6).view(6, 1, 1, 1, 1),
    )
    rng = streams(torch.arange(6))
    p = augmentation.draw(rng)._replace(noise=torch.full((6,), level, dtype=torch.float64))
    white = white_noise(rng, (24, 24, 24))
    out = augmentation.apply(x, p, white)[:, 0].numpy().reshape(6, -1)
    for view, signal, noise in zip(out, x.flatten(1).numpy(), white.flatten(1).numpy(), strict=True):
        basis = np.stack([zscore(signal.astype(float)), zscore(noise.astype(float))], axis=1)
        share, residual, *_ = np.linalg.lstsq(basis, view, rcond=None)
        assert share[1] / share[0] == pytest.approx(level, rel=1e-3)
        assert residual[0] < 1e-6 * len(view)


# ---- what is drawn ----

RANGES = {
    "shift along z": (lambda p: p.shift[:, 0], -1.5, 1.5),
    "shift along y": (lambda p: p.shift[:, 1], -1.5, 1.5),
    "shift along x": (lambda p: p.shift[:, 2], -1.5, 1.5),
    "zoom": (lambda p: p.zoom, 0.9, 1.1),
    "lowest tilt": (lambda p: p.low, -65, -55),
    "highest tilt": (lambda p: p.high, 55, 65),
    "low-pass": (lambda p: p.inverse_lowpass, 0, 1 / 0.8),
    "high-pass": (lambda p: p.highpass, 0, 0.05),
    "rings": (lambda p: p.rings, 0.5, 2.5),
    "depth": (lambda p: p.depth, 0, 0.3),
    "noise": (lambda p: p.noise, 0, 0.5),
    "colour": (lambda p: p.colour, 0, 1),
}
ALWAYS = {"zoom": 0.1, "lowpass": 0.8, "bandpass_p": 1, "ctf_p": 1, "noise_p": 1}


@pytest.mark.parametrize("name", RANGES)
def test_parameters_are_uniform_in_their_ranges(name):
    values, low, high = RANGES[name]
    assert stats.kstest(values(drawn(**ALWAYS)), stats.uniform(low, high - low).cdf).pvalue > ALPHA


def test_parameters_are_independent_of_each_other():
    p = drawn(**ALWAYS)
    columns = [values(p) for values, _, _ in RANGES.values()] + list(p.rotation[:, :, 0].T)
    correlation = stats.spearmanr(np.column_stack(columns)).statistic
    assert np.abs(correlation[np.triu_indices(len(columns), 1)]).max() < 4.5 / math.sqrt(COUNT)  # 105 pairs


@pytest.mark.parametrize(
    ("setting", "done"),
    [
        ("wedge_p", lambda p: p.high < 90),
        ("bandpass_p", lambda p: p.inverse_lowpass > 0),
        ("ctf_p", lambda p: p.depth > 0),
        ("noise_p", lambda p: p.noise > 0),
    ],
)
def test_probabilities_can_be_set(setting, done):
    assert stats.binomtest(int(done(drawn(**{setting: 0.3})).sum()), COUNT, 0.3).pvalue > ALPHA
    assert not done(drawn(**{setting: 0})).any()


# ---- what a user can get wrong ----


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tilt": 4}, "augmentation.tilt_jitter: should be smaller than tilt"),
        ({"tilt": 30, "tilt_jitter": 30}, "augmentation.tilt_jitter (test): should be smaller than tilt"),
        ({"ctf_rings": [2, 1]}, "augmentation.ctf_rings (test): should be two numbers of at least 0"),
        ({"rotation": "so(3)"}, "'so3', 'wedge_preserving', 'in_plane' or 'none'"),
    ],
)
def test_impossible_settings_are_one_line(settings, expected):
    with pytest.raises(ConfigError) as caught:
        resolve("pretrain", [Layer("test", {"augmentation": {"name": "cryoet", **settings}})])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("known", ["x", "y", None])
def test_a_wedge_across_another_axis_than_the_datas_is_refused(known):
    spec, data = CryoETSpec(), SimpleNamespace(tilt_axis=known)
    if known == "x":
        with pytest.raises(ConfigError, match=r"set augmentation\.tilt_axis=x"):
            spec.check_data(data)
    else:
        spec.check_data(data)
    CryoETSpec(tilt_axis=known or "y").check_data(data)


class Tilted(Subtomograms):
    """Data that say their tilt ranges, one each; volumes nobody reads."""

    classes, voxel_size, box = (), None, (8, 8, 8)

    def __init__(self, *ranges, weighted=False):
        self.ranges, self.weighted = ranges, weighted
        self.tilt_range = ranges[0] if len(set(ranges)) == 1 else None
        self.ids, self.labels, self.groups = [str(n) for n in range(len(ranges))], [None] * len(ranges), [None]

    def origin(self, index):
        return Origin("tomogram.mrc", index, None, self.ranges[index])

    def __len__(self):
        return len(self.ranges)

    def __getitem__(self, index):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("ranges", "settings", "expected"),
    [
        ([(-60, 60)], {}, ()),
        ([(-57, 63)], {}, ()),
        ([(-57, 63)], {"tilt_jitter": 0}, ()),
        ([(-56, 60)], {"tilt_jitter": 0}, ("the tilts of the data are from -56° to 60°", "tilt=58")),
        ([(-48, 50)], {}, ("the tilts of the data are from -48° to 50°, ", "that of ±60°", "augmentation.tilt=49")),
        ([(-48, 50)], {"tilt": 49}, ()),
        ([(-40, 60)], {}, ("from -40° to 60°", "augmentation.tilt=50")),
        ([(-40, 60)], {"tilt": 50}, ("from -40° to 60°, and the missing wedge of cryoet is that of ±50°",)),
        ([(-60, 60), (-40, 40), None], {}, ("the tilts of some of the data are from -40° to 40°", "tilt=50")),
        ([None, None], {}, ()),
        ([(-48, 50)], {"wedge_p": 0}, ()),
        ([(-48, 50)], {"tilt": 90, "tilt_jitter": 0}, ()),
    ],
)
def test_a_wedge_that_is_not_that_of_the_data_is_told(ranges, settings, expected):
    notes = CryoETSpec(**settings).notes_on(Tilted(*ranges))
    assert len(notes) == bool(expected)
    assert all(part in notes[0] for part in expected)


def test_nothing_is_told_where_each_particle_has_its_own_wedge():
    assert CryoETSpec().notes_on(Tilted((-48, 50), weighted=True)) == []
