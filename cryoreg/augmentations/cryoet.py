"""The augmentation that knows how a subtomogram was measured: rotations under a missing wedge that stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cryoreg.augmentations import batched, fourier
from cryoreg.augmentations.rotations import half_turns, uniform_rotations
from cryoreg.contracts import Box
from cryoreg.randomness import SampleRng

RotationMode = Literal["so3", "wedge_preserving", "in_plane", "none"]
_DRAWS = 20
_EVERYTHING = 180.0
"""A tilt, in degrees, beyond every frequency: no missing wedge."""


class Parameters(NamedTuple):
    """What is drawn for a batch besides the noise itself: always everything, so that streams do not depend on chance.

    Numbers are float64, and all lie on the device of the streams.
    """

    rotation: Tensor
    """(B, 3, 3): the matrix by which density turns; with a mirror its determinant is −1."""
    shift: Tensor
    """(B, 3): how far density then moves along z, y and x, voxels."""
    zoom: Tensor
    """Factor by which density first grows (B,)."""
    low: Tensor
    """Lowest tilt of the laboratory's wedge, degrees (B,)."""
    high: Tensor
    """Highest tilt (B,)."""
    inverse_lowpass: Tensor
    """One over the low-pass filter's cut-off, a fraction of Nyquist (B,); 0: none."""
    highpass: Tensor
    """The high-pass filter's cut-off, a fraction of Nyquist (B,); 0: none."""
    rings: Tensor
    """Number of Thon rings up to Nyquist (B,)."""
    depth: Tensor
    """Depth of their modulation (B,)."""
    noise: Tensor
    """Standard deviation of the noise over that of the view without it (B,)."""
    colour: Tensor
    """β (B,): the noise's power falls as k^−β."""


@dataclass(frozen=True)
class CryoET:
    """Another look at the particle by the same microscope; `CryoETSpec` says what and why.

    One resampling, then one forward and one inverse Fourier transform, whose filters are fused. The fields are those
    of the spec.
    """

    rotation: RotationMode
    shift: float
    zoom: float
    mirror_p: float
    tilt_axis: fourier.TiltAxis
    tilt: float
    tilt_jitter: float
    tilt_edge: float
    wedge_p: float
    bandpass_p: float
    lowpass: float
    highpass: float
    ctf_p: float
    ctf_rings: tuple[float, float]
    ctf_depth: float
    noise_p: float
    noise: float
    noise_colour: float

    def __call__(self, x: Tensor, rng: SampleRng, weight: Tensor | None = None) -> Tensor:
        """Augment ``x`` (B, 1, D, H, W); each view has mean 0 and standard deviation 1.

        Where the part of each Fourier coefficient that was measured is known, ``weight`` (B, 1, D, H, W // 2 + 1), that
        is imposed again instead of the wedge of ``tilt``.
        """
        depth, height, width = x.shape[2:]
        return self.apply(x, self.draw(rng), fourier.white_noise(rng, (depth, height, width)), weight)

    def draw(self, rng: SampleRng) -> Parameters:
        """Draw the parameters of a batch."""
        # float64: rounded to float32 in the end, a sine is the same in any batch and nearly so on any device.
        u = rng.uniform((_DRAWS,)).double()
        wedged, filtered, modulated, noisy = (
            u[:, 12 + i] < p for i, p in enumerate((self.wedge_p, self.bandpass_p, self.ctf_p, self.noise_p))
        )
        jitter = self.tilt_jitter * (2 * u[:, 7:9] - 1)
        fewest, most = self.ctf_rings
        return Parameters(
            rotation=self._mirrored(self._rotations(u[:, :3]), u[:, 16] < self.mirror_p),
            shift=self.shift * (2 * u[:, 3:6] - 1),
            zoom=1 + self.zoom * (2 * u[:, 6] - 1),
            low=torch.where(wedged, -self.tilt + jitter[:, 0], -_EVERYTHING),
            high=torch.where(wedged, self.tilt + jitter[:, 1], _EVERYTHING),
            inverse_lowpass=u[:, 9] / self.lowpass * filtered,
            highpass=u[:, 10] * self.highpass * filtered,
            rings=fewest + (most - fewest) * u[:, 11],
            depth=u[:, 17] * self.ctf_depth * modulated,
            noise=u[:, 18] * self.noise * noisy,
            colour=u[:, 19] * self.noise_colour,
        )

    def _rotations(self, uniform: Tensor) -> Tensor:
        if self.rotation == "so3":
            return uniform_rotations(uniform)
        if self.rotation == "wedge_preserving":
            return half_turns(uniform[:, 0])
        if self.rotation == "in_plane":
            return batched.rotation_about_z(2 * math.pi * uniform[:, 0])
        return torch.eye(3, dtype=uniform.dtype, device=uniform.device).expand(len(uniform), 3, 3)

    @staticmethod
    def _mirrored(rotation: Tensor, mirrored: Tensor) -> Tensor:
        """Flip x before the rotation, where told to."""
        signs = torch.ones_like(rotation[:, 0])
        signs[:, 2] = 1 - 2 * mirrored.to(rotation.dtype)
        return rotation * signs[:, None, :]

    def apply(self, x: Tensor, parameters: Parameters, white: Tensor, weight: Tensor | None = None) -> Tensor:
        """Transform ``x`` (B, 1, D, H, W) by the given parameters, with noise made of ``white``, of the same shape."""
        p = Parameters(*(value.to(x.device, non_blocking=True) for value in parameters))
        depth, height, width = x.shape[2:]
        box = (depth, height, width)
        moved = batched.resample(x, batched.similarity(p.rotation, p.zoom, p.shift)) if self._moves() else x
        spectra = fourier.transform(torch.cat([moved, white.to(x.device, x.dtype)])).chunk(2)
        signal, noise = (fourier.filtered(s, by) for s, by in zip(spectra, self.filters(p, box, weight), strict=True))
        view = signal + fourier.filtered(noise, _as_volumes(p.noise.float() * _sd(signal, box) / _sd(noise, box)))
        return fourier.inverse(view, box) / _as_volumes(_sd(view, box))

    def filters(self, p: Parameters, box: Box, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what multiplies the spectra of the moved volumes, and of white noise: (B, 1, D, H, W // 2 + 1)."""
        k, _ = radii = fourier.radii(box, p.low.device)
        bandpass = fourier.gaussian(k, p.inverse_lowpass) * fourier.highpass(k, p.highpass)
        particle = bandpass * fourier.thon_rings(k, p.rings, p.depth)
        wedge = fourier.wedge(box, p.low, p.high, self.tilt_axis, self.tilt_edge)
        if weight is not None:
            wedge = torch.where(_as_volumes(p.high < _EVERYTHING), weight, 1.0)
        without_mean = k > 0
        return (
            wedge * radii.spread(particle * without_mean),
            wedge * radii.spread(fourier.coloured(k, p.colour) * without_mean),
        )

    def _moves(self) -> bool:
        """Whether anything is ever resampled."""
        return self.rotation != "none" or max(self.shift, self.zoom, self.mirror_p) > 0


def _sd(spectrum: Tensor, box: Box) -> Tensor:
    """Return the standard deviation (B,) of volumes whose mean is 0; not quite 0 for an empty volume."""
    return fourier.power(spectrum, box).sqrt().clamp_min(torch.finfo(torch.float32).tiny)


def _as_volumes(values: Tensor) -> Tensor:
    return values[:, None, None, None, None]
