"""What a run was: its settings and packages, its course, and what to be wary of."""

from __future__ import annotations

import math
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from cryoreg import registry
from cryoreg.config import PROVENANCE_SECTION, STARTED_FROM, AnyConfig, Layer, kind_of, resolve
from cryoreg.errors import CryoregError
from cryoreg.inference.trained import Trained
from cryoreg.proportions import Proportion
from cryoreg.runs.cards import Card
from cryoreg.runs.csv_log import CsvLog
from cryoreg.runs.loggers import METRICS, STEPS

_CURVE_POINTS = 500
"""A curve of more steps is thinned to about so many."""


class Setting(NamedTuple):
    """One value."""

    key: str
    value: str
    changed: bool
    """It is not the default."""


class Section(NamedTuple):
    """A component or group of settings."""

    name: str
    component: str
    package: str
    """That brought the component, with its version; empty for settings of cryoreg itself."""
    settings: list[Setting]


Series = dict[str, list[float]]
"""Column -> values, NaN where a cell is empty."""


class Course(NamedTuple):
    """How training went."""

    epochs: Series
    """metrics.csv."""
    steps: Series
    """steps.csv, thinned."""


def task_of(card: Card) -> str:
    """Return "pretrain" or "finetune"."""
    return str(card["config"]["task"])


def facts(trained: Trained, alone: bool = False) -> list[tuple[str, str]]:
    """Return what a reader wants to know first of a run, or of data ``alone`` and of weights, as (name, value)."""
    dataset, card = trained.dataset, trained.card
    recorded = card["config"]
    how = [("method", recorded["method"]["name"])] if "method" in recorded else _fine_tuning(recorded)
    root = getattr(trained.config.spec("dataset"), "root", None)
    size = "×".join(map(str, dataset.box))
    voxel = f", {dataset.voxel_size:.4g} Å per voxel" if dataset.voxel_size else ", voxel size not known"
    return [
        ("weights", str(trained.path)) if alone else ("run", str(trained.path.parent)),
        ("finished", str(card.get("created", ""))[:16].replace("T", " ") if alone else when(trained.path)),
        *how,
        ("encoder", f"{recorded['encoder']['name']}, {card['num_features']} features"),
        ("augmentation", recorded["augmentation"]["name"]),
        ("data", f"{trained.config.choices['dataset'].component.name}{f', {root}' if root else ''}"),
        ("subtomograms", f"{len(dataset)} of {size} voxels{voxel}"),
        *(("of the data", note) for note in dataset.notes),
        ("tomograms", str(len(set(dataset.groups) - {None})) if any(dataset.groups) else "not known"),
        ("classes", str(len(card.get("classes") or dataset.classes) or "not labelled")),
        *_best(card, recorded["training"]["epochs"]),
        ("cryoreg", str(card["cryoreg"])),
    ]


def when(path: Path) -> str:
    """Return when a file was last written, to the minute."""
    return f"{datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}"


def _fine_tuning(recorded: dict[str, Any]) -> list[tuple[str, str]]:
    training, learner = recorded["training"], recorded.get("learner", {}).get("name", "full")
    per_class = training.get("labels_per_class")
    labels = f"{per_class} of each class" if per_class else f"{100 * training['labels']:.4g} % of the train split"
    return [("learner", learner), ("starts from", str(training.get("pretrained", "scratch"))), ("labels", labels)]


def _best(card: Card, epochs: int) -> list[tuple[str, str]]:
    """Return which epoch was exported, where one was chosen by validation; epochs are counted from 1."""
    metrics = card.get("metrics", {})
    if "cv_accuracy" in metrics:
        count = metrics["cv_subtomograms"]
        accuracy = Proportion(round(metrics["cv_accuracy"] * count), count).said_of("subtomograms")
        kept = ("epoch kept", f"{int(metrics['epoch']) + 1} of {epochs}: the median of the folds")
        return [("cross-validation", f"{metrics['cv_folds']} folds, accuracy {accuracy}"), kept]
    if "val_accuracy" not in metrics:
        return [("epochs", str(epochs))]
    share, count = metrics["val_accuracy"], (card.get("calibration") or {}).get("subtomograms")
    accuracy = Proportion(round(share * count), count).said_of("subtomograms") if count else f"{100 * share:.1f} %"
    return [("best epoch", f"{int(metrics['epoch']) + 1} of {epochs}, validation accuracy {accuracy}")]


