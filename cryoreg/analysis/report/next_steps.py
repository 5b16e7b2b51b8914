"""What to do next, as commands that work as they stand, from any folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cryoreg.analysis.report.verdict import Answer
from cryoreg.inference.trained import Trained
from cryoreg.outputs import free

_LISTS = (".star", ".tbl")
"""Lists that keep all that they had when classes are added."""


class Step(NamedTuple):
    """A command."""

    why: str
    command: str


class _Data(NamedTuple):
    """The words that name data."""

    root: str | None
    reader: list[str]

    @property
    def words(self) -> list[str]:
        return [*(["--data", self.root] if self.root else []), *self.reader]


def steps(trained: Trained, start: Sequence[str], answer: Answer, labelled: bool) -> list[Step]:
    """Return what to do after a verdict, the best first.

    ``start`` are the words that name the network: a run, or --from and weights. ``labelled``: the data have labels.
    """
    own = start[0] != "--from" and trained.card["config"].get("dataset") == trained.config.to_dict()["dataset"]
    data = None if own else _data(trained)
    if trained.classifies:
        found = list(_of_classifier(trained, start, data))
        found = found if answer == "yes" else found[::-1]
    else:
        found = list(_of_encoder(trained, start, data, labelled))
    return [Step(why, shlex.join(["cryoreg", *words])) for why, words in found if words]


Way = tuple[str, list[str]]


def _of_classifier(trained: Trained, start: Sequence[str], data: _Data | None) -> Iterator[Way]:
    words = data.words if data else []
    yield "classify all of these data", ["predict", *start, *words, "--output", *free(f"classes{_kind(trained)}")]
    yield "label more, first those that teach most", _label(trained, start, data)


def _of_encoder(trained: Trained, start: Sequence[str], data: _Data | None, labelled: bool) -> Iterator[Way]:
    words, (groups, picture) = data.words if data else [], free("clusters.csv", "clusters.png")
    files = ["--output", groups, "--montage", picture]
    yield "write the clusters, and a picture of each", ["cluster", *start, *words, *files]
    label = _label(trained, start, data)
    yield "look at them, and say what they are", [*label, *(["--groups-from", groups] if label else [])]
    if labelled:
        source = start if start[0] == "--from" else ["--from", *start]
        way = ["finetune", *source, *words, "--split", "cv", "--run-dir", *free("runs/cross-validated")]
        yield "teach a classifier the labels that there are, and see what it is worth", way


def _label(trained: Trained, start: Sequence[str], data: _Data | None) -> list[str]:
    """Return the words of `cryoreg label`; none where the data have no place to be named."""
    if data is None:
        root = getattr(trained.config.spec("dataset"), "root", None)
        said = trained.card["config"].get("input", {}).get("labels_from")
        return ["label", *start, *(["--labels-from", str(Path(said).absolute())] if said else [])] if root else []
    if data.root is None:
        return []
    return ["label", data.root, *(start if start[0] == "--from" else ["--from", *start]), *data.reader]


def _kind(trained: Trained) -> str:
    suffix = Path(str(getattr(trained.config.spec("dataset"), "root", ""))).suffix
    return suffix if suffix in _LISTS else ".csv"


def _data(trained: Trained) -> _Data:
    spec = trained.config.spec("dataset")
    root = getattr(spec, "root", None)
    changed = spec.model_dump(mode="json", exclude_defaults=True, exclude={"root"})
    settings = [word for key, value in changed.items() for word in ("--set", f"dataset.{key}={json.dumps(value)}")]
    name = trained.config.choices["dataset"].component.name
    return _Data(None if root is None else str(Path(root).absolute()), ["--dataset", name, *settings])
