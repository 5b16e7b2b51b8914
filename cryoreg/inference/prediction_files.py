"""Predictions as files: STAR with all that the original list had, Dynamo tables, CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np

from cryoreg.contracts import Origin, Subtomograms
from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_text import quoted, star_table
from cryoreg.datasets.origins import image_name, origins_of
from cryoreg.errors import DataError
from cryoreg.files import readable
from cryoreg.inference.particle_text import ParticleText
from cryoreg.inference.subtomogram_table import csv_text, labels, places
from cryoreg.predictions import Predictions, Strangers, class_numbers

Write = Callable[[Predictions], str]
"""What turns predictions into the text of a file."""

PREVIOUS = "cryoregPreviousClassNumber"
COLUMNS = (relion.CLASS_NUMBER, "cryoregClassName", "cryoregConfidence", "cryoregUnsure")
"""What a STAR file gets."""
DOUBTS = ("cryoregFamiliarity", "cryoregNoneOfThese")
"""What it gets, too, where a run knows what it was trained on."""
REMARK = "# cryoreg: "
"""How lines at its beginning begin that say how the data differ from those of training."""
MOTIVE_CLASS = "class"
"""STOPGAP's column for it."""
DYNAMO_CLASS = "22"
"""Dynamo's column for the class; 23 is for any other label ("table convention" of its wiki)."""
_NOBODY = ("0", "none", "0.0000", "1")
"""The `COLUMNS` of a particle that was not classified."""
_NOBODY_KNOWN = ("0.0000", "1")
"""Its `DOUBTS`."""
_NOT_DOUBTED = ("-1", "-1")
"""The `DOUBTS` that an earlier prediction left, where a later one has none."""
_LISTS = (".star", ".tbl")
_MRC = (".mrc", ".mrcs", ".map", ".rec", ".st")


def prepare_star(output: Path, dataset: Subtomograms, classes: Sequence[str]) -> Write:
    """Return what turns predictions for ``dataset`` into a STAR file, having made sure that it can.

    Raises `DataError` where it cannot keep the list that the data come from, or cannot hold the name of a class, a file
    or a tomogram.
    """
    origins = origins_of(dataset)
    source = _source(output, ".star", origins) if _listed(origins) else None
    _check_names(classes)
    if source is None:
        _check_names([*map(image_name, origins), *filter(None, dataset.groups)])
        return _new_star(output, origins)
    return partial(star_text, _of_all(origins, ParticleText.star(source)))


def prepare_dynamo(output: Path, dataset: Subtomograms) -> Write:
    """Return what adds predictions to the Dynamo table of ``dataset``; raise `DataError` where it is of no one."""
    origins = origins_of(dataset)
    return partial(dynamo_text, _of_all(origins, ParticleText.dynamo(_source(output, ".tbl", origins))))


def _of_all(origins: Sequence[Origin], table: ParticleText) -> ParticleText:
    if table.particles <= max(origin.row or 0 for origin in origins):
        raise DataError(f"{table.path}: has fewer rows than when it was read; restore it, or write CSV")
    return table


def _listed(origins: Sequence[Origin]) -> list[str]:
    """Return the lists among the files that subtomograms come from."""
    return [file for file in dict.fromkeys(each.file for each in origins) if Path(file).suffix.lower() in _LISTS]


def _source(output: Path, wanted: str, origins: Sequence[Origin]) -> str:
    """Return the list, whose name ends as ``wanted``, that all subtomograms come from."""
    files, lists = list(dict.fromkeys(origin.file for origin in origins)), _listed(origins)
    if len(files) > 1 or not lists:
        raise DataError(f"{output}: the data are not all of one list ({_named(files)}); predict by list, or write CSV")
    suffix = Path(lists[0]).suffix.lower()
    if suffix != wanted:
        raise DataError(f"{output}: cannot keep the columns of {lists[0]}; write {suffix}, or CSV")
    return lists[0]


def _named(files: Sequence[str]) -> str:
    return ", ".join(files[:2]) + (f" and {len(files) - 2} more files" if len(files) > 2 else "")


