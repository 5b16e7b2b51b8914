"""Made-up structures by index: body number i of a seed is the same whatever else is made.

A body's kind is drawn first, then its mass, then its shape. All are clouds of points, `SPACING` Å apart or so, weighted
by what they are made of. No structure of the PDB or the EMDB is used.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation.assemblies import BEAD_VOLUME, PROTEIN_DENSITY, arrange, contact_distance, make_domain
from cryoreg.simulation.poses import random_direction, random_rotation
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Points, Structure
from cryoreg.simulation.symmetry import Rotations, point_group, rotation
from cryoreg.simulation.universe.materials import CARBON, GOLD, HEAD_GROUPS, NUCLEIC_ACID, Material

SPACING = 7.0
"""Å between points: finer than half of the finest voxels, 16 Å."""
MASSES = (50e3, 4e6)
"""Da, drawn uniformly on a logarithmic scale."""
BEADS = (60, 1200)
"""Beads of an assembly, so that its parts are told apart whatever its mass."""
CANDIDATES = 6
OPENNESS = (1.0, 1.8)
"""Wanted radius of gyration over that of a solid ball; of `CANDIDATES` shapes the nearest is taken."""
REACH = 260.0
"""Å: what is endless (filaments, membranes, films) goes on so far from the target, beyond any box."""

Masses = NDArray[np.float64]


class Cloud(NamedTuple):
    """Points (N, 3) in Å, and what each adds to the image, in daltons of protein (N,)."""

    points: Points
    weights: Masses


def body(seed: int, index: int) -> Structure:
    """Return structure number ``index`` of a seed: points in Å about the centre of mass, weights in Da of protein."""
    rng = stream(seed, Purpose.BODY, index)
    drawn = _draw_kind(rng)
    cloud = KINDS[drawn].make(rng)
    name = f"{drawn}_{index:07d}"
    if len(cloud.points) == 0:
        return Structure(name, cloud.points, cloud.weights)
    return Structure.centred(name, *cloud)


def class_names(seed: int, count: int) -> list[str]:
    """Return the class of each of the first ``count`` bodies: its own; of what is no particle, its kind's.

    Empty ice is the same whatever its number, and so, at these resolutions, are bare membranes and films.
    """
    kinds = [kind(seed, index) for index in range(count)]
    return [f"structure_{index:07d}" if KINDS[name].particle else name for index, name in enumerate(kinds)]


@functools.lru_cache(maxsize=65536)
def kind(seed: int, index: int) -> str:
    """Return the kind of structure number ``index``, which is known before it is made."""
    return _draw_kind(stream(seed, Purpose.BODY, index))


def _draw_kind(rng: Generator) -> str:
    return KIND_NAMES[int(rng.choice(len(KIND_NAMES), p=_SHARES))]


def kind_of(structure: Structure) -> str:
    """Return the kind of a body."""
    return structure.name.rpartition("_")[0]


def draw_mass(rng: Generator, lowest: float = MASSES[0], highest: float = MASSES[1]) -> float:
    """Return a mass in Da, uniform on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(lowest), np.log(highest))))


# ---- what is made of beads


def assembly(rng: Generator) -> Cloud:
    """Return copies of a protomer about a random point group: globular, ringed or, for the large groups, hollow."""
    group = str(rng.choice(GROUPS))
    return _symmetric(rng, group, draw_mass(rng))


def elongated(rng: Generator) -> Cloud:
    """Return domains strung along an axis, alone or as a dimer or trimer."""
    rotations = point_group(str(rng.choice(("C1", "C1", "C2", "C3", "D2"))))
    return _filled(rng, rotations, draw_mass(rng, highest=1.5e6), straightness=rng.uniform(1.0, 4.0))


def complex_with_rna(rng: Generator) -> Cloud:
    """Return protein about a strand of nucleic acid, as in ribosomes: denser inside than outside."""
    mass = draw_mass(rng, 200e3)
    share = rng.uniform(0.2, 0.7)
    strand = _strand(rng, share * mass)
    protein = _symmetric(rng, "C1", (1 - share) * mass)
    direction = random_direction(rng)
    shift = direction * rng.uniform(0, 0.6) * np.linalg.norm(protein.points, axis=1).max()
    return _joined(strand, Cloud(protein.points + shift, protein.weights))


def nucleic_acid(rng: Generator) -> Cloud:
    """Return a dense, folded strand of DNA or RNA alone."""
    return _strand(rng, draw_mass(rng, 80e3, 2e6))


def _symmetric(rng: Generator, group: str, mass: float) -> Cloud:
    return _filled(rng, point_group(group), mass, straightness=rng.uniform(0.0, 1.0))


