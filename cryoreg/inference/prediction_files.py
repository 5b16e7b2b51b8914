"""Predictions as files: STAR with all that the original list had, Dynamo tables, CSV."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from cryoreg.contracts import Origin, Subtomograms
from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_text import quoted, star_table
from cryoreg.datasets.origins import origins_of
from cryoreg.errors import ConfigError, DataError
from cryoreg.inference.particle_text import ParticleText
from cryoreg.inference.predictions import Predictions, class_numbers
from cryoreg.inference.subtomogram_table import csv_text, labels, places, probabilities_of, readable

PredictionFormat = Literal["star", "csv", "dynamo"]
Write = Callable[[Predictions], str]
"""What turns predictions into the text of a file."""

PREVIOUS = "cryoregPreviousClassNumber"
COLUMNS = (relion.CLASS_NUMBER, "cryoregClassName", "cryoregConfidence", "cryoregUnsure")
"""What a STAR file gets."""
DYNAMO_CLASS = "22"
"""Dynamo's column for the class; 23 is for any other label ("table convention" of its wiki)."""
_NOBODY = ("0", "none", "0.0000", "1")
"""The `COLUMNS` of a particle that was not classified."""
_FORMATS: dict[str, PredictionFormat] = {".star": "star", ".csv": "csv", ".tbl": "dynamo"}
_LISTS = (".star", ".tbl")
_MRC = (".mrc", ".mrcs", ".map", ".rec", ".st")


def prepare_writer(
    output: Path, form: PredictionFormat | None, dataset: Subtomograms, classes: Sequence[str] = ()
) -> Write:
    """Return what turns predictions for ``dataset`` into the text of the file ``output``, having made sure that it can.

    Raises `ConfigError` where the format is unknown, `DataError` where it cannot keep the list that the data come from,
    or cannot hold the name of a class, a file or a tomogram.
    """
    chosen = form or _FORMATS.get(output.suffix.lower())
    if chosen is None or chosen not in get_args(PredictionFormat):
        raise ConfigError(f"{output}: '{output.suffix}' is no format to write; use .star, .csv, .tbl or --format")
    origins = origins_of(dataset)
    if chosen == "csv":
        return partial(predictions_csv, dataset)
    source = _source(output, chosen, origins)
    if chosen == "star":
        _check_names(classes)
    if source is None:
        _check_names([*map(_image, origins), *filter(None, dataset.groups)])
        return _new_star(output, origins)
    table = ParticleText.star(source) if chosen == "star" else ParticleText.dynamo(source)
    if table.particles <= max(origin.row or 0 for origin in origins):
        raise DataError(f"{source}: has fewer rows than when it was read; restore it, or write CSV")
    return partial(star_text if chosen == "star" else dynamo_text, table)


def _source(output: Path, form: PredictionFormat, origins: Sequence[Origin]) -> str | None:
    """Return the list that all subtomograms come from; None where they come from files that are no lists."""
    files = list(dict.fromkeys(origin.file for origin in origins))
    lists = [file for file in files if Path(file).suffix.lower() in _LISTS]
    if not lists and form == "star":
        return None
    if len(files) > 1 or not lists:
        raise DataError(f"{output}: the data are not all of one list ({_named(files)}); predict by list, or write CSV")
    suffix = Path(lists[0]).suffix.lower()
    if _FORMATS[suffix] != form:
        raise DataError(f"{output}: cannot keep the columns of {lists[0]}; write {suffix}, or CSV")
    return lists[0]


def _named(files: Sequence[str]) -> str:
    return ", ".join(files[:2]) + (f" and {len(files) - 2} more files" if len(files) > 2 else "")


def star_text(table: ParticleText, predictions: Predictions) -> str:
    """Return a STAR file with class number, name, confidence and unsure of every particle, and all that it had.

    Class numbers of others become ``cryoregPreviousClassNumber``, those of an earlier prediction are replaced.
    Particles that were not classified get class 0, "none".
    """
    table = table.rename(relion.CLASS_NUMBER, PREVIOUS, unless=COLUMNS[1:])
    values: list[tuple[str, ...]] = [_NOBODY] * table.particles
    for origin, cells in zip(predictions.origins, _star_cells(predictions), strict=True):
        assert origin.row is not None
        values[origin.row] = cells
    return table.with_columns(dict(zip(COLUMNS, map(list, zip(*values, strict=True)), strict=True)))


def dynamo_text(table: ParticleText, predictions: Predictions) -> str:
    """Return a Dynamo table with the class number of every particle in column 22; 0 where it was not classified."""
    numbers = class_numbers(predictions.classes)
    values = ["0"] * table.particles
    for origin, prediction in zip(predictions.origins, predictions.predictions, strict=True):
        assert origin.row is not None
        values[origin.row] = str(numbers[prediction])
    return table.with_columns({DYNAMO_CLASS: values})


def predictions_csv(dataset: Subtomograms, predictions: Predictions) -> str:
    """Return a table with places, label, prediction, class number, confidence, unsure, and all probabilities."""
    numbers, names = class_numbers(predictions.classes), [readable(name) for name in predictions.classes]
    index = {name: place for place, name in enumerate(dataset.ids)}
    samples = [index[name] for name in predictions.ids]
    return csv_text(
        {
            **places(dataset, samples),
            **labels(dataset, samples),
            "prediction": [names[prediction] for prediction in predictions.predictions],
            "class_number": [numbers[prediction] for prediction in predictions.predictions],
            "confidence": predictions.confidences.round(4).tolist(),
            "unsure": predictions.unsure.astype(int).tolist(),
            **probabilities_of(predictions.classes, predictions.probabilities.round(4)),
        }
    )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        quoted(name)


def _new_star(output: Path, origins: Sequence[Origin]) -> Write:
    other = next((origin.file for origin in origins if Path(origin.file).suffix.lower() not in _MRC), None)
    if other is not None:
        raise DataError(f"{output}: STAR names volumes in MRC files, but these are in {other}; write CSV")
    return new_star_text


def new_star_text(predictions: Predictions) -> str:
    """Return a STAR file of volumes that no list named: image, tomogram where known, voxel size, and the class."""
    columns: dict[str, Sequence[Any]] = {relion.IMAGE: [_image(origin) for origin in predictions.origins]}
    if all(predictions.groups):
        columns[relion.TOMOGRAM] = [str(group) for group in predictions.groups]
    if all(origin.voxel_size for origin in predictions.origins):
        columns[relion.PIXEL_SIZE] = [f"{origin.voxel_size:g}" for origin in predictions.origins]
    columns |= dict(zip(COLUMNS, zip(*_star_cells(predictions), strict=True), strict=True))
    return star_table("particles", columns)


def _star_cells(predictions: Predictions) -> list[tuple[str, ...]]:
    numbers, names = class_numbers(predictions.classes), predictions.classes
    return [
        (str(numbers[prediction]), names[prediction], f"{confidence:.4f}", str(int(unsure)))
        for prediction, confidence, unsure in zip(
            predictions.predictions, predictions.confidences, predictions.unsure, strict=True
        )
    ]


def _image(origin: Origin) -> str:
    path = os.path.abspath(origin.file)
    return path if origin.row is None else f"{origin.row + 1:06d}@{path}"