def card_config(trained: Trained) -> AnyConfig | None:
    """Return the run's own config; None where one of its packages is not installed any more."""
    recorded = trained.card["config"]
    try:
        return resolve(recorded["task"], [Layer(str(trained.path), recorded)])
    except CryoregError:
        return None


def sections(trained: Trained) -> list[Section]:
    """Return all settings that the card records, as they were; those that are not the default are marked."""
    recorded = dict(trained.card["config"])
    packages, config = recorded.pop(PROVENANCE_SECTION), card_config(trained)
    tables = {name: values for name, values in recorded.items() if isinstance(values, dict)}
    found = []
    for name, values in tables.items():
        settings = [_setting(config, name, key, value) for key, value in values.items() if key != "name"]
        found.append(Section(name, str(values.get("name", "")), packages.get(name, ""), settings))
    return found


def _setting(config: AnyConfig | None, section: str, key: str, value: object) -> Setting:
    return Setting(key, _text(value), config is not None and not _is_default(config, section, key))


def _text(value: object) -> str:
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _is_default(config: AnyConfig, section: str, key: str) -> bool:
    model = config.choices[section].spec if section in config.choices else getattr(config, section)
    field = type(model).model_fields.get(key)
    return field is not None and getattr(model, key) == field.get_default(call_default_factory=True)


def course(folder: Path) -> Course:
    """Read the logs of a run; empty where they are not beside its weights."""
    epochs, steps = (CsvLog(folder / name).read() for name in (METRICS, STEPS))
    return Course(_series(epochs), _series(steps[:: max(1, len(steps) // _CURVE_POINTS)]))


def _series(rows: list[dict[str, str]]) -> Series:
    return {name: [_number(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return math.nan


def last(series: Series, name: str) -> float:
    """Return the last value of a column that is known, else NaN."""
    return next((value for value in reversed(series.get(name, [])) if not math.isnan(value)), math.nan)


def warnings_of_run(trained: Trained, course: Course) -> list[str]:
    """Return a line for each reason to distrust a run: collapse, an early end, other data, other packages."""
    found = []
    alarms = [int(epoch) for epoch, on in zip(*_pair(course.epochs, "epoch", "collapsed"), strict=True) if on == 1]
    if alarms:
        found.append(
            f"the features had collapsed after {len(alarms)} epochs (the first: {alarms[0]}): all subtomograms looked "
            "alike to the encoder; try another method, a lower learning rate or stronger augmentation"
        )
    metrics = trained.card.get("metrics", {})
    if "val_accuracy" in metrics and metrics["epoch"] == last(course.epochs, "epoch") > 0:
        found.append("the last epoch validated best: the network was still learning; train for more epochs")
    found += [f"these are not the training data: {line}" for line in trained.differences()]
    return found + _changed_packages(trained)


def _pair(series: Series, *names: str) -> list[list[float]]:
    present = all(name in series for name in names)
    return [series[name] if present else [] for name in names]


def _changed_packages(trained: Trained) -> list[str]:
    """Return a line for each component that is not installed as the run recorded it."""
    recorded, found = trained.card["config"], []
    names = {section: values.get("name") for section, values in recorded.items() if isinstance(values, dict)}
    names[STARTED_FROM] = recorded["training"].get("pretrained")
    for section, package in recorded[PROVENANCE_SECTION].items():
        try:
            component = registry.find_spec(kind_of(section), str(names[section]))[0]
        except CryoregError:
            if not _is_installed(package):  # else it left the name behind, as the weights that a package began with
                found.append(f"{section} '{names[section]}' came from {package}, which is not installed here")
            continue
        if (now := f"{component.dist} {component.version}") != package:
            found.append(f"{section} '{component.name}' came from {package}; here it is {now}")
    return found


def _is_installed(package: str) -> bool:
    """Tell whether a package is here in the version that its line ("name version") says."""
    name, _, version = package.rpartition(" ")
    try:
        return metadata.version(name) == version
    except (metadata.PackageNotFoundError, ValueError):
        return False
