"""From the tilt images of one particle to its volume, in the frame of the tomogram: Fourier back-projection.

By the projection-slice theorem, an image is a central section of the particle's spectrum: the image's frequency (u, v)
is the volume's u·r0 + v·r1, where r0 and r1 are the first two rows of the projection. Each image is first multiplied by
its transfer: contrast transfer function at the particle's own depth, exposure filter, amplitude. Sections are shared
out trilinearly; what was summed is divided by the sum of the squared transfers, as Wiener's filter does for noise that
is white.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.typing import NDArray

from cryoreg.datasets.tilt_stacks.series import TiltSeries
from cryoreg.simulation.optics import wavelength

PAD = 2
"""Images and volumes are padded to so many times their edge: sections lie between the voxels of the spectrum."""
Floats = NDArray[np.float32]


class Reconstructed(NamedTuple):
    """A particle's volume and what is known of its spectrum."""

    volume: Floats
    """(D, H, W), axes z, y, x; the particle is at edge // 2."""
    weight: Floats
    """(D, H, W // 2 + 1), in the order of `torch.fft.rfftn`: the part of each coefficient that the volume holds."""


class Section(NamedTuple):
    """The frequencies of one image, on the padded grid, M of them: half of the disk below Nyquist."""

    u: NDArray[np.int64]
    """Along x."""
    v: NDArray[np.int64]
    """Along y."""


