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
        boxes = _boxes(dataset)
        sizes = [] if boxes is None else [_spacing(boxes.tomograms[number]) for number in boxes.which]
        if boxes is None or not all(sizes) or not all(dataset.groups):
            raise DataError(f"{output}: the data are not cut from tomograms of a known voxel size; write CSV or STAR")
        rows = {
            name: (group, *(f"{value * size:.3f}" for value in place))
            for name, group, place, size in zip(dataset.ids, dataset.groups, boxes.places.tolist(), sizes, strict=True)
        }
        return lambda predictions: _table(predictions, rows)


def _boxes(dataset: object) -> Any:
    """Return what cuts boxes out of tomograms, and knows their places; None of volumes that were cut out elsewhere.

    These know no more than ``positions``, which may be in any unit.
    """
    while dataset is not None and not hasattr(dataset, "places"):
        dataset = getattr(dataset, "dataset", None)
    return dataset


def _spacing(tomogram: Any) -> Any:
    """Return the Å by which copick places picks in a tomogram, whatever voxel size is told; of others, that."""
    return getattr(tomogram, "spacing", tomogram.voxel_size)


def _table(predictions: Predictions, rows: dict[str, tuple[str | None, ...]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_HEADER)
    for name, which, confidence in zip(predictions.ids, predictions.predictions, predictions.confidences, strict=True):
        table.writerow([*rows[name], predictions.classes[which], f"{confidence:.4f}"])
    return text.getvalue()
