"""Whom to label next, of a data set that a trained encoder has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.config import Layer, build_spec
from cryoreg.config.starts import Start
from cryoreg.contracts import Subtomograms
from cryoreg.errors import ConfigError
from cryoreg.files import write_atomically
from cryoreg.inference.subtomogram_table import places_kept, write_csv
from cryoreg.inference.trained import Trained
from cryoreg.labelling.classifier import pool_of
from cryoreg.outputs import check_file
from cryoreg.proportions import Proportion
from cryoreg.specs import QuerySpec


class Suggested(NamedTuple):
    """Subtomograms to label next, the most telling first."""

    ids: list[str]
    samples: NDArray[np.int64]
    """(n,): indices into the data set."""
    predictions: list[str | None]
    """What the labels so far say of each; None where they are of fewer than two classes."""
    confidences: NDArray[np.float64]
    """(n,)."""
    labelled: int
    """How many subtomograms have a label."""
    accuracy: Proportion | None
    """Cross-validated on the labels; None where these are too few."""


def suggest(
    run: Start,
    query: str = "margin",
    count: int = 20,
    *,
    labels: str | Path | None = None,
    seed: int = 0,
    parameters: Mapping[str, object] | None = None,
    dataset: Mapping[str, object] | None = None,
    **settings: object,
) -> Suggested:
    """Return subtomograms to label next, of a run's data set or another one, by a query.

    ``labels`` is a list of ids and classes, as `cryoreg.finetune` takes it; without it they are those of the data set.
    ``parameters`` are the query's; ``dataset`` and ``settings`` as for `cryoreg.evaluate`. Raises a
    `CryoregError` where the query needs labels of two classes and there are none, or ids are of other data.
    """
    layers = [Layer.of_arguments({"dataset": dataset}, None, settings)]
    if labels is not None:
        layers.append(Layer("argument", {"input": {"labels_from": labels}}))
    return run_suggest(run, layers, query_of(query, parameters or {}), count, seed=seed)


def run_suggest(
    run: Start,
    layers: Sequence[Layer],
    query: QuerySpec,
    count: int,
    output: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Suggested:
    """Suggest, and write a table of what is suggested, where wanted; see `suggest`. ``say`` gets lines on the data."""
    if output is not None:
        if output.suffix.lower() != ".csv":
            raise ConfigError(f"{output}: suggestions are written as .csv")
        check_file(output, overwrite)
    trained = Trained.open(run, layers, "encoder", labels=False)
    known = known_labels(trained.dataset)
    require_labels(query, known)
    if output is not None:
        check_file(output, overwrite, trained.inputs())
    for line in trained.remarks():
        say(line)
    found = _suggested(trained, known, query, count, seed)
    if output is not None:
        columns = places_kept(trained.dataset, found.samples.tolist()) | {
            "prediction": found.predictions,
            "confidence": found.confidences.round(4).tolist(),
        }
        write_atomically(output, lambda file: write_csv(columns, file))
    return found


def query_of(name: str, parameters: Mapping[str, object]) -> QuerySpec:
    """Return the spec of a query by name."""
    spec = build_spec("query", name, parameters).spec
    assert isinstance(spec, QuerySpec)
    return spec


def known_labels(dataset: Subtomograms) -> NDArray[np.int64]:
    """Return the class of each subtomogram (N,), -1 where it has no label."""
    return np.array([-1 if label is None else label for label in dataset.labels], dtype=np.int64)


def require_labels(query: QuerySpec, known: NDArray[np.int64]) -> None:
    """Raise `ConfigError` where a query goes by labels of two classes, and there are none."""
    if query.needs_labels and len(np.unique(known[known >= 0])) < 2:
        raise ConfigError(
            "this query goes by labels of two or more classes, of which there are none yet; say --labels-from FILE, or "
            "begin with --query typiclust"
        )


def _suggested(trained: Trained, known: NDArray[np.int64], query: QuerySpec, count: int, seed: int) -> Suggested:
    classes = trained.dataset.classes
    pool, taught = pool_of(trained.features(), known, len(classes))
    samples = query.build().choose(pool, count, np.random.default_rng(seed))
    best = pool.probabilities[samples]
    names = [classes[each] for each in best.argmax(axis=1)] if taught else [None] * len(samples)
    return Suggested(
        [trained.dataset.ids[sample] for sample in samples],
        samples,
        names,
        best.max(axis=1),
        len(pool.labelled),
        taught.accuracy if taught else None,
    )