def section(edge: int) -> Section:
    """Return the frequencies of an image of an even ``edge``; of (0, v) and (0, −v), which are conjugates, one."""
    v, u = np.mgrid[-(edge // 2) : edge // 2, 0 : edge // 2 + 1]
    inside = (np.hypot(u, v) <= edge // 2 - 1) & ~((u == 0) & (v < 0))
    return Section(u[inside], v[inside])


class Backprojector:
    """Reconstructs the particles of one tilt series, each from images of ``edge`` pixels of ``pixel_size`` Å."""

    def __init__(self, series: TiltSeries, edge: int, pixel_size: float) -> None:
        self.edge, self.padded = edge, PAD * edge
        self.section = section(self.padded)
        self._series = series
        u, v = self.section
        self._k = np.stack([u, v]) / (self.padded * pixel_size)
        self._base, self._per_depth, self._envelope = _transfer_terms(series, self._k)
        self._insertion, self._mirrored = _insertion(series.rotations, self.section, self.padded)

    def of(self, series: TiltSeries) -> Backprojector:
        """Return the same with the transfer of another series, whose rotations are these."""
        other = copy(self)
        other._series = series
        other._base, other._per_depth, other._envelope = _transfer_terms(series, self._k)
        return other

    def transfer(self, position: NDArray[np.float64]) -> Floats:
        """Return the transfer of a particle's images (F, M), ``position`` being x, y, z in Å from the centre."""
        depth = self._series.defocus_slope * (self._series.rotations[:, 2] @ position)
        return self._envelope * np.sin(self._base + depth.astype(np.float32)[:, None] * self._per_depth)

    def reconstruct(
        self,
        images: Floats,
        seen: NDArray[np.bool_],
        position: NDArray[np.float64],
        shift: NDArray[np.float64],
        premultiplied: bool,
        wiener: float,
    ) -> Reconstructed:
        """Return the volume of a particle from its images (F, edge, edge), of which those ``seen`` (F,) are used.

        ``shift`` is where the particle lies, x, y, z in Å from the centre of the images. ``premultiplied`` images were
        multiplied by their transfer already. ``wiener`` is the noise over the signal where the summed weight is the
        mean.
        """
        transfer = self.transfer(position) * seen[:, None]
        spectra = self._spectra(images) * seen[:, None]
        if not premultiplied:
            spectra *= transfer
        if shift.any():
            at = self._series.rotations[:, :2] @ shift
            spectra *= np.exp(2j * np.pi * (at @ self._k)).astype(np.complex64)
        data, weight = self._insert(spectra, transfer**2)
        divisor = weight + wiener * weight[weight > 0].mean()
        return Reconstructed(self._volume(data / divisor), self._of_box(weight / divisor))

    def _spectra(self, images: Floats) -> NDArray[np.complex64]:
        """Return the transforms (F, M) of images about their pixel edge // 2."""
        first = self.padded // 2 - self.edge // 2
        padded = np.zeros((len(images), self.padded, self.padded), np.float32)
        padded[:, first : first + self.edge, first : first + self.edge] = images
        spectra = scipy.fft.rfft2(scipy.fft.ifftshift(padded, axes=(1, 2)), workers=1)
        return spectra[:, self.section.v, self.section.u]

    def _insert(self, spectra: NDArray[np.complex64], weights: Floats) -> tuple[NDArray[np.complex64], Floats]:
        """Return what sections and their weights sum up to in the half-spectrum."""
        parts = (spectra.real, np.where(self._mirrored, -spectra.imag, spectra.imag), weights)
        columns = np.stack([part.ravel() for part in parts], axis=1, dtype=np.float32)
        real, imaginary, weight = (self._insertion @ columns).T.reshape(3, *_half(self.padded))
        data = real + 1j * imaginary
        data[:, :, 0] += _opposite(data[:, :, 0]).conj()  # those just beyond x = 0 are the conjugates of these
        weight[:, :, 0] += _opposite(weight[:, :, 0])
        return data, weight

    def _volume(self, spectrum: NDArray[np.complex64]) -> Floats:
        """Return the central box of a volume, rid of what trilinear sharing multiplied it by."""
        inside = np.arange(self.edge) - self.edge // 2
        for axis in (0, 1):
            spectrum = np.take(scipy.fft.ifft(spectrum, axis=axis, workers=1), inside, axis=axis)
        volume = scipy.fft.irfft(spectrum, self.padded, axis=2, workers=1)[:, :, inside]
        kernel = (np.sinc(inside / self.padded) ** 2).astype(np.float32)
        return volume / (kernel[:, None, None] * kernel[:, None] * kernel)

    def _of_box(self, weight: Floats) -> Floats:
        """Return the weight at the frequencies of the box itself."""
        whole = PAD * np.round(scipy.fft.fftfreq(self.edge, 1 / self.edge)).astype(int)
        return np.ascontiguousarray(weight[np.ix_(whole, whole, PAD * np.arange(self.edge // 2 + 1))])


def _half(edge: int) -> tuple[int, int, int]:
    return edge, edge, edge // 2 + 1


def _opposite(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a plane of a spectrum (z, y) at −z, −y."""
    return np.roll(plane[::-1, ::-1], 1, axis=(0, 1))


def _transfer_terms(series: TiltSeries, k: NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
    """Return the phase of the CTF at the tomogram's centre (F, M), per Å of defocus (M,), and what it is multiplied by.

    The sine is positive at low frequency: density is bright in what RELION and WarpTools extract, and stays so.
    """
    squared, direction = (k**2).sum(axis=0), np.arctan2(k[1], k[0])
    length = wavelength(series.voltage)
    per_depth = np.pi * length * squared
    astigmatism = series.astigmatism[:, None] * np.cos(2 * (direction - series.azimuth[:, None]))
    aberration = 0.5 * np.pi * series.cs * 1e7 * length**3 * squared**2
    base = per_depth * (series.defocus[:, None] + astigmatism) - aberration
    base = base + series.phase_shift[:, None] + np.arcsin(series.amplitude_contrast)
    envelope = series.scale[:, None] * exposure_filter(squared, series.exposure)
    envelope = envelope * np.exp(-series.b_factor[:, None] / 4 * squared)
    return base.astype(np.float32), per_depth.astype(np.float32), envelope.astype(np.float32)


def exposure_filter(k_squared: NDArray[np.float64], exposure: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(−N / 2Ne), (F, M), for N electrons per Å2 before each image, at frequencies k² in 1/Å2.

    Ne = 0.245·k^−1.665 + 2.81 (Grant & Grigorieff 2015, eLife 4:e06980), as RELION and WarpTools have it.
    """
    with np.errstate(divide="ignore"):
        critical = 0.245 * k_squared ** (-1.665 / 2) + 2.81
    return np.exp(-exposure[:, None] / (2 * critical))


def _insertion(
    rotations: NDArray[np.float64], grid: Section, edge: int
) -> tuple[scipy.sparse.csr_matrix, NDArray[np.bool_]]:
    """Return the matrix that shares out sections (F·M,) among the half-spectrum, and which samples are conjugated."""
    points = grid.u * rotations[:, 0, :, None] + grid.v * rotations[:, 1, :, None]  # (F, 3, M): x, y, z
    mirrored = points[:, 0] < 0
    points = np.where(mirrored[:, None], -points, points).transpose(1, 0, 2).reshape(3, -1)
    below = np.floor(points)
    above = points - below
    shape = _half(edge)
    rows, shares = [], []
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (below + np.array(corner)[:, None]).astype(np.int64)
        rows.append(((z % edge) * edge + y % edge) * shape[2] + x)
        shares.append(np.prod(np.where(np.array(corner)[:, None] == 1, above, 1 - above), axis=0, dtype=np.float64))
    columns = np.tile(np.arange(points.shape[1]), 8)
    entries = (np.concatenate(shares).astype(np.float32), (np.concatenate(rows), columns))
    return scipy.sparse.csr_matrix(entries, shape=(int(np.prod(shape)), points.shape[1])), mirrored
