"""The universe of made-up structures: each body and scene by its number alone, imaged as its session says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cryoreg import create_dataset
from cryoreg.datasets.universe_set import UniverseSet
from cryoreg.errors import ConfigError
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.symmetry import point_group
from cryoreg.simulation.universe import bodies
from cryoreg.simulation.universe.bodies import KINDS, body, kind_of
from cryoreg.simulation.universe.microscopes import session
from cryoreg.simulation.universe.scenes import SESSION, Universe, UniverseScene
from cryoreg_cli.commands.simulate import simulate

SOME = range(60)


@pytest.fixture(scope="module")
def some_bodies() -> list:
    return [body(0, index) for index in SOME]


def test_the_icosahedral_group_has_60_rotations_with_fivefold_threefold_and_twofold_axes() -> None:
    """Angles by the trace, 1 + 2·cos: 1 identity, 24 of 72° or 144°, 20 of 120°, 15 of 180° (character table of I)."""
    traces = np.round([np.trace(element) for element in point_group("I")], 6)
    golden = (1 + np.sqrt(5)) / 2
    expected = {3.0: 1, round(golden, 6): 12, round(1 - golden, 6): 12, 0.0: 20, -1.0: 15}
    assert Counter(abs(t) if t == 0 else t for t in traces) == expected


@pytest.mark.slow
def test_a_body_depends_on_its_number_alone(some_bodies: list) -> None:
    for index in (41, 3, 17):
        again = body(0, index)
        assert np.array_equal(again.points, some_bodies[index].points)
        assert np.array_equal(again.masses, some_bodies[index].masses)
    assert not np.array_equal(body(1, 3).points, some_bodies[3].points)


def test_bodies_are_of_many_kinds_and_sizes(some_bodies: list) -> None:
    kinds = Counter(kind_of(each) for each in some_bodies)
    assert len(kinds) >= 5
    masses = [each.mass for each in some_bodies if kind_of(each) == "assembly"]
    assert min(masses) >= 50e3 * (1 - 1e-9)
    assert max(masses) <= 4e6 * (1 + 1e-9)
    assert max(masses) / min(masses) > 10


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_makes_finite_points_of_positive_weight(kind: str) -> None:
    for seed in range(3):
        cloud = KINDS[kind].make(np.random.default_rng(seed))
        assert cloud.points.shape == (len(cloud.weights), 3)
        assert np.isfinite(cloud.points).all()
        assert (cloud.weights > 0).all()
        assert (len(cloud.points) == 0) == (kind == "ice")


def test_beads_are_filled_at_the_density_of_protein() -> None:
    """A ball of close-packed beads, whose points keep its mass and, but for the rim, its radius of gyration."""
    rng = np.random.default_rng(0)
    beads = bodies.make_domain(400, rng) * 20.0
    cloud = bodies.fill(beads, np.full(400, 5e3), 20.0, rng)
    assert cloud.weights.sum() == pytest.approx(400 * 5e3)
    assert len(cloud.points) > 5 * len(beads)
    before, after = (np.sqrt(np.square(p - p.mean(0)).sum(1).mean()) for p in (beads, cloud.points))
    assert after == pytest.approx(before, rel=0.03)


def test_a_session_is_within_its_limits_and_its_box_holds_what_is_asked_for() -> None:
    drawn = [session(0, number, extent=320.0) for number in range(200)]
    for each in drawn:
        assert 8 <= each.settings.voxel_size <= 16
        assert each.settings.box * each.settings.voxel_size >= 320
        assert 2 <= each.settings.defocus[0] <= each.settings.defocus[1] <= 8
        assert all(40 <= abs(end) <= 70 for end in each.settings.tilt)
    assert {each.tilt_axis_x for each in drawn} == {True, False}
    assert {each.settings.phase_flip for each in drawn} == {True, False}


@pytest.mark.slow
def test_a_scene_depends_on_its_number_alone() -> None:
    one, other = Universe(40), Universe(40)
    wanted = one.scene(70)
    list(other.scenes([3, 250]))
    again = other.scene(70)
    assert np.array_equal(again.volume, wanted.volume)
    assert again.label == wanted.label == 70 % 40


@pytest.mark.parametrize(
    ("index", "edge", "voxels"),
    [(70, 28, (-8.6168, -1.6927, -14.2241)), (1234, 42, (-16.4112, 19.6653, 0.3470))],
)
def test_scenes_stay_what_they_were(index: int, edge: int, voxels: tuple[float, ...]) -> None:
    """Stores are gone on with, and networks were trained on them: a faster simulator changes the rounding alone."""
    volume, centre = Universe(40).scene(index).volume, edge // 2
    assert volume.shape == (edge,) * 3
    places = [(centre, centre, centre), (centre - 5, centre + 3, centre + 7), (2, 9, 4)]
    np.testing.assert_allclose([volume[place] for place in places], voxels, atol=1e-3)


def _power_by_side(scene: UniverseScene) -> tuple[float, float]:
    """Return mean power well inside and well outside of the wedge of a scene, away from axes and corners."""
    edge = scene.volume.shape[0]
    window = np.hanning(edge)
    tapered = scene.volume * window[:, None, None] * window[:, None] * window
    power = np.abs(np.fft.fftn(tapered)) ** 2
    z, y, x = np.meshgrid(*3 * [np.fft.fftfreq(edge)], indexing="ij")
    across = y if scene.tilt_axis_x else x
    angle = np.degrees(np.arctan2(np.abs(z), np.abs(across)))
    shell = np.hypot(z, across) > 0.2
    widest, narrowest = max(map(abs, scene.tilt)), min(map(abs, scene.tilt))
    return power[shell & (angle < narrowest - 12)].mean(), power[shell & (angle > widest + 8)].mean()


def test_what_is_no_particle_is_one_class_of_its_kind() -> None:
    names = bodies.class_names(0, len(SOME))
    for index, name in enumerate(names):
        kind = kind_of(body(0, index))
        assert name == (f"structure_{index:07d}" if KINDS[kind].particle else kind)
    layout = UniverseSet(300, 2).layout("", clean=False)
    assert len(layout.classes) == len(set(layout.classes)) < 300
    assert [layout.classes[label] for label in layout.labels] == bodies.class_names(0, 300) * 2


def test_a_scene_of_nothing_is_never_without_noise() -> None:
    universe = Universe(1500)
    empty = next(index for index, name in enumerate(bodies.class_names(0, 1500)) if name == "ice")
    scenes = [universe.scene(empty + 1500 * number) for number in range(60)]
    assert all(np.isfinite(scene.snr_crop) and scene.volume.std() > 0 for scene in scenes)


@pytest.mark.slow
def test_each_scene_lacks_the_wedge_that_its_session_says() -> None:
    """Also about x: had the turn been left out, the empty region would lie about the other axis."""
    universe = Universe(40)
    noisy = (universe.scene(index) for index in range(0, 40 * SESSION, SESSION))
    chosen = [scene for scene in noisy if scene.snr_crop < 1 and max(map(abs, scene.tilt)) < 68][:8]
    assert {scene.tilt_axis_x for scene in chosen} == {True, False}
    for scene in chosen:
        inside, outside = _power_by_side(scene)
        assert inside > 8 * outside


def test_empty_ice_is_noise_of_variance_one(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Structure("ice_0000000", np.zeros((0, 3)), np.zeros(0))
    monkeypatch.setattr(Universe, "structure", lambda universe, label: nothing)
    for index in range(12):
        scene = Universe(1).scene(index)
        expected = 1 if np.isfinite(scene.snr_crop) else 0
        assert scene.volume.std() == pytest.approx(expected, abs=1e-3)


def test_a_set_is_written_as_a_store_and_goes_on_elsewhere(tmp_path: Path) -> None:
    """`first` passes scenes over: the second set's rows are those that a longer first one would have had."""
    path, more = tmp_path / "u.h5", tmp_path / "more.h5"
    runner = CliRunner()
    assert runner.invoke(simulate, ["--universe", "6", "--per-class", "2", "--output", str(path)]).exit_code == 0
    said = runner.invoke(simulate, ["--universe", "6", "--per-class", "1", "--first", "1", "--output", str(more)])
    assert said.exit_code == 0, said.output
    whole, rest = (create_dataset("store", root=str(each)) for each in (path, more))
    assert (len(whole), len(rest), len(whole.classes)) == (12, 6, 6)
    assert whole.box == (16, 16, 16)
    assert whole.voxel_size == 20
    assert list(whole.ids[6:]) == list(rest.ids)
    for row in range(6):
        assert (whole[6 + row].volume == rest[row].volume).all()
        assert whole.labels[6 + row] == rest.labels[row] == row


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_bits() -> None:
    few = UniverseSet(5, per_class=8)
    for one, other in zip(few.scenes(few.indices, 1), few.scenes(few.indices, 2), strict=True):
        assert np.array_equal(one.volume, other.volume)


@pytest.mark.parametrize("option", [("--structures", "x"), ("--snr", "1"), ("--mode", "fast"), ("--montage", "m.png")])
def test_options_of_other_sets_are_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    said = CliRunner().invoke(simulate, ["--universe", "6", "--output", str(tmp_path / "u.h5"), *option])
    assert said.exit_code == 2
    assert "exclude each other" in said.output


def test_there_are_no_clean_copies() -> None:
    with pytest.raises(ConfigError, match="clean"):
        UniverseSet(6).layout("", clean=True)
