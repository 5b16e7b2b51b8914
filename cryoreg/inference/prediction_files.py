"""Predictions as files: STAR with all that the original list had, Dynamo tables, CSV."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Origin, Subtomograms
from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_text import quoted, star_table
from cryoreg.datasets.origins import image_name, origins_of
from cryoreg.datasets.rows_of_lists import changed
from cryoreg.errors import DataError
from cryoreg.files import readable
from cryoreg.inference.moved_names import with_files
from cryoreg.inference.particle_text import ParticleText
from cryoreg.inference.subtomogram_table import csv_text, labels, places_kept
from cryoreg.predictions import Predictions, Strangers, class_numbers

Write = Callable[[Predictions], str]
"""What turns predictions into the text of a file."""

PREVIOUS = "cryoregPreviousClassNumber"
COLUMNS = (relion.CLASS_NUMBER, relion.CLASS_NAME, "cryoregConfidence", "cryoregUnsure")
"""What a STAR file gets."""
DOUBTS = ("cryoregFamiliarity", "cryoregNoneOfThese")
"""What it gets, too, where a run knows what it was trained on."""
SOURCE, SOURCE_ROW = "cryoregFile", "cryoregRow"
"""Where a STAR file says a volume is that it cannot name as an image, counted from 0."""
REMARK = "# cryoreg: "
"""How lines at its beginning begin that say how the data differ from those of training."""
MOTIVE_CLASS = "class"
"""STOPGAP's column for it."""
DYNAMO_CLASS = "22"
"""Dynamo's column for the class; 23 is for any other label ("table convention" of its wiki)."""
_NOBODY = dict(zip((*COLUMNS, *DOUBTS), ("0", "none", "0.0000", "1", "0.0000", "1"), strict=True))
"""What is said of a particle that was not classified."""
_NOT_DOUBTED = "-1"
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
        return _new_star(output, origins, dataset.groups)
    check_unchanged(output, dataset, source)
    return partial(star_text, with_files(_of_all(origins, ParticleText.star(source)), output))


def prepare_dynamo(output: Path, dataset: Subtomograms) -> Write:
    """Return what adds predictions to the Dynamo table of ``dataset``; raise `DataError` where it is of no one."""
    origins = origins_of(dataset)
    source = _source(output, ".tbl", origins)
    check_unchanged(output, dataset, source)
    return partial(dynamo_text, _of_all(origins, ParticleText.dynamo(source)))


def check_unchanged(output: Path, dataset: Subtomograms, source: str) -> None:
    """Raise `DataError` where a list has other particles by now than those that ``dataset`` was cut out at."""
    if changed(dataset, source):
        raise DataError(
            f"{output}: {source} lists other particles than when these were cut out, or in another order; restore it, "
            "extract them anew, or write CSV"
        )


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
        merge = "merge these first (cryoreg select), or " if len(lists) > 1 else ""
        raise DataError(f"{output}: the data are not all of one list ({_named(files)}); {merge}write CSV")
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
    said = _star_columns(predictions, any(DOUBTS[0] in each.labels for each in table.tables))
    columns = {name: _of_particles(predictions, cells, table.particles, name) for name, cells in said.items()}
    rows = table.particle_of_rows()
    if rows is not None:
        columns = {name: [cells[row] for row in rows] for name, cells in columns.items()}
    text = table.with_columns(columns)
    return _with_remarks(text, predictions)


def _of_particles(predictions: Predictions, cells: Sequence[str], particles: int, name: str) -> list[str]:
    """Return a column with what is said of classified particles, and what `_NOBODY` says of the others."""
    column = [_NOBODY[name]] * particles
    for origin, cell in zip(predictions.origins, cells, strict=True):
        assert origin.row is not None
        column[origin.row] = cell
    return column


