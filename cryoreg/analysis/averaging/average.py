"""Two half sets, aligned each by itself from the start, and how far their averages agree.

Whatever two averages of noise have in common was put there by a reference that both saw (Grigorieff 2000, Acta Cryst.
D56:1270; Scheres and Chen 2012, Nat. Methods 9:853). Here they share none: each half begins from one of its own. At the
end the second is turned onto the first as a whole, by six numbers; what agreement such a turn finds in
volumes that agree in nothing is measured, too, on the second half with random phases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from cryoreg.analysis.averaging.alignment import (
    Particles,
    Poses,
    add_up,
    ball,
    frequencies,
    grid_of_shifts,
    read,
    refine,
    search,
    small_turns,
    spectra_of,
)
from cryoreg.contracts import TiltAxis
from cryoreg.picking.ranking import uniform_rotations

COARSE = 1500
"""Rotations of the first search: 20° from one to the next."""
_COARSE_SHELLS = 6
_STARTS = 4
"""Particles of a half with which it may begin."""
_LOOKED_AT = 48
"""Particles by which the best beginning is found."""
_ROUNDS = ((12.0, 1.0), (8.0, 1.0), (5.0, 0.5), (3.0, 0.5))
"""Degrees and voxels of the steps in each round that refines."""
_FINEST = 0.75
"""Shells that alignment sees at last, as a share of those up to Nyquist: the others judge."""
_RANDOM = 3
"""Volumes with random phases."""
_FEWEST = 4


class Averaged(NamedTuple):
    """What N particles look like."""

    volume: Tensor
    """(D, D, D), of all."""
    halves: tuple[Tensor, Tensor]
    """Of each half, the second turned onto the first."""
    fsc: Tensor
    """(S,): Fourier shell correlation of the halves under a soft ball; shell i is at i / D periods per voxel."""
    chance: Tensor
    """(S,): the highest that volumes with random phases reach, turned likewise."""
    poses: Poses
    """Of all, in the order of the input, in the frame of the first half."""

    @property
    def real(self) -> bool:
        """Whether the halves agree better than volumes that have nothing in common, over the shells that align."""
        low = slice(1, _COARSE_SHELLS + 1)
        return float(self.fsc[low].mean()) > float(self.chance[low].mean()) + 0.1

    def resolution(self, threshold: float, voxel_size: float | None) -> float | None:
        """Return where the FSC first falls below a threshold, Å or voxels; None where the halves do not agree.

        Between shells the curve is a straight line; at best the resolution is that of the last shell.
        """
        curve = self.fsc.tolist()
        if not self.real or curve[1] < threshold:
            return None
        below = next((shell for shell in range(2, len(curve)) if curve[shell] < threshold), None)
        if below is None:
            shell = float(len(curve) - 1)
        else:
            shell = below - (threshold - curve[below]) / (curve[below - 1] - curve[below])
        return self.volume.shape[-1] / shell * (voxel_size or 1)


def average(
    volumes: Tensor,
    tilts: Tensor,
    axis: TiltAxis = "y",
    seed: int = 0,
    reach: float | None = None,
    rotations: int = COARSE,
    say: Callable[[str], object] = lambda line: None,
) -> Averaged:
    """Align volumes (N, D, D, D) in two halves, and average them.

    ``tilts`` (N, 2) are the smallest and largest tilt of each, degrees; −90 and 90: no wedge is missing. ``reach`` is
    how far from the centre particles may lie, in voxels; an eighth of the box unless given. ``rotations`` are
    tried in the first search. Needs eight particles.
    """
    assert len(volumes) >= 2 * _FEWEST
    edge = volumes.shape[-1]
    reach = edge / 8 if reach is None else reach
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(volumes), generator=generator)
    rows = order[: len(order) // 2], order[len(order) // 2 :]
    particles = Particles.of(volumes, tilts, axis)
    everywhere = torch.from_numpy(uniform_rotations(rotations)).float()
    sums, poses = [], []
    for number, half in enumerate(rows, 1):
        found = _aligned(particles.take(half), everywhere, reach, generator, partial(_say_of_half, say, number))
        sums.append(add_up(particles.take(half), found))
        poses.append(found)
    one, other = (each.volume(edge) for each in sums)
    gauge = _onto(one, other, reach)
    poses[1] = _moved(poses[1], gauge)
    sums[1] = add_up(particles.take(rows[1]), poses[1])
    halves = one, sums[1].volume(edge)
    chance = torch.stack([_agreement_by_chance(one, other, reach, generator) for _ in range(_RANDOM)])
    back = order.argsort()
    everyone = Poses(*(torch.cat(parts)[back] for parts in zip(*poses, strict=True)))
    return Averaged((sums[0] + sums[1]).volume(edge), halves, shell_correlation(*halves), chance.amax(0), everyone)


def _say_of_half(say: Callable[[str], object], number: int, line: str) -> None:
    say(f"half {number}: {line}")


def _aligned(
    particles: Particles, everywhere: Tensor, reach: float, generator: torch.Generator, say: Callable[[str], object]
) -> Poses:
    """Return poses after rounds from coarse to fine, each against the average of the round before."""
    edge = particles.edge
    shifts, shells = grid_of_shifts(reach, max(1.0, edge / 16)), min(_COARSE_SHELLS, edge // 2 - 1)
    poses = _begin(particles, everywhere, shifts, shells, generator)
    for _ in range(2):
        poses = search(particles, _reference(particles, poses), everywhere, shifts, shells)
        say(f"up to shell {shells}, correlation {poses.scores.mean():.3f}")
    finest = max(shells, math.floor(_FINEST * (edge // 2)))
    for number, (degrees, step) in enumerate(_ROUNDS, 1):
        steps = grid_of_shifts(step * math.sqrt(3), step)
        seen = shells + (finest - shells) * number // len(_ROUNDS)
        reference = _reference(particles, poses)
        poses = refine(particles, reference, poses, small_turns(degrees), steps, seen, reach)
        say(f"up to shell {seen}, steps of {degrees:g}°, correlation {poses.scores.mean():.3f}")
    return poses


def _begin(particles: Particles, rotations: Tensor, shifts: Tensor, shells: int, generator: torch.Generator) -> Poses:
    """Return poses against the particle, of a few, that others resemble most."""
    drawn = torch.randperm(len(particles.spectra), generator=generator)
    some = particles.take(drawn[:_LOOKED_AT])
    tried = [search(some, particles.spectra[first : first + 1], rotations, shifts, shells) for first in drawn[:_STARTS]]
    best = max(range(len(tried)), key=lambda number: float(tried[number].scores.median()))
    return search(particles, particles.spectra[drawn[best] : drawn[best] + 1], rotations, shifts, shells)


def _reference(particles: Particles, poses: Poses) -> Tensor:
    """Return the spectrum of the average under a soft ball."""
    return spectra_of((add_up(particles, poses).volume(particles.edge) * ball(particles.edge))[None])


def _onto(one: Tensor, other: Tensor, reach: float) -> Poses:
    """Return the pose of one volume in another's frame, of which no wedge is missing: from ``one`` to ``other``."""
    edge = one.shape[-1]
    full = torch.tensor([[-90.0, 90.0]])
    volume, reference = Particles.of(other[None], full, "y"), spectra_of((one * ball(edge))[None])
    rotations = torch.from_numpy(uniform_rotations(2 * COARSE)).float()
    shells = min(_COARSE_SHELLS, edge // 2 - 1)
    pose = search(volume, reference, rotations, grid_of_shifts(reach, 1.0), shells)
    for degrees, step in ((10.0, 1.0), (5.0, 0.5), (2.5, 0.5), (1.2, 0.25), (0.6, 0.25)):
        steps = grid_of_shifts(step * math.sqrt(3), step)
        pose = refine(volume, reference, pose, small_turns(degrees), steps, shells, reach)
    return pose


def _moved(poses: Poses, gauge: Poses) -> Poses:
    """Return the poses of particles in another frame: the reference itself has the pose ``gauge`` there."""
    turn, shift = gauge.rotations[0], gauge.shifts[0]
    return Poses(poses.rotations @ turn, poses.shifts + poses.rotations @ shift, poses.scores)


def _agreement_by_chance(one: Tensor, other: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Return the FSC of a volume with another one of random phases, turned onto it."""
    edge = one.shape[-1]
    white = torch.fft.fftn(torch.randn(other.shape, generator=generator))
    random = torch.fft.ifftn(torch.fft.fftn(other).abs() * white / white.abs()).real
    pose = _onto(one, random, reach)
    everything = Particles.of(random[None], torch.tensor([[-90.0, 90.0]]), "y")
    return shell_correlation(one, add_up(everything, pose).volume(edge))


def shell_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return the Fourier shell correlation (D // 2,) of two volumes (D, D, D) under a soft ball; shell 0 is 1."""
    edge = one.shape[-1]
    k = frequencies(edge, edge)
    first, second = (read(spectra_of((each * ball(edge))[None]), k, edge)[0] for each in (one, other))
    shell = (k.norm(dim=1) * edge).round().long()
    cross, own, others = (
        torch.zeros(int(shell.max()) + 1).index_add(0, shell, values)
        for values in ((first * second.conj()).real, first.abs().square(), second.abs().square())
    )
    curve = cross / (own * others).sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    curve[0] = 1
    return curve[: edge // 2]
