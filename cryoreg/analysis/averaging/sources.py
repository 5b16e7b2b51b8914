"""Where the particles of a class come from: a run's predictions, a file that says classes, or labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cryoreg.analysis.averaging.class_average import members
from cryoreg.config import Layer, Project, absolute, choose_dataset
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.origins import inputs_of
from cryoreg.datasets.table_sources import data_of_table
from cryoreg.errors import ConfigError
from cryoreg.inference.predict import classify
from cryoreg.inference.trained import Trained
from cryoreg.selection.listed import can_be_kept


class Source(NamedTuple):
    """A data set, and who of it is of a class."""

    dataset: Subtomograms
    indices: list[int]
    inputs: set[str]


def of_data(
    data: Path,
    name: str,
    reader: str | None = None,
    settings: Mapping[str, object] | None = None,
    told: Path | None = None,
    project: Project | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Source:
    """Open data, whose particles of a class are those that a file (``told``) says, or the data themselves.

    A table of clusters or predictions, which names its data, is both. What is not said of the data, and they do not say
    themselves, a ``project`` may. ``say`` gets the data's notes.
    """
    root, table = data_of_table(absolute(data), f"--data DATA --labels-from {data.name}")
    told = told or table
    spec = choose_dataset(root, reader, settings or {}, project)[0].spec
    dataset = spec.load()
    for note in dataset.notes:
        say(f"note: {note}")
    own = root if root.is_file() and can_be_kept(root) and "label" not in (settings or {}) else None
    inputs = inputs_of(dataset, spec) | ({str(told)} if told else set())
    return Source(dataset, members(dataset, name, told or own), inputs)


def of_run(
    run: Path,
    name: str,
    data: Path | None = None,
    reader: str | None = None,
    settings: Mapping[str, object] | None = None,
    say: Callable[[str], object] = lambda line: None,
    project: Project | None = None,
) -> Source:
    """Open data for the classifier of a run, or its own, and ask it who is of a class."""
    chosen = dict(settings or {}) | ({"root": absolute(data)} if data else {}) | ({"name": reader} if reader else {})
    layers = [Layer("--data", {"dataset": chosen})] if chosen else []
    if project is not None:
        layers = [project.layer(), *layers]
    trained = Trained.open(run, layers, "classifier", labels=False)
    classes = trained.card["classes"]
    if name not in classes:
        raise ConfigError(f"{run}: tells no class '{name}' apart (but: {', '.join(classes)}); name another")
    for line in trained.remarks():
        say(line)
    predictions = classify(trained)
    wanted = classes.index(name)
    index = {each: place for place, each in enumerate(trained.dataset.ids)}
    found = [index[each] for each, said in zip(predictions.ids, predictions.predictions, strict=True) if said == wanted]
    return Source(trained.dataset, found, trained.inputs())
