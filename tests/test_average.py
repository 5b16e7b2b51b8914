"""Class averages: spectra, wedges and poses against known answers; a structure comes back, and noise does not."""

from __future__ import annotations

from collections import Counter

import mrcfile
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import ndimage
from support.mrc_writing import write_mrc
from support.untrained import make_run

from cryoreg import average as average_class
from cryoreg import predict
from cryoreg.analysis.averaging import alignment
from cryoreg.analysis.averaging.average import _onto, average, shell_correlation
from cryoreg.analysis.averaging.class_average import FEWEST
from cryoreg.errors import CallError
from cryoreg.picking.ranking import uniform_rotations
from cryoreg.simulation import optics
from cryoreg_cli.main import cryoreg

EDGE = 16
TILTS = (-60.0, 60.0)
FULL = torch.tensor([[-90.0, 90.0]])


def blobs(seed: int = 0) -> np.ndarray:
    """A structure without symmetry."""
    centres = np.random.default_rng(seed).normal(size=(7, 3)) * 1.8 + EDGE // 2
    grid = np.stack(np.meshgrid(*[np.arange(EDGE)] * 3, indexing="ij"), -1)
    return sum(np.exp(-np.square(grid - centre).sum(-1) / 3) for centre in centres).astype(np.float32)


def particles(structure: np.ndarray, count: int, noise: float, seed: int = 1):
    """Copies turned, shifted, with noise, all of it seen through a wedge; and how they were turned and shifted."""
    rng = np.random.default_rng(seed)
    turns = uniform_rotations(500)[rng.choice(500, count, replace=False)]
    shifts = rng.integers(-1, 2, (count, 3))
    centre = np.full(3, EDGE // 2)
    seen = optics.wedge(optics.frequencies((EDGE,) * 3, 1.0), TILTS)
    volumes = []
    for turn, shift in zip(turns, shifts, strict=True):
        volume = ndimage.affine_transform(structure, turn.T, centre - turn.T @ (centre + shift), order=3)
        volume = volume + noise * rng.normal(size=volume.shape)
        volumes.append(np.fft.irfftn(np.fft.rfftn(volume) * seen, volume.shape))
    return torch.tensor(np.array(volumes), dtype=torch.float32), turns, shifts


def tilts(count: int) -> torch.Tensor:
    return torch.tensor([TILTS]).repeat(count, 1)


def test_spectra_between_their_points_are_those_of_a_gaussian():
    """Its transform is known: exp(−2π²σ²k²), times a phase where it is off the centre."""
    sigma, shift = 1.5, np.array([1.0, -2.0, 0.5])
    grid = np.stack(np.meshgrid(*[np.arange(EDGE) - EDGE // 2] * 3, indexing="ij"), -1)
    volume = np.exp(-np.square(grid - shift).sum(-1) / (2 * sigma**2))
    k = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 3))
    wanted = (2 * np.pi * sigma**2) ** 1.5 * np.exp(-2 * (np.pi * sigma) ** 2 * np.square(k).sum(1))
    wanted = wanted * np.exp(-2j * np.pi * k @ shift)
    spectra = alignment.spectra_of(torch.tensor(volume[None], dtype=torch.float32))
    found = alignment.read(spectra, torch.tensor(k, dtype=torch.float32), EDGE)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=0.02 * abs(wanted).max())


@pytest.mark.parametrize("axis", ["x", "y"])
def test_what_is_measured_is_what_the_simulation_leaves(axis):
    k = optics.frequencies((EDGE,) * 3, 1.0)
    wanted = optics.wedge(k if axis == "y" else optics.Frequencies(k.z, k.x, k.y), (-50.0, 41.0))
    points = np.stack(np.broadcast_arrays(k.z, k.y, k.x), -1)
    found = alignment.measured(
        torch.tensor(points.reshape(1, -1, 3), dtype=torch.float32), torch.tensor([[-50.0, 41.0]]), axis
    )
    np.testing.assert_array_equal(found.numpy().reshape(wanted.shape) > 0, wanted)


def test_a_search_finds_the_poses_that_particles_were_given():
    structure = blobs()
    volumes, turns, shifts = particles(structure, 6, 0.05)
    reference = alignment.spectra_of(torch.from_numpy(structure)[None] * alignment.ball(EDGE))
    taken = alignment.Particles.of(volumes, tilts(6), "y")
    everywhere = torch.from_numpy(uniform_rotations(500)).float()
    found = alignment.search(taken, reference, everywhere, alignment.grid_of_shifts(2, 1.0), 5)
    np.testing.assert_array_equal(found.shifts.numpy(), shifts)
    np.testing.assert_allclose(found.rotations.numpy(), turns, atol=1e-5)
    assert (found.scores > 0.9).all()


def test_known_poses_add_up_to_the_structure_over_all_wedges():
    structure = blobs()
    volumes, turns, shifts = particles(structure, 40, 0.0)
    poses = alignment.Poses(torch.tensor(turns).float(), torch.tensor(shifts).float(), torch.zeros(40))
    sums = alignment.add_up(alignment.Particles.of(volumes, tilts(40), "y"), poses)
    assert 0.55 < float(sums.weight.mean()) / 40 < 0.68  # two thirds, less what a turned cube's corners lack
    assert float(shell_correlation(sums.volume(EDGE), torch.from_numpy(structure))[1:5].min()) > 0.98


def test_shell_correlation_of_noise_is_as_small_as_its_shells_are_large():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, EDGE, EDGE, EDGE, generator=generator)
    shell = np.arange(1, EDGE // 2)
    inside = 0.5  # of a box lies in the ball, so that so many frequencies are independent
    limit = 4.5 / np.sqrt(2 * np.pi * shell**2 * inside)
    assert (shell_correlation(one, other)[1:].abs().numpy() < limit).all()
    torch.testing.assert_close(shell_correlation(one, 3 * one), torch.ones(EDGE // 2))


@pytest.mark.slow
def test_a_structure_comes_back_from_noisy_copies():
    structure = torch.from_numpy(blobs())
    volumes, _, _ = particles(blobs(), 24, 0.3)
    found = average(volumes, tilts(24), rotations=400)
    pose = _onto(structure, found.volume, 3.0)
    turned = alignment.add_up(alignment.Particles.of(found.volume[None], FULL, "y"), pose).volume(EDGE)
    inside = alignment.ball(EDGE) > 0.5
    assert np.corrcoef(turned[inside], structure[inside])[0, 1] > 0.9
    assert found.real
    assert float(found.fsc[1:5].min()) > 0.8
    finer, coarser = (found.resolution(limit, 10.0) for limit in (0.143, 0.5))
    assert 20 <= finer <= coarser < 10 * EDGE / 4
    own = found.volume - found.volume.mean()
    assert float((found.halves[0] * own).sum() / (found.halves[0].norm() * own.norm())) > 0.9  # all in one frame


@pytest.mark.slow
def test_noise_alone_agrees_with_a_reference_and_not_with_itself():
    """Aligned to a structure, noise looks like it; two halves without one have nothing to agree on."""
    structure = blobs()
    volumes, _, _ = particles(0 * structure, 24, 1.0)
    reference = alignment.spectra_of(torch.from_numpy(structure)[None] * alignment.ball(EDGE))
    taken = alignment.Particles.of(volumes, tilts(24), "y")
    everywhere = torch.from_numpy(uniform_rotations(400)).float()
    biased = alignment.search(taken, reference, everywhere, alignment.grid_of_shifts(2, 1.0), 6)
    bias = shell_correlation(alignment.add_up(taken, biased).volume(EDGE), torch.from_numpy(structure))
    found = average(volumes, tilts(24), rotations=400)
    assert float(bias[1:7].mean()) > 0.5
    assert float(found.fsc[3:].mean()) < 0.25 < float(bias[3:7].mean())
    assert not found.real
    assert found.resolution(0.143, 10.0) is None


@pytest.mark.slow
def test_the_command_writes_the_average_its_halves_and_a_figure(tmp_path):
    volumes, _, _ = particles(blobs(), 12, 0.2)
    for number, volume in enumerate(volumes.numpy()):
        folder = tmp_path / "data" / ("ball" if number < 9 else "other")
        folder.mkdir(parents=True, exist_ok=True)
        write_mrc(folder / f"{number}.mrc", volume, 12.0)
    words = ["average", "ball", "--data", tmp_path / "data", "--set", "dataset.tilt_range=[-60,60]", "--output"]
    result = CliRunner().invoke(cryoreg, [*map(str, words), str(tmp_path / "ball.mrc")])
    assert result.exit_code == 0, result.output
    assert "9 particles (4 + 5): " in result.output
    for name in ("ball", "ball_half1", "ball_half2"):
        with mrcfile.open(tmp_path / f"{name}.mrc") as mrc:
            assert mrc.data.shape == (EDGE,) * 3
            assert mrc.voxel_size.x == 12
    assert (tmp_path / "ball.png").read_bytes()[1:4] == b"PNG"
    for words_too, message in (
        (["average", "other", "--data", tmp_path / "data", "--output", tmp_path / "o.mrc"], "3 particles are too few"),
        (["average", "what", "--data", tmp_path / "data", "--output", tmp_path / "o.mrc"], "(there are: ball, other)"),
        ([*words, tmp_path / "ball.mrc"], "exists already"),
    ):
        result = CliRunner().invoke(cryoreg, [*map(str, words_too)])
        assert result.exit_code == 1
        assert message in result.output
    (tmp_path / "said.csv").write_text("id,prediction\n" + "".join(f"ball/{n},x\n" for n in range(9)))
    words = ["average", "x", "--data", tmp_path / "data", "--classes", tmp_path / "said.csv", "--most", "8"]
    result = CliRunner().invoke(cryoreg, [*map(str, words), "--output", str(tmp_path / "x.mrc")])
    assert result.exit_code == 0, result.output
    assert "of 9 particles 8 are drawn" in result.output
    assert "no missing wedge is taken into account" in result.output


@pytest.mark.slow
def test_a_runs_classifier_says_who_is_of_the_class(tmp_path):
    """The command averages those that `predict` puts into the class, and Python does what the command does."""
    volumes, _, _ = particles(blobs(), 20, 0.2)
    data = {"name": "mrc_folder", "root": str(tmp_path / "data"), "tilt_range": TILTS}
    for number, volume in enumerate(volumes.numpy()):
        folder = tmp_path / "data" / ("ball" if number < 10 else "other")
        folder.mkdir(parents=True, exist_ok=True)
        write_mrc(folder / f"{number}.mrc", volume, 12.0)
    make_run(tmp_path / "run", box=EDGE, dataset=data)
    said = predict(tmp_path / "run", device="cpu")
    name, count = Counter(said.classes[number] for number in said.predictions).most_common(1)[0]
    assert count >= FEWEST
    words = ["average", name, "--run", tmp_path / "run", "--output", tmp_path / "a.mrc"]
    result = CliRunner().invoke(cryoreg, [*map(str, words)])
    assert result.exit_code == 0, result.output
    assert f"{count} particles ({count // 2} + {count - count // 2}): " in result.output
    found = average_class(name, tmp_path / "b.mrc", run=tmp_path / "run")
    assert found.particles == count
    np.testing.assert_array_equal(*(mrcfile.read(tmp_path / f"{each}.mrc") for each in "ab"))
    np.testing.assert_allclose(mrcfile.read(tmp_path / "b.mrc"), found.averaged.volume.numpy())
    labelled = average_class("ball", tmp_path / "c.mrc", data=tmp_path / "data", tilt_range=TILTS)
    assert labelled.particles == 10
    unknown = CliRunner().invoke(cryoreg, [*map(str, ["average", "what", *words[2:4], "--output", tmp_path / "d.mrc"])])
    assert "tells no class 'what' apart (but: ball, other)" in unknown.output


def test_python_says_what_it_needs(tmp_path):
    for keywords, message in (
        ({}, "needs data=PATH, or run=RUN"),
        ({"run": tmp_path, "labels_from": tmp_path}, r"run=..., or labels_from=..., not both"),
    ):
        with pytest.raises(CallError, match=message):
            average_class("ball", tmp_path / "a.mrc", **keywords)