def _filled(rng: Generator, rotations: Rotations, mass: float, straightness: float) -> Cloud:
    """Return the points that fill the beads of a symmetric assembly, with domains of unlike density."""
    count = max(8, round(draw_mass(rng, *BEADS) / len(rotations)))
    drawn = (_arranged(rng, rotations, count, straightness) for _ in itertools.count())
    shapes = list(itertools.islice((shape for shape in drawn if shape is not None), CANDIDATES))
    solid = np.sqrt(3 / 5) * np.cbrt(3 / (4 * np.pi) * BEAD_VOLUME * len(shapes[0].points))
    wanted = solid * rng.uniform(*OPENNESS)
    shape = min(shapes, key=lambda shape: abs(_radius_of_gyration(shape.points) - wanted))
    size = np.cbrt(mass / len(shape.points) / PROTEIN_DENSITY / BEAD_VOLUME)
    return fill(shape.points * size, shape.weights * (mass / shape.weights.sum()), size, rng)


def _arranged(rng: Generator, rotations: Rotations, count: int, straightness: float) -> Cloud | None:
    """Return the beads of a symmetric assembly; None where its copies do not hold together."""
    protomer, density = make_protomer(count, rng, straightness)
    points = arrange(protomer, rotations, rng)
    return None if points is None else Cloud(points, np.tile(density, len(rotations)))


def _radius_of_gyration(points: Points) -> float:
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))


