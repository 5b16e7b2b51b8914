"""Labels as a list of particles: the one that the data come from, with classes, or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cryoreg.contracts import Subtomograms
from cryoreg.errors import DataError
from cryoreg.files import readable
from cryoreg.inference.given_classes import as_predictions
from cryoreg.inference.subtomogram_table import csv_text, places_kept
from cryoreg.inference.writers import prepare_writer

FORMS = ("csv", "star", "tbl")
"""Endings of the files that there can be."""


def listed(dataset: Subtomograms, labels: Mapping[int, str], output: Path, classes: Sequence[str] = ()) -> bytes:
    """Return the content of ``output``: CSV (id, class, place), or the data's own list (.star, .tbl) with the classes.

    In a list, what has no label has class 0, and a class its number in ``classes``, from 1. Raises `DataError` where
    there are no labels, or the data come from no list of that kind.
    """
    if not labels:
        raise DataError("nothing has a label yet; label some first")
    rows = sorted(labels)
    if output.suffix.lower() == ".csv":
        place = places_kept(dataset, rows)
        return csv_text({"id": place.pop("id"), "class": [readable(labels[row]) for row in rows], **place}).encode()
    names = tuple(dict.fromkeys([*classes, *labels.values()]))
    numbers = [names.index(labels[row]) for row in rows]
    return prepare_writer(output, None, dataset, names)(as_predictions(dataset, rows, names, numbers))
