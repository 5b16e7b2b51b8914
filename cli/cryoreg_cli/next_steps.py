"""What may follow a command: the line "next", which can be typed as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg.outputs import free

if TYPE_CHECKING:
    from cryoreg.contracts import Subtomograms

_FEWEST = 30
"""Subtomograms of which clusters are worth a look."""
_WEIGHTS = "rb3d_universe"
_BEST = ("--recipe", "best")


def after_tomograms(list_: Path, box: int | None = None, told: Mapping[str, object] | None = None) -> str:
    """Return what may follow a list of particles in tomograms: boxes around them.

    ``told`` are facts that `cryoreg extract` must be told of the tomograms.
    """
    edge = ["--box", str(box)] if box else []
    facts = [word for key, value in (told or {}).items() for word in ("--set", f"dataset.{key}={_plain(value)}")]
    return _command("extract", str(list_), *edge, *facts, "--output", *free("particles.h5"))


def _plain(value: object) -> str:
    return str([*value] if isinstance(value, tuple) else value)


def after_data(dataset: Subtomograms, path: Path, settings: Iterable[str] = ()) -> str | None:
    """Return what may follow where data were written: a classifier of their labels, else clusters; None for neither.

    ``settings`` are what a reader must be told of them.
    """
    data = ["--data", str(path), *(word for text in settings for word in ("--set", text))]
    if _has_labels(dataset):
        return _command("finetune", *data, *_BEST)
    if dataset.voxel_size is None or len(dataset) < _FEWEST:
        return None
    return _command("cluster", "--from", _WEIGHTS, *data, *_clusters())


def after_pretraining(run_dir: Path, labelled: bool) -> str:
    """Return what may follow a pretraining run: with labels a classifier, without them clusters."""
    if labelled:
        return _command("finetune", "--from", str(run_dir), "--labels", "0.25")
    return _command("cluster", str(run_dir), *_clusters())


def after_clusters(
    run: Path | None, dataset: Subtomograms, output: Path, given: Mapping[str, object], assignments: Iterable[str]
) -> str | None:
    """Return what may follow clusters: names for them, by looking; of labelled data, a classifier."""
    root = given.get("dataset__root")
    if root is None and (run is None or given.get("dataset__name")):
        return None
    more = _of_reader(given, assignments)
    if _has_labels(dataset):
        return _command("finetune", *(["--data", str(root), *_BEST] if root else ["--from", str(run)]), *more)
    groups = ["--groups-from", str(output)] if output.suffix == ".csv" else []
    return _command("label", str(root or run), *groups, *more)


def after_labels(
    source: Path, is_run: bool, labels: Path, scheme: str, given: Mapping[str, object], more: Iterable[str]
) -> str:
    """Return what may follow labels: a classifier that learns from them; ``scheme`` is that of its split."""
    start = ["--from", str(source)] if is_run else ["--data", str(source), *_BEST]
    split = ["--split", scheme] if scheme != "parts" else []
    return _command("finetune", *start, "--labels-from", str(labels), *split, *_of_reader(given, more))


def after_evaluation(run: Path) -> str:
    """Return what may follow a classifier that is good enough: the classes of all of the run's own data."""
    return _command("predict", str(run), "--output", *free("classes.csv"))


def after_prediction(run: Path, given: Mapping[str, object], assignments: Iterable[str]) -> str:
    """Return what may follow predictions: a report on the same data."""
    root = given.get("dataset__root")
    data = ["--data", str(root), *_of_reader(given, assignments)] if root else []
    return _command("report", str(run), *data)


def _clusters() -> list[str]:
    table, picture = free("clusters.csv", "clusters.png")
    return ["--output", table, "--montage", picture]


def _of_reader(given: Mapping[str, object], assignments: Iterable[str]) -> list[str]:
    """Return what a command line said of the reader of its data."""
    name = given.get("dataset__name")
    told = [word for text in assignments if text.startswith("dataset.") for word in ("--set", text)]
    return [*(["--dataset", str(name)] if name else []), *told]


def _has_labels(dataset: Subtomograms) -> bool:
    return any(label is not None for label in dataset.labels)


def _command(*words: str) -> str:
    return f"cryoreg {shlex.join(words)}"
