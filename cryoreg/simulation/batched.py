"""Scenes like those of `simulator`, a whole batch at a time in torch, on any device.

It takes its tables from the same microscope and means the same by every setting. Its draws are `SampleRng`'s, which are
the same on every device, so that its scenes are others than the simulator's of the same number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cryoreg.errors import ConfigError
from cryoreg.randomness import SampleRng
from cryoreg.simulation import optics
from cryoreg.simulation.microscope import Microscope
from cryoreg.simulation.packing import PULL, STEPS
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.streams import Purpose
from cryoreg.simulation.structures import Structure

BATCH = 512
"""Scenes at a time, of 48³ voxels with their pad: some 2 GB."""


class Drawn(NamedTuple):
    """What stands in some scenes, and where; the target is the first of each."""

    bodies: Tensor
    """int64 (B, M): indices of the structures."""
    rotations: Tensor
    """(B, M, 3, 3): laboratory = rotation @ structure."""
    centres: Tensor
    """(B, M, 3): x, y, z in Å from the crop's centre voxel."""
    optics: Tensor
    """(B, 2): resolution in Å, defocus in µm."""


class Scenes(NamedTuple):
    """Simulated subtomograms and how they were made."""

    volumes: Tensor
    """float32 (B, box, box, box), axes (z, y, x), on the device."""
    labels: Tensor
    """int64 (B,): indices of the targets among the structures."""
    drawn: Drawn
    snr_crop: Tensor
    """(B,): as in `Scene`; infinite without noise."""
    snr_box: Tensor