def star_text(table: ParticleText, predictions: Predictions) -> str:
    """Return a STAR file with `COLUMNS` and `DOUBTS` of every particle, and all that it had.

    Class numbers of others become ``cryoregPreviousClassNumber``, those of an earlier prediction are replaced. Where
    rows are tilt images, all of a particle say the same. Particles that were not classified get class 0, "none".
    Warnings stand in comments before all else. A motive list of STOPGAP, whose columns are fixed, gets the class number
    alone.
    """
    if any(MOTIVE_CLASS in each.labels and relion.MOTIVE[2] in each.labels for each in table.tables):
        numbers = numbers_of_rows(predictions, table.particles)
        return table.with_columns({MOTIVE_CLASS: list(map(str, numbers))})
    table = table.rename(relion.CLASS_NUMBER, PREVIOUS, unless=COLUMNS[1:])
    names, rows = _star_columns(predictions, any(DOUBTS[0] in each.labels for each in table.tables))
    values: list[tuple[str, ...]] = [(*_NOBODY, *_NOBODY_KNOWN)[: len(names)]] * table.particles
    for origin, cells in zip(predictions.origins, rows, strict=True):
        assert origin.row is not None
        values[origin.row] = cells
    rows_of = table.particle_of_rows()
    if rows_of is not None:
        values = [values[row] for row in rows_of]
    text = table.with_columns(dict(zip(names, map(list, zip(*values, strict=True)), strict=True)))
    return _with_remarks(text, predictions)


def _with_remarks(text: str, predictions: Predictions) -> str:
    """Return a STAR file with the warnings of these predictions, and without those of earlier ones, before all else."""
    lines = text.splitlines(keepends=True)
    rest = "".join(dropwhile(lambda line: line.startswith(REMARK), lines))
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    warnings = predictions.doubts.warnings if predictions.doubts else ()
    return "".join(f"{REMARK}{' '.join(readable(line).split())}{end}" for line in warnings) + rest


def dynamo_text(table: ParticleText, predictions: Predictions) -> str:
    """Return a Dynamo table with the class number of every particle in column 22; 0 where it was not classified."""
    return table.with_columns({DYNAMO_CLASS: list(map(str, numbers_of_rows(predictions, table.particles)))})


def numbers_of_rows(predictions: Predictions, particles: int) -> list[int]:
    """Return the class number of each row of a list, 0 where it was not classified."""
    numbers, values = class_numbers(predictions.classes), [0] * particles
    for origin, prediction in zip(predictions.origins, predictions.predictions, strict=True):
        assert origin.row is not None
        values[origin.row] = numbers[prediction]
    return values


def predictions_csv(dataset: Subtomograms, predictions: Predictions) -> str:
    """Return a table with places, label, prediction, class number, confidence, unsure, and all probabilities."""
    index = {name: place for place, name in enumerate(dataset.ids)}
    samples = [index[name] for name in predictions.ids]
    said = {
        name: np.round(column, 4).tolist() if isinstance(column, np.ndarray) else column
        for name, column in predictions.columns().items()
    }
    where = {**places(dataset, samples), **labels(dataset, samples)}
    return csv_text(where | {name: column for name, column in said.items() if name not in where})


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
    columns: dict[str, Sequence[Any]] = {relion.IMAGE: [image_name(origin) for origin in predictions.origins]}
    if all(predictions.groups):
        columns[relion.TOMOGRAM] = [str(group) for group in predictions.groups]
    if all(origin.voxel_size for origin in predictions.origins):
        columns[relion.PIXEL_SIZE] = [f"{origin.voxel_size:g}" for origin in predictions.origins]
    names, rows = _star_columns(predictions)
    columns |= dict(zip(names, zip(*rows, strict=True), strict=True))
    return _with_remarks(star_table("particles", columns), predictions)


def _star_columns(predictions: Predictions, doubted: bool = False) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the names of columns and the rows; the `DOUBTS` of a list that was ``doubted`` before are replaced."""
    cells, strangers = _star_cells(predictions), _strangers(predictions)
    if strangers is not None:
        known = zip(strangers.familiarity, strangers.none_of_these, strict=True)
        more = [(f"{share:.4f}", str(int(none))) for share, none in known]
    elif doubted:
        more = [_NOT_DOUBTED] * len(cells)
    else:
        return COLUMNS, cells
    return (*COLUMNS, *DOUBTS), [(*one, *other) for one, other in zip(cells, more, strict=True)]


def _strangers(predictions: Predictions) -> Strangers | None:
    return predictions.doubts.strangers if predictions.doubts else None


def _star_cells(predictions: Predictions) -> list[tuple[str, ...]]:
    numbers, names = class_numbers(predictions.classes), predictions.classes
    return [
        (str(numbers[prediction]), names[prediction], f"{confidence:.4f}", str(int(unsure)))
        for prediction, confidence, unsure in zip(
            predictions.predictions, predictions.confidences, predictions.unsure, strict=True
        )
    ]