def _with_remarks(text: str, predictions: Predictions) -> str:
    """Return a STAR file with the warnings of these predictions, and without those of earlier ones, before all else."""
    begin = 0
    while text.startswith(REMARK, begin):
        begin = text.find("\n", begin) + 1 or len(text)
    end = "\r\n" if text[: text.find("\n") + 1].endswith("\r\n") else "\n"
    warnings = predictions.doubts.warnings if predictions.doubts else ()
    return "".join(f"{REMARK}{' '.join(readable(line).split())}{end}" for line in warnings) + text[begin:]


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
    """Return a table with places, label, prediction, class number, confidence, unsure, and all probabilities.

    Where the files say the place of each in its tomogram, it stands behind all else, Å from the middle.
    """
    index = {name: place for place, name in enumerate(dataset.ids)}
    samples = [index[name] for name in predictions.ids]
    said = {
        name: np.round(column, 4).tolist() if isinstance(column, np.ndarray) else column
        for name, column in predictions.columns().items()
    }
    where = {**places_kept(dataset, samples), **labels(dataset, samples)}
    new = {name: column for name, column in said.items() if name not in where}
    return csv_text(where | new | _places(predictions.origins))


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        quoted(name)


def _new_star(output: Path, origins: Sequence[Origin], groups: Sequence[str | None]) -> Write:
    other = next((origin.file for origin in origins if Path(origin.file).suffix.lower() not in _MRC), None)
    if other is not None and not (all(groups) and all(origin.place for origin in origins)):
        raise DataError(
            f"{output}: STAR names volumes in MRC files, or places in tomograms, but these are in {other}; write CSV"
        )
    return new_star_text


def new_star_text(predictions: Predictions) -> str:
    """Return a STAR file of volumes that no list named: tomogram and voxel size where known, and the class.

    Volumes in MRC files are named as images; of others, which no program reads by a STAR file, it says file, row and
    the place in the tomogram, Å from its middle as RELION 5 counts.
    """
    columns = _named_or_placed(predictions.origins)
    if all(predictions.groups):
        columns[relion.TOMOGRAM] = [str(group) for group in predictions.groups]
    if all(origin.voxel_size for origin in predictions.origins):
        columns[relion.PIXEL_SIZE] = [f"{origin.voxel_size:g}" for origin in predictions.origins]
    columns |= _star_columns(predictions)
    return _with_remarks(star_table("particles", columns), predictions)


def _named_or_placed(origins: Sequence[Origin]) -> dict[str, Sequence[Any]]:
    if all(Path(origin.file).suffix.lower() in _MRC for origin in origins):
        return {relion.IMAGE: [image_name(origin) for origin in origins]}
    rows = ["" if origin.row is None else str(origin.row) for origin in origins]
    return {SOURCE: [os.path.abspath(origin.file) for origin in origins], SOURCE_ROW: rows, **_places(origins)}


def _places(origins: Sequence[Origin]) -> dict[str, list[str]]:
    """Return x, y, z by RELION 5's words; none where the place of one is not known."""
    places = [origin.place for origin in origins if origin.place]
    if not places or len(places) < len(origins):
        return {}
    columns = zip(relion.CENTRED, zip(*places, strict=True), strict=True)
    return {name: [f"{value:.3f}" for value in values] for name, values in columns}


def _star_columns(predictions: Predictions, doubted: bool = False) -> dict[str, list[str]]:
    """Return what is said of each particle, by column; the `DOUBTS` of a list that was ``doubted`` are replaced."""
    numbers, which = [*map(str, class_numbers(predictions.classes))], predictions.predictions.tolist()
    cells = (
        [numbers[place] for place in which],
        [predictions.classes[place] for place in which],
        _decimals(predictions.confidences),
        _flags(predictions.unsure),
    )
    columns, strangers = dict(zip(COLUMNS, cells, strict=True)), _strangers(predictions)
    if strangers is not None:
        doubts = (_decimals(strangers.familiarity), _flags(strangers.none_of_these))
        return columns | dict(zip(DOUBTS, doubts, strict=True))
    return columns | ({name: [_NOT_DOUBTED] * len(which) for name in DOUBTS} if doubted else {})


def _decimals(values: NDArray[np.float64]) -> list[str]:
    return [f"{value:.4f}" for value in values.tolist()]


def _flags(values: NDArray[np.bool_]) -> list[str]:
    return ["1" if value else "0" for value in values.tolist()]


def _strangers(predictions: Predictions) -> Strangers | None:
    return predictions.doubts.strangers if predictions.doubts else None
