"""Predictions as a table of places, which `cryoreg copick-picks` takes. Imports neither copick nor numpy."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryoreg.errors import DataError
from cryoreg.seams import Writer

if TYPE_CHECKING:
    from cryoreg.contracts import Subtomograms
    from cryoreg.predictions import Predictions

_HEADER = ("tomogram", "x_angstrom", "y_angstrom", "z_angstrom", "class", "confidence")


class PlacesWriter(Writer):
    """CSV of places in Å with tomogram, class and confidence, for ``cryoreg copick-picks``: say ``--format copick``."""

    suffix = ".csv"

    def prepare(
        self, output: Path, dataset: Subtomograms, classes: Sequence[str]
    ) -> Callable[[Predictions], str | bytes]:
        """Raise `DataError` where the data are not cut from tomograms of a known voxel size."""
        places = _places(dataset)
        origins = [dataset.origin(index) for index in range(len(dataset))]
        sizes = [origin.voxel_size if origin else None for origin in origins]
        if places is None or not all(sizes) or not all(dataset.groups):
            raise DataError(f"{output}: the data are not cut from tomograms of a known voxel size; write CSV or STAR")
        rows = {
            name: (group, *(f"{value * (size or 0.0):.3f}" for value in place))
            for name, group, place, size in zip(dataset.ids, dataset.groups, places.tolist(), sizes, strict=True)
        }
        return lambda predictions: _table(predictions, rows)


def _places(dataset: object) -> Any:
    """Return x, y, z of each in voxels of its tomogram, (N, 3); None of volumes that were cut out elsewhere.

    These know no more than ``positions``, which may be in any unit.
    """
    while dataset is not None and not hasattr(dataset, "places"):
        dataset = getattr(dataset, "dataset", None)
    return getattr(dataset, "places", None)


def _table(predictions: Predictions, rows: dict[str, tuple[str | None, ...]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_HEADER)
    for name, which, confidence in zip(predictions.ids, predictions.predictions, predictions.confidences, strict=True):
        table.writerow([*rows[name], predictions.classes[which], f"{confidence:.4f}"])
    return text.getvalue()
