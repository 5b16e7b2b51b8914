"""Predictions as a list of images of EMAN2 (``.lst``), with all that a list had, or new."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryoreg.contracts import Origin, Subtomograms
from cryoreg.datasets.io.eman2_lists import Row, is_list, list_text, read_rows
from cryoreg.datasets.io.volume_files import is_hdf5, refuse
from cryoreg.datasets.origins import origins_of
from cryoreg.errors import DataError
from cryoreg.inference.prediction_files import COLUMNS, DOUBTS, PREVIOUS
from cryoreg.predictions import Predictions, class_numbers

CLASS = "class"
"""EMAN2's word for the class, or for the half of the data, of an image."""
_NAME, _CONFIDENCE, _UNSURE = COLUMNS[1:]
_NOBODY = {CLASS: 0, _NAME: "none", _CONFIDENCE: 0.0, _UNSURE: 1}


def prepare_eman2(output: Path, dataset: Subtomograms) -> Callable[[Predictions], str]:
    """Return what turns predictions for ``dataset`` into a list of images, having made sure that it can.

    Raises `DataError` where the data are neither of one list nor of stacks of EMAN2.
    """
    origins = origins_of(dataset)
    files = list(dict.fromkeys(origin.file for origin in origins))
    lists = [file for file in files if os.path.isfile(file) and is_list(file)]
    if len(files) == 1 and lists:
        return partial(_kept_list, _rows_of(lists[0], origins))
    other = next((file for file in files if not (os.path.isfile(file) and is_hdf5(file))), None)
    if other is not None or any(origin.row is None for origin in origins):
        raise DataError(f"{output}: the data are no images of EMAN2, nor of one list of them ({other}); write CSV")
    named = next((file for file in files if "\t" in file or "\n" in file), None)
    if named is not None:
        refuse(named, "has a tab or line break in its name, which no list of EMAN2 can hold; rename it, or write CSV")
    return _new_list


def _rows_of(path: str, origins: Sequence[Origin]) -> list[Row]:
    rows = read_rows(path)
    if len(rows) <= max(origin.row or 0 for origin in origins):
        refuse(path, "has fewer rows than when it was read; restore it, or write CSV")
    bad = next((place for place, row in enumerate(rows) if row.said is None), None)
    if bad is not None:
        refuse(
            path,
            f"has a comment that is no JSON in row {bad}, as older programs write; let e2proclst.py rewrite it",
        )
    return rows


def _kept_list(rows: Sequence[Row], predictions: Predictions) -> str:
    """Return a list with the class of each image, 0 and "none" where it was not classified."""
    said = [_NOBODY] * len(rows)
    for origin, classified in zip(predictions.origins, _said(predictions), strict=True):
        assert origin.row is not None
        said[origin.row] = classified
    return list_text([row._replace(said=_with_class(row.said or {}, new)) for row, new in zip(rows, said, strict=True)])


def _with_class(said: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of an image with its new class; a class of others becomes ``cryoregPreviousClassNumber``."""
    foreign = CLASS in said and _NAME not in said
    previous = {PREVIOUS: said[CLASS]} if foreign else {}
    kept = {name: value for name, value in said.items() if name not in DOUBTS}
    return {**kept, **previous, **new}


def _new_list(predictions: Predictions) -> str:
    return list_text(
        [
            Row(origin.row or 0, os.path.abspath(origin.file), said)
            for origin, said in zip(predictions.origins, _said(predictions), strict=True)
        ]
    )


def _said(predictions: Predictions) -> list[dict[str, Any]]:
    """Return what is said of each classified image."""
    numbers = class_numbers(predictions.classes)
    strangers = predictions.doubts.strangers if predictions.doubts else None
    said = [
        {
            CLASS: numbers[place],
            _NAME: predictions.classes[place],
            _CONFIDENCE: round(confidence, 4),
            _UNSURE: int(unsure),
        }
        for place, confidence, unsure in zip(
            predictions.predictions.tolist(),
            predictions.confidences.tolist(),
            predictions.unsure.tolist(),
            strict=True,
        )
    ]
    if strangers is None:
        return said
    doubts = zip(strangers.familiarity.tolist(), strangers.none_of_these.tolist(), strict=True)
    return [
        each | dict(zip(DOUBTS, (round(familiarity, 4), int(none)), strict=True))
        for each, (familiarity, none) in zip(said, doubts, strict=True)
    ]