def make_protomer(beads: int, rng: Generator, straightness: float) -> tuple[Points, Masses]:
    """Return beads (N, 3), of diameter 1, in one to six domains that touch, and each bead's density (N,), about 1.

    The larger ``straightness``, the more the domains follow one direction.
    """
    domains = int(rng.integers(1, max(2, min(6, beads // 8) + 1)))
    shares = rng.dirichlet(np.full(domains, 3.0))
    counts = np.maximum(4, np.round(shares * beads)).astype(int)
    densities = rng.uniform(0.75, 1.3, domains)
    axis = random_direction(rng)
    chain = make_domain(int(counts[0]), rng)
    for count in counts[1:]:
        domain = make_domain(int(count), rng)
        direction = axis * straightness + random_direction(rng)
        direction /= np.linalg.norm(direction)
        chain = np.concatenate([chain, domain + direction * contact_distance(chain, domain, direction)])
        chain -= chain.mean(axis=0)
    return chain, np.repeat(densities, counts)


def fill(beads: Points, weights: Masses, diameter: float, rng: Generator) -> Cloud:
    """Return each bead as points, ``SPACING`` Å apart or so, in a ball of its cell's volume, which share its weight."""
    copies = max(1, round((diameter / SPACING) ** 3))
    if copies == 1:
        return Cloud(beads, weights)
    offsets = rng.standard_normal((copies, 3))
    radius = diameter * np.cbrt(3 / (4 * np.pi) * BEAD_VOLUME)
    offsets *= (np.cbrt(rng.uniform(0, 1, copies)) * radius / np.linalg.norm(offsets, axis=1))[:, None]
    points = (beads[:, None] + offsets).reshape(-1, 3)
    return Cloud(points, np.repeat(weights / copies, copies))


def _strand(rng: Generator, mass: float) -> Cloud:
    """Return a worm-like chain of double-stranded nucleic acid, folded into a ball that it fills to a third."""
    per_angstrom, step = 195.0, 6.0  # 660 Da for each base pair of 3.4 Å
    steps = max(10, round(mass / per_angstrom / step))
    volume = mass / NUCLEIC_ACID.dalton_per_cubic_angstrom
    radius = np.cbrt(3 / (4 * np.pi) * volume * 3)
    points, direction = np.zeros((steps, 3)), random_direction(rng)
    stiffness = rng.uniform(1.0, 5.0)
    for number in range(1, steps):
        here = points[number - 1]
        pull = -here / radius * max(0.0, float(np.linalg.norm(here)) / radius - 0.7) * 4
        direction = stiffness * direction + rng.standard_normal(3) + stiffness * pull
        direction /= np.linalg.norm(direction)
        points[number] = here + step * direction
    return Cloud(points, np.full(steps, per_angstrom * step * NUCLEIC_ACID.weight))


# ---- what goes on beyond the box


def filament(rng: Generator) -> Cloud:
    """Return a stretch of a helix: a protomer repeated by rise and twist, one to thirteen starts."""
    mass = draw_mass(rng, 30e3, 120e3)
    protomer = _symmetric(rng, "C1", mass)
    starts = int(rng.choice((1, 1, 2, 3, 5, 13)))
    size = np.cbrt(mass / PROTEIN_DENSITY)
    radius = size * max(0.5, starts / (2 * np.pi) * rng.uniform(1.0, 1.3))
    rise, twist = size * rng.uniform(0.6, 1.1), rng.uniform(0.1, 3.1)
    first = protomer.points @ random_rotation(rng).T + [radius, 0, 0]
    rungs = np.arange(-int(REACH / rise), int(REACH / rise) + 1)
    turns = [(rung, start) for rung in rungs for start in range(starts)]
    copies = [
        first @ rotation((0, 0, 1), twist * rung + 2 * np.pi * start / starts).T + [0, 0, rise * rung]
        for rung, start in turns
    ]
    return Cloud(np.concatenate(copies), np.tile(protomer.weights, len(copies)))


def membrane_protein(rng: Generator) -> Cloud:
    """Return a protein, most often a ring, in a slab of membrane that its axis crosses."""
    protein = _symmetric(
        rng, str(rng.choice(("C1", "C2", "C3", "C4", "C6", "C8", "C12"))), draw_mass(rng, 100e3, 1.5e6)
    )
    depth = rng.uniform(-0.4, 0.4) * np.ptp(protein.points[:, 2])
    placed = protein.points - [0, 0, depth]
    lipids = membrane(rng)
    crossing = placed[np.abs(placed[:, 2]) < 25, :2]
    hole = np.linalg.norm(crossing, axis=1).max() if len(crossing) else 0.0
    kept = np.linalg.norm(lipids.points[:, :2], axis=1) > hole
    return _joined(Cloud(placed, protein.weights), Cloud(lipids.points[kept], lipids.weights[kept]))


def membrane(rng: Generator) -> Cloud:
    """Return a flat bilayer alone: two layers of head groups 34 to 44 Å apart, in the plane z = 0."""
    apart, thickness = rng.uniform(34, 44), 8.0
    weight = HEAD_GROUPS.dalton_per_cubic_angstrom * thickness * SPACING**2 * HEAD_GROUPS.weight
    sides = [_at_height(_disc(rng, SPACING), z) for z in (-apart / 2, apart / 2)]
    points = np.concatenate(sides)
    return Cloud(points, np.full(len(points), weight))


def carbon_edge(rng: Generator) -> Cloud:
    """Return the edge of a support film, 100 to 200 Å thick, which ends at a random distance from the centre."""
    thickness = rng.uniform(100, 200)
    layers = np.arange(-thickness / 2, thickness / 2, 2 * SPACING)
    points = np.concatenate([_at_height(_disc(rng, 2 * SPACING), z) for z in layers])
    points = points[points[:, 0] > rng.uniform(-100, 100)]
    weight = CARBON.dalton_per_cubic_angstrom * (2 * SPACING) ** 3 * CARBON.weight
    return Cloud(points + rng.uniform(-SPACING, SPACING, points.shape), np.full(len(points), weight))


def _at_height(plane: Points, z: float) -> Points:
    return np.column_stack([plane, np.full(len(plane), z)])


def _disc(rng: Generator, spacing: float) -> Points:
    """Return a square lattice (N, 2) in a disc of radius `REACH`, each point moved within its cell."""
    line = np.arange(-REACH, REACH + spacing, spacing)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    grid += rng.uniform(-spacing / 2, spacing / 2, grid.shape)
    return grid[np.linalg.norm(grid, axis=1) <= REACH]


# ---- what is no particle


def gold_bead(rng: Generator) -> Cloud:
    """Return a fiducial marker of 50 to 150 Å diameter."""
    return _ball(rng.uniform(50, 150), GOLD)


def _ball(diameter: float, material: Material) -> Cloud:
    line = np.arange(-diameter / 2, diameter / 2 + SPACING, SPACING)
    grid = np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    points = grid[np.linalg.norm(grid, axis=1) <= diameter / 2]
    weight = material.dalton_per_cubic_angstrom * SPACING**3 * material.weight
    return Cloud(points, np.full(len(points), weight))


def empty_ice(rng: Generator) -> Cloud:
    """Return nothing: noise alone, or the rims of neighbours."""
    return Cloud(np.zeros((0, 3)), np.zeros(0))


def _joined(one: Cloud, other: Cloud) -> Cloud:
    return Cloud(np.concatenate([one.points, other.points]), np.concatenate([one.weights, other.weights]))


class BodyKind(NamedTuple):
    """How bodies of one kind are made."""

    make: Callable[[Generator], Cloud]
    share: float
    """Of all bodies."""
    compact: bool
    """Whether it may stand beside a target."""
    particle: bool = True
    """False for what a picker should not have picked."""


GROUPS: tuple[str, ...] = (
    *("C1", "C1", "C2", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C12", "C14"),
    *("D2", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "T", "O", "O", "I"),
)
"""What assemblies are drawn from, the commoner ones twice."""
KINDS: Mapping[str, BodyKind] = {
    "assembly": BodyKind(assembly, 0.58, compact=True),
    "elongated": BodyKind(elongated, 0.10, compact=True),
    "rna_protein": BodyKind(complex_with_rna, 0.08, compact=True),
    "nucleic_acid": BodyKind(nucleic_acid, 0.04, compact=True),
    "membrane_protein": BodyKind(membrane_protein, 0.08, compact=False),
    "filament": BodyKind(filament, 0.05, compact=False),
    "membrane": BodyKind(membrane, 0.02, compact=False, particle=False),
    "gold": BodyKind(gold_bead, 0.02, compact=False, particle=False),
    "ice": BodyKind(empty_ice, 0.02, compact=False, particle=False),
    "carbon": BodyKind(carbon_edge, 0.01, compact=False, particle=False),
}
KIND_NAMES = tuple(KINDS)
_SHARES = np.array([kind.share for kind in KINDS.values()])


@functools.lru_cache(maxsize=16_384)  # of 90 kB each
def cached_body(seed: int, index: int) -> Structure:
    """Return `body`, kept for the scenes to come: in single precision, each coordinate in one run."""
    made = body(seed, index)
    return Structure(made.name, np.asfortranarray(made.points, np.float32), made.masses.astype(np.float32))
