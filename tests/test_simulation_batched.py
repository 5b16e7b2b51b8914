"""The batched simulator against the one that makes scene after scene, and its draws against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from cryoreg.errors import ConfigError
from cryoreg.randomness import SampleRng
from cryoreg.simulation import batched, packing
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.batched import BatchedSimulator, Scenes
from cryoreg.simulation.settings import SceneSettings, make_settings
from cryoreg.simulation.simulator import Plan, Simulator

BODIES = make_assemblies(0, ("C1", "C4", "O"))
LIU = make_settings("liu2020", box=16, snr_box=100)


def simulate(settings: SceneSettings, count: int = 9, seed: int = 0) -> Scenes:
    return BatchedSimulator(BODIES, settings, seed).batch(torch.arange(count))


def plan_of(scenes: Scenes, row: int) -> Plan:
    """Return what the other simulator has to be told to make the same scene."""
    bodies, rotations, centres = (values[row].double().numpy() for values in scenes.drawn[:3])
    (resolution, defocus), others = scenes.drawn.optics[row].tolist(), [BODIES[int(b)] for b in bodies[1:]]
    rng = np.random.default_rng(0)
    shift, around = centres[0], centres[1:] - centres[0]
    return Plan(
        int(bodies[0]), rotations[0], shift, resolution, defocus, tuple(others), around, tuple(rotations[1:]), rng
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"neighbours": 0},
        {"defocus": (3.0, 5.0), "resolution": (20.0, 40.0), "low_pass": np.inf},
        {"tilt": (-40, 60)},
    ],
)
def test_without_noise_the_two_make_the_same_volumes(changes: dict) -> None:
    settings = make_settings("clean", box=16, **changes)
    scenes, one_by_one = simulate(settings), Simulator(BODIES, settings, 0)
    for row in range(9):
        expected = one_by_one._realise(plan_of(scenes, row)).volume
        np.testing.assert_allclose(scenes.volumes[row], expected, atol=5e-4)
        assert scenes.labels[row] == row % 3


@pytest.mark.parametrize("region", ["crop", "box"])
def test_the_ratios_are_what_they_are_called(region: str) -> None:
    """The region's is as asked for; the crop's is measured on what comes out; the box's agrees with the other's."""
    settings = LIU.model_copy(update={"snr_region": region, "snr": 0.4})
    noisy = simulate(settings)
    asked = noisy.snr_crop if region == "crop" else noisy.snr_box
    np.testing.assert_allclose(asked, 0.4, rtol=1e-4)
    one_by_one = Simulator(BODIES, settings, 0)
    for row in range(9):
        expected = one_by_one._realise(plan_of(noisy, row))
        assert noisy.snr_crop[row] / noisy.snr_box[row] == pytest.approx(expected.snr_crop / expected.snr_box, rel=0.2)
    alone = settings.model_copy(update={"neighbours": 0})
    noisy, clean = simulate(alone), simulate(alone.model_copy(update={"snr": np.inf}))
    for volume, signal, ratio in zip(noisy.volumes.double(), clean.volumes.double(), noisy.snr_crop, strict=True):
        weight = (volume * signal).mean() / signal.square().mean()
        noise = (volume - weight * signal).var()
        assert weight**2 / noise == pytest.approx(float(ratio), rel=0.25)


def test_a_scene_depends_on_its_index_alone() -> None:
    simulator = BatchedSimulator(BODIES, LIU, 3)
    whole = simulator.batch(torch.arange(6)).volumes
    some = simulator.batch(torch.tensor([4, 1])).volumes
    torch.testing.assert_close(some, whole[[4, 1]], atol=1e-4, rtol=0)
    (alone,) = simulator.scenes([4])
    torch.testing.assert_close(alone.volumes[0], whole[4], atol=1e-4, rtol=0)
    assert (BatchedSimulator(BODIES, LIU, 4).batch(torch.tensor([4])).volumes[0] - whole[4]).abs().max() > 0.5


def test_packed_spheres_do_not_overlap_and_are_those_of_the_other() -> None:
    starts = 300 * torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0))
    radii = 30 + 50 * torch.rand(20, 5, generator=torch.Generator().manual_seed(1))
    packed = batched.pack(starts, radii)
    room = torch.cdist(packed, packed) - radii[:, :, None] - radii[:, None]
    assert room[:, ~torch.eye(5, dtype=torch.bool)].min() > -1e-3
    expected = packing.pack(starts.double().numpy(), radii.double().numpy())
    np.testing.assert_allclose(packed, expected, atol=0.05)


def test_rotations_are_uniform() -> None:
    """Proper, and a turned axis has uniform coordinates (Archimedes)."""
    turns = batched.rotations(torch.randn(4000, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(4000, 3, 3), atol=1e-5, rtol=0)
    assert torch.linalg.det(turns).min() > 0.999
    for axis in range(3):
        assert kstest(turns[:, axis, 0].numpy(), "uniform", (-1, 2)).pvalue > 1e-3


@pytest.mark.parametrize("edge", [12, 13])
def test_a_drawn_spectrum_is_that_of_white_noise(edge: int) -> None:
    spectra = batched.white_spectra(SampleRng.for_batch(0, 0, torch.arange(60), view=0), edge)
    volumes = torch.fft.irfftn(spectra, s=(edge,) * 3, dim=(1, 2, 3))
    torch.testing.assert_close(torch.fft.rfftn(volumes, dim=(1, 2, 3)), spectra, atol=1e-2, rtol=0)
    count = volumes.numel()
    assert float(volumes.var()) == pytest.approx(1, abs=4 * np.sqrt(2 / count))
    assert float((volumes**4).mean()) == pytest.approx(3, abs=4 * np.sqrt(96 / count))
    for axis in (1, 2, 3):
        assert abs(float((volumes * volumes.roll(1, axis)).mean())) < 5 / np.sqrt(count)
    power = spectra.abs().square().mean(dim=0) / edge**3
    assert float((power - 1).abs().max()) < 7 * np.sqrt(2 / 60)


def test_what_has_no_batched_form_is_refused() -> None:
    for changes in ({"mode": "tilt-series"}, {"packing": "sequential"}):
        with pytest.raises(ConfigError, match="batches"):
            BatchedSimulator(BODIES, LIU.model_copy(update=changes), 0)
