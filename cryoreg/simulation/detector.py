"""The detector's modulation transfer function, as RELION lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoreg.errors import DataError
from cryoreg.files import require_file

FREQUENCY, VALUE = "rlnResolutionInversePixel", "rlnMtfValue"


def read_mtf(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies (cycles per detector pixel, rising) and values; raise `DataError` where there are none."""
    table = _read(path)
    try:
        frequencies, values = (np.asarray(table[name], dtype=np.float64) for name in (FREQUENCY, VALUE))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: has no numbers in columns {FREQUENCY} and {VALUE}; give an MTF file of RELION"
        ) from None
    rising = len(frequencies) > 1 and (np.diff(frequencies) > 0).all()
    if not (rising and np.isfinite(values).all() and (values >= 0).all() and (values > 0).any()):
        raise DataError(f"{path}: is no MTF: frequencies must rise, and values be finite and not negative")
    return frequencies, values


def _read(path: Path) -> Any:
    import starfile

    require_file(path, DataError)
    try:
        return starfile.read(path)
    except OSError as error:
        raise DataError(f"cannot read the MTF {path}: {error.strerror or error}; check the path") from error
    except Exception as error:  # whatever its parser stumbles over
        raise DataError(f"{path}: is not a STAR file: {error}".splitlines()[0]) from error