class BatchedSimulator:
    """Scenes by index: scene i depends on the structures, the settings, the seed and i alone, up to rounding."""

    def __init__(
        self, structures: Sequence[Structure], settings: SceneSettings, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        """Take what `Simulator` takes; raise `ConfigError` for tilt series and for neighbours placed one by one."""
        if settings.mode != "fast" or (settings.neighbours and settings.packing != "gradient"):
            raise ConfigError("scenes in batches are imaged in mode 'fast', and their neighbours packed by 'gradient'")
        self.settings, self.seed, self.device = settings, seed, torch.device(device)
        self.scope = scope = Microscope(settings.model_copy(update={"precision": "single"}))
        self.points = self._on_device(np.concatenate([body.points for body in structures]))
        self.masses = self._on_device(np.concatenate([body.masses for body in structures]))
        self.counts = torch.tensor([len(body.points) for body in structures], device=self.device)
        self.radii = self._on_device([body.radius for body in structures])
        self.weights = self._on_device([body.mass for body in structures])
        densities = (optics.splat(b.points, b.masses, scope.shape, settings.voxel_size) for b in structures)
        self.power = self._on_device([scope.shell_power(density) * scope.measured[:-1] for density in densities])
        self.shell = torch.from_numpy(scope.measured_shell).to(self.device)

    def scenes(self, indices: Iterable[int]) -> Iterator[Scenes]:
        """Simulate scenes in the order of their indices, a batch at a time."""
        waiting = iter(indices)
        while batch := list(islice(waiting, BATCH)):
            yield self.batch(torch.tensor(batch))

    def batch(self, indices: Tensor) -> Scenes:
        """Simulate the scenes of some indices, int64 (B,), together."""
        rng = SampleRng.for_batch(self.seed, Purpose.SCENE, indices.to(self.device), view=0)
        drawn = self.draw(rng, indices.to(self.device))
        noise = white_spectra(rng, self.scope.edge) if math.isfinite(self.settings.snr) else None
        return self.image(drawn, noise)

    def draw(self, rng: SampleRng, indices: Tensor) -> Drawn:
        """Draw what is in the scenes of some indices (B,), and pack it."""
        settings, others = self.settings, self.settings.neighbours
        shift = rng.uniform((1, 3), -1, 1) * (settings.max_shift * settings.voxel_size)
        ranges = torch.tensor([settings.resolution, settings.defocus], device=self.device)
        drawn = ranges[:, 0] + rng.uniform((2,)) * (ranges[:, 1] - ranges[:, 0])
        chosen = (rng.uniform((others,)) * len(self.counts)).long().clamp_max(len(self.counts) - 1)
        bodies = torch.cat([indices[:, None] % len(self.counts), chosen], dim=1)
        radii = self.radii[bodies]
        starts = rng.normal((1 + others, 3)) * radii.sum(dim=1)[:, None, None]
        packed = pack(starts, radii)
        return Drawn(bodies, rotations(rng.normal((1 + others, 4))), packed - packed[:, :1] + shift, drawn)

    def image(self, drawn: Drawn, noise: Tensor | None) -> Scenes:
        """Splat, image and add noise, given as the half-spectra (B, D, H, W // 2 + 1) of white noise or None.

        Noise gets variance 1 and signal variance snr in the region (without noise: the target 1, in the crop).
        """
        transfer, passed = self._filters(drawn.optics)
        spectra = torch.fft.rfftn(self.splat(drawn), dim=(2, 3, 4)) * transfer[:, self.shell][:, None]
        target, crowd = self.crop(spectra).unbind(1)
        labels = drawn.bodies[:, 0]
        variances = torch.stack([_variance(target), self._box_variance(drawn, transfer, spectra[:, 0])], dim=1)
        if noise is None:
            endless = torch.full_like(variances[:, 0], math.inf)
            volumes = (target + crowd) / variances[:, 0].sqrt()[:, None, None, None]
            return Scenes(volumes, labels, drawn, endless, endless)
        spectrum = noise * passed[:, self.shell]
        grain = self.crop(spectrum)
        noises = torch.stack([_variance(grain), self._energy(spectrum) / self.scope.edge**3], dim=1)
        region = ("crop", "box").index(self.settings.snr_region)
        gains = (self.settings.snr / variances[:, region]).sqrt(), noises[:, region].rsqrt()
        signal_gain, noise_gain = (gain[:, None, None, None] for gain in gains)
        ratios = (gains[0] / gains[1]).square()[:, None] * variances / noises
        volumes = (target + crowd) * signal_gain + grain * noise_gain
        return Scenes(volumes, labels, drawn, ratios[:, 0], ratios[:, 1])

    def splat(self, drawn: Drawn) -> Tensor:
        """Return the mass per voxel (B, 2, D, H, W): the target's, and that of all others."""
        count, edge, rim = len(drawn.bodies), self.scope.edge, self.scope.edge + 2
        bodies, others = drawn.bodies.flatten(), drawn.bodies.shape[1]
        owner = torch.repeat_interleave(torch.arange(len(bodies), device=self.device), self.counts[bodies])
        first = self.counts.cumsum(0) - self.counts
        started = self.counts[bodies].cumsum(0) - self.counts[bodies]
        point = first[bodies][owner] + torch.arange(len(owner), device=self.device) - started[owner]
        turned = (drawn.rotations.flatten(0, 1)[owner] * self.points[point][:, None]).sum(-1)
        position = (turned + drawn.centres.flatten(0, 1)[owner]).flip(1) / self.settings.voxel_size + edge // 2
        lower = position.floor()
        inside = ((lower >= -1) & (lower < edge)).all(dim=1)
        share, cell, owner = (position - lower)[inside], lower[inside].long() + 1, owner[inside]
        density = torch.zeros(count * 2 * rim**3, device=self.device)
        volume = owner // others * 2 + (owner % others > 0)
        mass = self.masses[point][inside]
        for corner in np.ndindex(2, 2, 2):
            weight = mass
            index = volume
            for axis, far in enumerate(corner):
                weight = weight * (share[:, axis] if far else 1 - share[:, axis])
                index = index * rim + cell[:, axis] + far
            density.index_add_(0, index, weight)
        return density.view(count, 2, rim, rim, rim)[..., 1:-1, 1:-1, 1:-1]

    def crop(self, spectra: Tensor) -> Tensor:
        """Return the middle (..., box, box, box) of the inverse transforms."""
        inside = slice(self.settings.pad, self.settings.pad + self.settings.box)
        lines = torch.fft.ifft(spectra, dim=-3)[..., inside, :, :]
        lines = torch.fft.ifft(lines, dim=-2)[..., inside, :]
        return torch.fft.irfft(lines, n=self.scope.edge, dim=-1)[..., inside]

    def _filters(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return the filters of signal and noise by shell, (B, shells); where scenes have the same, (1, shells)."""
        fixed = all(low == high for low, high in (self.settings.resolution, self.settings.defocus))
        pairs = drawn[:1].tolist() if fixed else drawn.tolist()
        transfer = [self.scope.transfer(resolution, defocus) for resolution, defocus in pairs]
        passed = [self.scope.noise_filter(defocus) for _, defocus in pairs]
        return self._on_device(transfer), self._on_device(passed)

    def _box_variance(self, drawn: Drawn, transfer: Tensor, own: Tensor) -> Tensor:
        """Return the variance of target and neighbours in an otherwise empty cube of `snr_box` voxels."""
        voxels = float(self.settings.snr_box**3)
        expected = transfer[:, :-1].square() @ self.power.T / self.scope.edge**3
        others = expected.expand(len(own), -1).gather(1, drawn.bodies[:, 1:]).sum(dim=1)
        mean = self.weights[drawn.bodies].sum(dim=1) * transfer[:, 0] / voxels
        return (self._energy(own) + others) / voxels - mean.square()

    def _energy(self, spectra: Tensor) -> Tensor:
        """Return the sums of squares (B,) over all voxels of the padded box (Parseval)."""
        planes = torch.view_as_real(spectra).square().sum(dim=(1, 2, 4))
        return planes @ self._on_device(self.scope.multiplicity) / self.scope.edge**3

    def _on_device(self, values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)


def _variance(volumes: Tensor) -> Tensor:
    return volumes.flatten(1).var(dim=1, correction=0)


def rotations(normals: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3), uniform over SO(3), from normal numbers (..., 4), taken as quaternions."""
    w, x, y, z = torch.nn.functional.normalize(normals, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def pack(starts: Tensor, radii: Tensor) -> Tensor:
    """Do what `packing.pack` does."""
    reach = radii[:, :, None] + radii[:, None]
    own = torch.eye(radii.shape[1], dtype=torch.bool, device=radii.device)
    centres = starts

    def distances() -> tuple[Tensor, Tensor]:
        apart = centres[:, :, None] - centres[:, None]
        return apart, apart.norm(dim=-1).clamp_min(1e-6).masked_fill(own, math.inf)

    for step in range(STEPS):
        apart, distance = distances()
        push = (apart * (0.5 * (reach - distance).clamp_min(0) / distance)[..., None]).sum(dim=2)
        centres = centres - PULL * (1 - step / STEPS) * (centres - centres.mean(dim=1, keepdim=True)) + push
    growth = (reach / distances()[1]).amax(dim=(1, 2)).clamp_min(1) * (1 + 1e-6)
    return centres * growth[:, None, None]


def white_spectra(rng: SampleRng, edge: int) -> Tensor:
    """Do what `microscope.white_spectrum` does, one (D, H, W // 2 + 1) for each stream."""
    bits = rng.bits((edge, edge, edge // 2 + 1))
    radius = (_unit(bits >> 32).log() * -float(edge**3)).sqrt()
    spectra = torch.polar(radius, _unit(bits) * (2 * math.pi))
    for plane in (0,) if edge % 2 else (0, edge // 2):
        half = spectra[..., plane]
        mirrored = half.flip((1, 2)).roll((1, 1), (1, 2)).conj()
        spectra[..., plane] = (half + mirrored) * math.sqrt(0.5)
    return spectra


def _unit(bits: Tensor) -> Tensor:
    """Return numbers of (0, 1] from the last 32 bits."""
    return ((bits & 0xFFFFFFFF).float() + 0.5) * 2.0**-32
