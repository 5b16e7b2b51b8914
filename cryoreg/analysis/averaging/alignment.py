"""Subtomograms against a reference, by correlation over the frequencies that each of them has measured.

A particle is p(x) = s(Rᵀ(x − t)) seen through its missing wedge W: P(k) = W(k)·S(Rᵀk)·exp(−2πi k·t). The constrained
correlation compares it with the turned reference under the same wedge, normalised by what of that is left there
(Förster et al. 2005, PNAS 102:4729; Frangakis et al. 2002, PNAS 99:14153). The average is Σ Wᵢ·Pᵢ over Σ Wᵢ, all
turned back (as in Dynamo and RELION). Axes are (z, y, x), frequencies in periods per voxel, origins at edge // 2.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from cryoreg.augmentations.rotations import rotation_of_quaternion
from cryoreg.contracts import TiltAxis

_PAD = 2
"""Volumes are padded by this before they are transformed, so that spectra can be read between their points."""
_RIM = 1e-3
"""Degrees: a frequency on the wedge's rim is measured."""
_BATCH = 2**22
"""Points of spectra that are read at a time."""


class Poses(NamedTuple):
    """How each of N particles lies."""

    rotations: Tensor
    """(N, 3, 3), float32, of columns z, y, x: from the reference to the particle."""
    shifts: Tensor
    """(N, 3): voxels, from the box's centre to the particle's."""
    scores: Tensor
    """(N,): the constrained correlation, between −1 and 1."""


