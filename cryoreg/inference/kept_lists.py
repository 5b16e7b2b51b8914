"""Lists of other programs with the predicted class in its own place, and all else as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cryoreg.contracts import Origin, Subtomograms
from cryoreg.datasets.io.em import read_em_rows, with_row
from cryoreg.datasets.origins import origins_of
from cryoreg.datasets.particles.eman2 import read_content
from cryoreg.datasets.particles.sniffing import EMCLARITY_COLUMNS, SUFFIXES, Kind, kind_of_list
from cryoreg.errors import DataError
from cryoreg.inference.eman2_lists import prepare_eman2
from cryoreg.inference.particle_text import ParticleText
from cryoreg.inference.prediction_files import check_unchanged, numbers_of_rows, prepare_dynamo, prepare_star
from cryoreg.predictions import Predictions

Write = Callable[[Predictions], str | bytes]
_EM_CLASS, _PEET_CLASS = 20, "20"
_CLASS = re.compile(r"""(<Class\b[^>]*?\bName\s*=\s*)(["'])(.*?)\2""", re.DOTALL)
_END = re.compile(r"</Particle\s*>")


def prepare_kept(output: Path, dataset: Subtomograms, classes: Sequence[str]) -> Write:
    """Return what turns predictions for ``dataset`` into the list that the data come from.

    Of stacks of EMAN2, which no list named, it is a new list of images. Raises `DataError` where they are of no one
    list, or of one that has no place for a class.
    """
    if output.suffix.lower() == ".lst":
        return prepare_eman2(output, dataset)
    origins = origins_of(dataset)
    source = _only_list(output, origins)
    kind = kind_of_list(source)
    if kind == "star":
        return prepare_star(output, dataset, classes)
    if kind == "dynamo":
        return prepare_dynamo(output, dataset)
    if kind is None or kind not in _PREPARE:
        raise DataError(f"{output}: {source} has no place of its own for classes; write CSV without --format")
    if output.suffix.lower() != Path(source).suffix.lower():
        raise DataError(f"{output}: is to be as {source} is; name it {Path(source).suffix}")
    check_unchanged(output, dataset, source)
    write, particles = _PREPARE[kind](source)
    if particles <= max(origin.row or 0 for origin in origins):
        raise DataError(f"{source}: has fewer rows than when it was read; restore it, or write CSV")
    return write


def _only_list(output: Path, origins: Sequence[Origin]) -> str:
    files = list(dict.fromkeys(origin.file for origin in origins))
    lists = [file for file in files if Path(file).suffix.lower() in SUFFIXES and Path(file).is_file()]
    if len(files) > 1 or not lists:
        raise DataError(
            f"{output}: the data are not all of one list ({', '.join(files[:2])}); write CSV without --format"
        )
    return lists[0]


def _in_columns(text: ParticleText, columns: Sequence[str]) -> tuple[Write, int]:
    def write(predictions: Predictions) -> str:
        values = [str(number) for number in numbers_of_rows(predictions, text.particles)]
        return text.with_columns(dict.fromkeys(columns, values))

    return write, text.particles


def _emclarity(path: str) -> tuple[Write, int]:
    """Set column 26, and its likes where a row holds several peaks."""
    text = ParticleText.dynamo(path)
    step = EMCLARITY_COLUMNS
    return _in_columns(text, [str(column) for column in range(step, len(text.tables[0].labels) + 1, step)])


def _peet(path: str) -> tuple[Write, int]:
    return _in_columns(ParticleText.peet(path), [_PEET_CLASS])


def _em(path: str) -> tuple[Write, int]:
    def write(predictions: Predictions) -> bytes:
        return with_row(path, _EM_CLASS, np.array(numbers_of_rows(predictions, particles)))

    particles = len(read_em_rows(path))
    return write, particles


def _pytom(path: str) -> tuple[Write, int]:
    text = ParticleText.pytom(path)

    def write(predictions: Predictions) -> str:
        lines = list(text.lines)
        for row, number in zip(text.tables[0].rows, numbers_of_rows(predictions, text.particles), strict=True):
            lines[row] = _with_class(lines[row], number)
        return "".join(lines)

    return write, text.particles


def _with_class(particle: str, number: int) -> str:
    """Return a particle's element with a class: in the place of its own, else at its end."""
    if _CLASS.search(particle):
        return _CLASS.sub(rf"\g<1>\g<2>{number}\g<2>", particle, count=1)
    return _END.sub(f'<Class Name="{number}"/></Particle>', particle, count=1)


def _eman2(path: str) -> tuple[Write, int]:
    content = read_content(path)
    return partial(_eman2_text, content), len(content["boxes_3d"])


def _eman2_text(content: Mapping[str, Any], predictions: Predictions) -> str:
    """Return an info file in which each classified box has the class of the predicted name, new where none is."""
    classes, boxes = dict(content.get("class_list") or {}), [list(box) for box in content["boxes_3d"]]
    keys = {told.get("name"): key for key, told in classes.items() if isinstance(told, dict) and key.isdecimal()}
    sizes = [told["boxsize"] for told in classes.values() if isinstance(told, dict) and "boxsize" in told]
    for name in predictions.classes:
        if name not in keys:
            keys[name] = str(max((int(key) for key in classes if key.isdecimal()), default=-1) + 1)
            classes[keys[name]] = {"name": name, "boxsize": sizes[0] if sizes else 64}
    for origin, prediction in zip(predictions.origins, predictions.predictions, strict=True):
        assert origin.row is not None
        box = boxes[origin.row]
        box += ["cryoreg", 0.0, 0][len(box) - 3 :]
        box[5] = int(keys[predictions.classes[prediction]])
    return json.dumps({**content, "boxes_3d": boxes, "class_list": classes}, indent=1)


_PREPARE: Mapping[Kind, Callable[[str], tuple[Write, int]]] = {
    "emclarity": _emclarity,
    "peet": _peet,
    "em": _em,
    "pytom": _pytom,
    "eman2": _eman2,
}
