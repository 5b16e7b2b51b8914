"""Assemblies: symmetric, in contact, without overlap, of the stated mass and density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from cryoreg.simulation import assemblies
from cryoreg.simulation.assemblies import (
    PROTEIN_DENSITY,
    assembly,
    contact_distance,
    make_assemblies,
    make_domain,
    make_protomer,
)
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.symmetry import POINT_GROUPS, point_group


@pytest.fixture(scope="module")
def shapes() -> dict[str, Structure]:
    return {shape.name: shape for shape in make_assemblies(seed=3)}


def bead_diameter(shape: Structure) -> float:
    """Of close-packed spheres, whose cell of 4 has edge diameter·√2, filled at the density of protein."""
    volume = shape.masses[0] / PROTEIN_DENSITY
    return float(np.cbrt(4 * volume) / np.sqrt(2))


@pytest.mark.parametrize("name", POINT_GROUPS)
class TestAssembly:
    def test_mass_and_centre(self, shapes: dict[str, Structure], name: str) -> None:
        shape = shapes[name]
        assert 450e3 <= shape.mass <= 650e3
        np.testing.assert_allclose(np.average(shape.points, axis=0, weights=shape.masses), 0, atol=1e-9)

    def test_each_rotation_maps_it_onto_itself(self, shapes: dict[str, Structure], name: str) -> None:
        points = shapes[name].points
        for element in point_group(name):
            distance, partner = cKDTree(points).query(points @ element.T)
            assert distance.max() < 1e-6
            assert len(set(partner)) == len(points)

    def test_beads_touch_but_do_not_overlap(self, shapes: dict[str, Structure], name: str) -> None:
        shape = shapes[name]
        nearest = cKDTree(shape.points).query(shape.points, k=2)[0][:, 1]
        assert nearest.min() == pytest.approx(bead_diameter(shape), rel=1e-6)

    def test_copies_hold_together(self, shapes: dict[str, Structure], name: str) -> None:
        shape = shapes[name]
        order = len(point_group(name))
        copies = shape.points.reshape(order, -1, 3)
        joined, new = {0}, [0]
        while new:
            here = new.pop()
            reach = 1.5 * bead_diameter(shape) + 1e-6
            near = {c for c in range(order) if cdist(copies[here], copies[c]).min() <= reach} - joined
            joined |= near
            new += near
        assert joined == set(range(order))

    def test_size_tells_little(self, shapes: dict[str, Structure], name: str) -> None:
        others = [shape.radius_of_gyration for shape in shapes.values()]
        assert shapes[name].radius_of_gyration == pytest.approx(np.median(others), rel=0.1)


def test_no_assembly_has_more_symmetry_than_its_group(shapes: dict[str, Structure]) -> None:
    """Rotations outside its own group leave some bead Ångströms from any other."""
    for shape in shapes.values():
        own = point_group(shape.name)
        for element in np.concatenate([point_group(name) for name in POINT_GROUPS]):
            if not np.isclose(own, element).all(axis=(1, 2)).any():
                assert cKDTree(shape.points).query(shape.points @ element.T)[0].max() > 2


@pytest.mark.slow
def test_the_seed_decides_and_the_other_groups_do_not(shapes: dict[str, Structure]) -> None:
    np.testing.assert_array_equal(make_assemblies(3, ("T",))[0].points, shapes["T"].points)
    other = assembly("T", stream(4, Purpose.STRUCTURE, POINT_GROUPS.index("T")))
    assert other.points.shape != shapes["T"].points.shape or not np.allclose(other.points, shapes["T"].points)


def test_rg_and_radius_of_a_known_body() -> None:
    rod = Structure.centred("rod", np.array([[0.0, 0, 0], [4, 0, 0]]), np.array([1.0, 3.0]))
    np.testing.assert_allclose(rod.points[:, 0], [-3, 1])
    assert rod.radius == 3
    assert rod.radius_of_gyration == pytest.approx(np.sqrt((9 + 3) / 4))
    assert rod.mass == 4


def test_domain_is_a_close_packing_of_the_stated_size() -> None:
    domain = make_domain(60, np.random.default_rng(0))
    distance = cdist(domain, domain) + 9 * np.eye(60)
    assert distance.min() == pytest.approx(1)
    assert (np.abs(distance - 1) < 1e-9).sum(axis=1).max() == 12  # neighbours inside a close packing
    np.testing.assert_allclose(domain.mean(axis=0), 0, atol=1e-12)


def test_protomer_has_the_beads_asked_for() -> None:
    assert make_protomer(101, 4, np.random.default_rng(0)).shape == (101, 3)


def test_contact_of_two_beads_is_geometry() -> None:
    """A bead that flies past at an impact parameter b touches at √(1 − b²) before the closest approach."""
    fixed, moving, along_x = np.zeros((1, 3)), np.array([[0.0, 0.6, 0.0]]), np.array([1.0, 0, 0])
    assert contact_distance(fixed, moving, along_x) == pytest.approx(0.8)
    assert contact_distance(fixed, moving * 2, along_x) == 0


def test_contact_agrees_with_a_slow_slide() -> None:
    rng = np.random.default_rng(5)
    fixed, moving = make_domain(30, rng), make_domain(20, rng)
    direction = np.array([0.6, 0.0, -0.8])
    steps = np.arange(20, 0, -1e-3)
    gaps = np.array([cdist(fixed, moving + t * direction).min() for t in steps])
    assert contact_distance(fixed, moving, direction) == pytest.approx(steps[np.argmax(gaps < 1)], abs=2e-3)


@pytest.mark.parametrize("name", ["C3", "D2"])
def test_closest_approach_agrees_with_a_slow_slide(name: str) -> None:
    rng = np.random.default_rng(6)
    protomer, group = make_domain(20, rng), point_group(name)
    direction = np.array([0.48, 0.6, 0.64])
    steps = np.arange(20, 0, -1e-2)
    gaps = []
    for t in steps:
        copies = [(protomer + t * direction) @ g.T for g in group]
        gaps.append(min(cdist(copies[0], copy).min() for copy in copies[1:]))
    slow = steps[np.argmax(np.array(gaps) < 1)]
    assert assemblies._closest_approach(protomer, group[1:], direction) == pytest.approx(slow, abs=2e-2)