class Particles(NamedTuple):
    """N subtomograms as spectra."""

    spectra: Tensor
    """(N, 2, P, P, P): real and imaginary part, frequency 0 at P // 2."""
    tilts: Tensor
    """(N, 2): the smallest and largest tilt, degrees."""
    axis: TiltAxis
    edge: int

    @classmethod
    def of(cls, volumes: Tensor, tilts: Tensor, axis: TiltAxis) -> Self:
        """Take volumes (N, D, D, D), which get mean 0, standard deviation 1 and a soft ball as their mask."""
        flat = volumes - volumes.mean((1, 2, 3), keepdim=True)
        scaled = flat / flat.std((1, 2, 3), keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        return cls(spectra_of(scaled * ball(volumes.shape[-1])), tilts, axis, volumes.shape[-1])

    def take(self, rows: Tensor) -> Self:
        """Return some of them."""
        return self._replace(spectra=self.spectra[rows], tilts=self.tilts[rows])


def ball(edge: int, width: float = 3.0) -> Tensor:
    """Return a ball (D, D, D) that fits the box, with a cosine edge ``width`` voxels wide."""
    line = torch.arange(edge) - edge // 2
    radius = torch.stack(torch.meshgrid(line, line, line, indexing="ij")).float().norm(dim=0)
    inside = ((edge / 2 - 1 - radius) / width).clamp(0, 1)
    return 0.5 - 0.5 * torch.cos(math.pi * inside)


def spectra_of(volumes: Tensor) -> Tensor:
    """Return the spectra (N, 2, P, P, P) of volumes (N, D, D, D), such that linear interpolation reads them well.

    Linear interpolation multiplies a volume by sinc²(x / P) along each axis, which is divided out first.
    """
    edge = volumes.shape[-1]
    size = _PAD * edge
    before = size // 2 - edge // 2
    line = torch.sinc((torch.arange(edge) - edge // 2) / size).square().to(volumes)
    even = volumes / (line[:, None, None] * line[:, None] * line)
    padded = torch.nn.functional.pad(even, (before, size - edge - before) * 3)
    axes = (-3, -2, -1)
    spectra = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(padded, axes), dim=axes), axes)
    return torch.stack([spectra.real, spectra.imag], dim=1)


def read(spectra: Tensor, k: Tensor, edge: int) -> Tensor:
    """Return spectra (N, 2, P, P, P) at frequencies (N, M, 3), or at (M, 3) the same for all: complex (N, M)."""
    size = spectra.shape[-1]
    points = (k * edge * _PAD + size // 2) * (2 / (size - 1)) - 1
    grid = points.flip(-1).expand(len(spectra), -1, 3)[:, None, None]
    found = torch.nn.functional.grid_sample(spectra, grid, align_corners=True)[:, :, 0, 0]
    return torch.complex(found[:, 0], found[:, 1])


def frequencies(edge: int, shells: float) -> Tensor:
    """Return half of the frequencies (M, 3) of a box up to so many shells, without 0: others are conjugates."""
    reach = min(math.floor(shells), (edge - 1) // 2)
    line = torch.arange(-reach, reach + 1)
    k = torch.stack(torch.meshgrid(line, line, line[reach:], indexing="ij"), dim=-1).reshape(-1, 3)
    z, y, x = k.unbind(-1)
    half = (x > 0) | (x == 0) & ((y > 0) | (y == 0) & (z > 0))
    return k[half & (k.square().sum(1) <= shells**2)].float() / edge


def measured(k: Tensor, tilts: Tensor, axis: TiltAxis) -> Tensor:
    """Return which frequencies (N, M, 3) tilt series (N, 2) measure: 1 or 0, (N, M); see `fourier.wedge`."""
    across, along = k[..., 0], k[..., 2 if axis == "y" else 1]
    angle = torch.rad2deg(torch.atan2(torch.where(along < 0, -across, across), along.abs()))
    low, high = tilts[:, :1] - _RIM, tilts[:, 1:] + _RIM
    origin = (across.abs() + along.abs()) < 1e-6
    return ((angle >= low) & (angle <= high) | origin).float()


def phases(k: Tensor, shifts: Tensor) -> Tensor:
    """Return exp(2πi k·t), which moves back by t: frequencies (..., M, 3) and shifts (..., S, 3) give (..., S, M)."""
    turns = 2 * math.pi * (shifts @ k.transpose(-1, -2))
    return torch.complex(torch.cos(turns), torch.sin(turns))


def search(particles: Particles, reference: Tensor, rotations: Tensor, shifts: Tensor, shells: float) -> Poses:
    """Return the best pose of each particle among all rotations (K, 3, 3) and shifts (S, 3), up to so many shells.

    ``reference`` is the spectrum (1, 2, P, P, P) of one volume.
    """
    k = frequencies(particles.edge, shells)
    turned = read(reference, (k @ rotations).reshape(1, -1, 3), particles.edge).reshape(len(rotations), -1)
    moved = phases(k, shifts)
    found = []
    for low, high in particles.tilts.unique(dim=0).tolist():
        rows = torch.nonzero((particles.tilts == torch.tensor([low, high])).all(1))[:, 0]
        wedge = measured(k[None], torch.tensor([[low, high]]), particles.axis)
        seen = turned * wedge
        unit = seen / seen.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        for some in rows.split(max(1, _BATCH // (len(shifts) * len(rotations)))):
            spectra = read(particles.spectra[some], k, particles.edge) * wedge
            unit_spectra = spectra / spectra.norm(dim=1, keepdim=True)
            scores = _real_products(unit_spectra[:, None] * moved, unit)
            best = scores.flatten(1).max(1)
            shift, rotation = best.indices // len(rotations), best.indices % len(rotations)
            found.append((some, rotations[rotation], shifts[shift], best.values))
    rows, *fields = (torch.cat(parts) for parts in zip(*found, strict=True))
    order = rows.argsort()
    return Poses(*(field[order] for field in fields))


def refine(
    particles: Particles, reference: Tensor, poses: Poses, turns: Tensor, steps: Tensor, shells: float, reach: float
) -> Poses:
    """Return the best poses among those that small turns (K, 3, 3) and steps (S, 3) make of the given ones."""
    k = frequencies(particles.edge, shells)
    found = []
    for some in torch.arange(len(particles.spectra)).split(max(1, _BATCH // (len(turns) * len(k)))):
        rotations = turns @ poses.rotations[some][:, None]
        shifts = (poses.shifts[some][:, None] + steps).clamp(-reach, reach)
        points = (k @ rotations).reshape(1, -1, 3)
        turned = read(reference, points, particles.edge).reshape(len(some), len(turns), -1)
        wedge = measured(k[None].expand(len(some), -1, 3), particles.tilts[some], particles.axis)
        seen = turned * wedge[:, None]
        unit = seen / seen.norm(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        spectra = read(particles.spectra[some], k, particles.edge) * wedge
        moved = (spectra / spectra.norm(dim=1, keepdim=True))[:, None] * phases(k, shifts)
        best = _real_products(moved, unit).flatten(1).max(1)
        shift, turn = best.indices // len(turns), best.indices % len(turns)
        row = torch.arange(len(some))
        found.append((rotations[row, turn], shifts[row, shift], best.values))
    return Poses(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _real_products(one: Tensor, other: Tensor) -> Tensor:
    """Return Re ⟨a, b⟩ of complex rows: (..., S, M) and (..., K, M) give (..., S, K)."""
    return one.real @ other.real.transpose(-1, -2) + one.imag @ other.imag.transpose(-1, -2)


class Sums(NamedTuple):
    """What particles, turned back, add up to at half of the frequencies of a box."""

    signal: Tensor
    """Complex (M,)."""
    weight: Tensor
    """(M,): how many particles have measured a frequency."""

    def __add__(self, other: object) -> Sums:
        """Return the sums of both."""
        assert isinstance(other, Sums)
        return Sums(self.signal + other.signal, self.weight + other.weight)

    def volume(self, edge: int) -> Tensor:
        """Return the average (D, D, D): the sum of volumes over the sum of wedges, 0 where nobody has measured."""
        k = (frequencies(edge, edge) * edge).round().long()
        spectrum = torch.zeros((edge,) * 3, dtype=torch.complex64)
        mean = self.signal / self.weight.clamp_min(1)
        for sign, values in ((1, mean), (-1, mean.conj())):
            z, y, x = (sign * k % edge).unbind(-1)
            spectrum[z, y, x] = values
        return torch.fft.fftshift(torch.fft.ifftn(spectrum).real)


def add_up(particles: Particles, poses: Poses) -> Sums:
    """Return the sums of particles, each turned and shifted back."""
    k = frequencies(particles.edge, particles.edge)
    signal, weight = torch.zeros(len(k), dtype=torch.complex64), torch.zeros(len(k))
    for some in torch.arange(len(particles.spectra)).split(max(1, _BATCH // len(k))):
        own = k @ poses.rotations[some].transpose(-1, -2)
        wedge = measured(own, particles.tilts[some], particles.axis) * (own.abs().amax(-1) < 0.5)
        values = read(particles.spectra[some], own, particles.edge)
        back = phases(own, poses.shifts[some][:, None])[:, 0]
        signal += (values * back * wedge).sum(0)
        weight += wedge.sum(0)
    return Sums(signal, weight)


def small_turns(degrees: float) -> Tensor:
    """Return the turns (27, 3, 3) by 0 or ±``degrees`` about each axis, as rotation vectors."""
    line = torch.tensor([0.0, -1.0, 1.0], dtype=torch.float64) * math.radians(degrees) / 2
    half = torch.cartesian_prod(line, line, line)
    angle = half.norm(dim=1, keepdim=True)
    return rotation_of_quaternion(torch.cat([torch.cos(angle), half * torch.sinc(angle / math.pi)], dim=1)).float()


def grid_of_shifts(reach: float, step: float) -> Tensor:
    """Return the shifts (S, 3) of a cubic grid within ``reach`` voxels, 0 the first."""
    count = math.floor(reach / step)
    line = torch.arange(-count, count + 1) * step
    shifts = torch.cartesian_prod(line, line, line).float()
    inside = shifts[shifts.norm(dim=1) <= reach + 1e-6]
    return inside[inside.norm(dim=1).argsort(stable=True)]
