"""What the microscope does to each spatial frequency, as functions of k², the missing wedge apart.

    signal = MTF · envelope · contrast · low-pass · resolution
    noise  = √( f·N[MTF · envelope · contrast]² + (1 − f)·N[MTF]² )

with N[·] scaled to a mean square of 1 over the frequencies measured, and f the share of the noise that has passed the
lens. Two independent Gaussian noises add in power, so that one draw serves both. Contrast is −CTF (density white) or
its modulus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryoreg.simulation import optics
from cryoreg.simulation.detector import read_mtf
from cryoreg.simulation.settings import SceneSettings

Array = NDArray[np.float64]


class Filters:
    """The filters of some settings; every method takes k² in 1/Å2 and keeps its shape."""

    def __init__(self, settings: SceneSettings) -> None:
        """Take the settings; raise `DataError` where an MTF file cannot be read."""
        self.settings = settings
        self._curve = read_mtf(settings.mtf_star) if settings.mtf_star else None

    def signal(self, k_squared: Array, resolution: float, defocus: float) -> Array:
        """Return the filter from density to image."""
        nyquist = 1 / (2 * self.settings.voxel_size)
        passed = k_squared <= (self.settings.low_pass * nyquist * (1 + 1e-9)) ** 2
        lens = self.lens(k_squared, defocus)
        return optics.gaussian(k_squared, resolution) * passed * lens * self.mtf(k_squared)

    def noise(self, k_squared: Array, defocus: float, weights: Array) -> Array:
        """Return the filter from white noise to the image's, of mean square 1 under the weights of the frequencies."""
        share, mtf = self.settings.noise_before, self.mtf(k_squared)
        before, after = (_unit_power(table, weights) for table in (self.lens(k_squared, defocus) * mtf, mtf))
        return np.sqrt(share * before + (1 - share) * after)

    def lens(self, k_squared: Array, defocus: float) -> Array:
        """Return contrast transfer and envelope."""
        settings = self.settings
        ctf = optics.ctf(k_squared, defocus, settings.cs, settings.voltage, settings.amplitude_contrast)
        return (np.abs(ctf) if settings.phase_flip else -ctf) * optics.envelope(k_squared, settings.b_factor)

    def mtf(self, k_squared: Array) -> Array:
        """Return the detector's modulation transfer function."""
        cycles_per_pixel = np.sqrt(k_squared) * (self.settings.pixel_size or self.settings.voxel_size)
        if self._curve is None:
            return self.settings.mtf_nyquist ** (2 * cycles_per_pixel) ** 2
        return np.interp(cycles_per_pixel, *self._curve)


def _unit_power(filter_: Array, weights: Array) -> Array:
    mean = float(np.sum(weights * filter_**2) / np.sum(weights))
    return filter_**2 / mean if mean else filter_**2
