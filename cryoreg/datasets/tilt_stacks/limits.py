"""What the columns of contrast transfer can hold in RELION's units: values beyond are of another unit or sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.volume_files import refuse

Array = NDArray[np.float64]
_VOLTAGE, _CS, _CONTRAST = relion.MICROSCOPE
LIMITS = {
    _VOLTAGE: (20.0, 2000.0, "kV"),
    _CS: (-1.0, 20.0, "mm"),
    _CONTRAST: (0.0, 1.0, "a fraction"),
    relion.EXPOSURE: (0.0, np.inf, "electrons per Å²"),
    relion.CTF_SCALE: (0.0, np.inf, "an amplitude"),
    relion.PHASE_SHIFT: (-360.0, 360.0, "degrees"),
}
"""The smallest and largest value, and what is counted."""
_LEAST_DEFOCUS = 100.0
"""Å: where no tilt has as much, defocus was written in µm, or not estimated."""


def check_limits(path: str, column: str, values: Array) -> None:
    """Raise `DataError`, with the first bad row, where a column holds what cannot be in RELION's unit or sign."""
    if column in relion.DEFOCUS[:2]:
        _check_defocus(path, column, values)
    if column not in LIMITS:
        return
    low, high, unit = LIMITS[column]
    bad = np.flatnonzero((values < low) | (values > high))
    if len(bad):
        refuse(path, f"has {values[bad[0]]:g} for {column} in row {bad[0]}, which is {unit} in RELION; mend the column")


def _check_defocus(path: str, column: str, values: Array) -> None:
    told = f"has {column} from {values.min():g} to {values.max():g}, "
    if np.median(values) < 0:
        refuse(path, told + "and underfocus is positive in RELION; turn the sign")
    if np.abs(values).max() < _LEAST_DEFOCUS:
        refuse(path, told + "and RELION counts it in Å; mend the column, or estimate the CTF")


def decay_of(path: str, values: Array) -> Array:
    """Return B-factors (Å²) as those of a decay: Warp writes it with a minus, and nobody means growth.

    Raises `DataError` where a column has both signs.
    """
    if values.min() < 0 < values.max():
        refuse(
            path,
            f"has {relion.CTF_B_FACTOR} from {values.min():g} to {values.max():g}, decay and growth; export it again",
        )
    return np.abs(values)
