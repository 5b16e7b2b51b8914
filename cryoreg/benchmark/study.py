"""A study as data: which data, methods, encoders, labels, seeds and settings are compared. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, JsonValue, ValidationError, ValidationInfo, field_validator, model_validator

from cryoreg import registry
from cryoreg.config.layers import parse_toml
from cryoreg.errors import ConfigError, UnknownComponentError
from cryoreg.files import read_settings
from cryoreg.specs import Settings

RANDOM = "random"
"""The start from random weights, with which all others are compared."""
ALIASES = {"gupta2022": "gupta2022-sim"}

Table = dict[str, Any]
"""A table of the study's file, whose values the settings of runs check later."""
Figures = dict[str, dict[str, dict[str, float]]]
"""Data -> start -> labels -> a figure that the paper reports."""


class Simulation(Settings):
    """A data set that the study makes itself, as `cryoreg simulate` does."""

    preset: str = Field("liu2020", description="settings of scenes")
    per_class: int = Field(500, ge=1, description="subtomograms of each class, at scale 1")
    seed: int = Field(0, ge=0, description="of all random draws")
    first: int = Field(0, ge=0, description="scenes of each class to pass over")
    structures: Path | None = Field(None, description="folder of PDB, mmCIF and MRC files; unset: procedural")
    scenes: Table = Field(default_factory=dict, description="other settings of scenes: snr, snr_region, box, ...")


class DataSource(Settings):
    """A data set: simulated, or opened by a reader."""

    simulate: Simulation | None = Field(None, description="make it; a store")
    dataset: Table = Field(default_factory=dict, description="reader and its parameters; over a simulated store too")
    compared: bool = Field(True, description="false: only for pretraining on")

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> DataSource:
        if self.simulate is None and "name" not in self.dataset:
            raise ValueError("needs 'simulate' or a 'dataset' with a name")
        return self


class Start(Settings):
    """Where weights come from: trained ones, a method to pretrain with (from these, where given), or random weights."""

    weights: str | None = Field(None, description="trained weights: their name or path; unset: random ones")
    method: Table = Field(default_factory=dict, description="name and hyper-parameters; empty: none is pretrained")
    augmentation: Table = Field(default_factory=dict, description="over that of [pretrain]")
    augmentation_2: Table = Field(default_factory=dict, description="for every second view")
    training: Table = Field(default_factory=dict, description="over that of [pretrain]")
    data: str | None = Field(None, description="another data set to pretrain on; unset: the compared one's train split")
    encoder: Table = Field(default_factory=dict, description="over the study's encoders")


class Setting(Settings):
    """A way to fine-tune, the same for every start."""

    learner: Table = Field(default_factory=dict, description="name and parameters; empty: full")
    augmentation: Table = Field(default_factory=dict, description="name and parameters")
    augmentation_2: Table = Field(default_factory=dict, description="for every second view")
    training: Table = Field(default_factory=dict, description="optimizer, lr, epochs, ...")
    min_steps: int = Field(0, ge=0, description="epochs are raised until so many steps are taken, for few labels")
    search: dict[str, list[JsonValue]] = Field(
        default_factory=dict,
        description="section.key -> values: each start gets the combination that does best on validation",
    )
    search_labels: str | int = Field("25 %", description="labels with which is searched")
    search_seeds: list[int] = Field([0], description="seeds with which is searched")
    at: dict[str, Table] = Field(
        default_factory=dict, description="labels ('25 %', 5 or '5 per class') -> other training values with so many"
    )

    @field_validator("at")
    @classmethod
    def _by_column(cls, at: dict[str, Table]) -> dict[str, Table]:
        return {_column(labels): values for labels, values in at.items()}


class Stage(Settings):
    """What all pretraining runs share."""

    augmentation: Table = Field(default_factory=dict, description="name and parameters")
    training: Table = Field(default_factory=dict, description="optimizer, lr, epochs, ...")


class Queried(Settings):
    """Active learning on frozen features: queries ask for labels, round by round."""

    queries: list[str] = Field(min_length=1, description="which ones; random is what they are compared with")
    first: int = Field(20, ge=2, description="labels drawn at random, the same for every query")
    step: int = Field(20, ge=1, description="labels that a query asks for in a round")
    rounds: int = Field(8, ge=1, description="rounds")

    def sizes(self) -> list[int]:
        """Return the numbers of labels after each round, that of the beginning first."""
        return [self.first + self.step * number for number in range(self.rounds + 1)]


class Study(Settings):
    """A comparison of starts; every combination of data, encoder, start, setting, labels and seed is a cell."""

    title: str = Field("", description="shown above the table")
    seeds: list[int] = Field([0, 1, 2, 3, 4], min_length=1, description="of weights, order, augmentation and labels")
    labels: list[str | int] = Field(
        default_factory=list, description="columns: '25 %' of the labels, or so many per class"
    )
    probes: bool = Field(True, description="also classify frozen features: linear and kNN")
    scale: float = Field(1.0, gt=0, description="factor on simulated subtomograms per class and on all epochs")
    split: Table = Field(default_factory=dict, description="fractions, seed")
    data: dict[str, DataSource] = Field(min_length=1, description="name -> data set")
    encoders: dict[str, Table] = Field(min_length=1, description="name -> encoder and its parameters")
    pretrain: Stage = Field(default_factory=Stage, description="of all methods")
    starts: dict[str, Start] = Field(min_length=1, description="name -> method; 'random' has none")
    settings: dict[str, Setting] = Field(default_factory=dict, description="name -> how to fine-tune")
    queried: Queried | None = Field(None, description="queries to compare on frozen features")
    paper: Figures = Field(
        default_factory=dict, description="data -> start -> labels -> the accuracy that the paper reports, percent"
    )
    paper_sd: Figures = Field(
        default_factory=dict, description="the same places -> its standard deviation over runs, where it is reported"
    )

    @field_validator("paper", "paper_sd")
    @classmethod
    def _by_column(cls, figures: Figures, info: ValidationInfo) -> Figures:
        if info.data.get("queried"):  # whose columns are numbers of labels in all
            return figures
        return {
            data: {start: {_column(labels): value for labels, value in row.items()} for start, row in starts.items()}
            for data, starts in figures.items()
        }

    @model_validator(mode="after")
    def _are_labels(self) -> Study:
        few = [setting.search_labels for setting in self.settings.values()]
        for each in (*self.labels, *few):
            parse_labels(each)
        return self

    @model_validator(mode="after")
    def _has_something_to_compare(self) -> Study:
        if not self.settings and self.queried is None:
            raise ValueError("there are no settings to fine-tune with, and no queries")
        if not self.labels and (self.settings or self.probes):
            raise ValueError("labels: say with how many is fine-tuned, and probed (or probes = false)")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> Study:
        for name, start in self.starts.items():
            if start.data is not None and start.data not in self.data:
                raise ValueError(f"starts.{name}.data names no data set of the study: {start.data}")
            if not (start.method or start.weights) and name != RANDOM:
                raise ValueError(f"starts.{name} has neither method nor weights; only '{RANDOM}' may do without")
        return self

    @model_validator(mode="after")
    def _spreads_have_means(self) -> Study:
        for place in _places(self.paper_sd) - _places(self.paper):
            raise ValueError(f"paper_sd has {' · '.join(place)}, of which paper says no accuracy")
        return self

    def scaled(self, number: int) -> int:
        """Return a number of subtomograms or epochs at the study's scale, at least 1."""
        return max(1, round(number * self.scale))


def _places(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> set[tuple[str, str, str]]:
    """Return data, start and labels of each figure."""
    return {(data, start, labels) for data, starts in figures.items() for start in starts for labels in starts[start]}


class Labels(NamedTuple):
    """How many labels a classifier learns from, as settings of a run."""

    column: str
    """The name of the column, as the table's head shows it."""
    training: Table


def parse_labels(value: str | int) -> Labels:
    """Read "25 %" or 5 (of each class); raise `ValueError` for anything else."""
    if isinstance(value, int):
        if value < 1:
            raise ValueError(f"labels {value}: at least 1 of each class")
        return Labels(f"{value} per class", {"labels_per_class": value})
    try:
        share = float(value.removesuffix("%")) / 100
    except ValueError:
        share = -1
    if not (value.endswith("%") and 0 < share <= 1):
        raise ValueError(f"labels '{value}': a share such as '25 %', or a number for each class")
    return Labels(f"{100 * share:g} %", {"labels": share})


def _column(labels: str) -> str:
    """Return the column that a table's key means: '25 %', 5 or '5 per class', all of them text there."""
    number = labels.removesuffix(" per class")
    return parse_labels(int(number) if number.isdecimal() else labels).column


def shipped() -> list[str]:
    """Return the names of the studies that cryoreg and other packages bring."""
    return [component.reference for component in registry.components("studies")]


def load_study(
    name: str,
    changes: Mapping[str, object] | None = None,
    structures: Path | None = None,
    data: Path | None = None,
    dataset: str | None = None,
) -> Study:
    """Return a shipped study by name or one by the path of its TOML file, with ``changes`` laid over it.

    ``changes`` are nested as in the file. ``structures`` goes to all simulated data, ``data`` (a path) and ``dataset``
    (a reader) to all others. Raises `ConfigError`, one line, for an unknown name, unreadable TOML or a
    value out of its limits.
    """
    path = Path(name).expanduser()
    own = path.suffix == ".toml"
    source = name if own else f"study {name}"
    try:
        values = laid_over(parse_toml(_read(path if own else _shipped_file(name))), changes or {})
    except ValueError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    try:
        return Study.model_validate(_with_sources(values, structures, data, dataset))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first(error)}") from error


def _shipped_file(name: str) -> Path:
    try:
        file: Path = registry.find_part("study", ALIASES.get(name, name))
    except UnknownComponentError as error:
        raise ConfigError(f"no study '{name}': {error}; or give the path of a .toml file") from error
    return file


def _with_sources(
    values: dict[str, object], structures: Path | None, data: Path | None, dataset: str | None
) -> dict[str, object]:
    given = {"root": str(data.absolute()) if data else None, "name": dataset}
    reader = {key: value for key, value in given.items() if value is not None}
    sources = values.get("data", {})
    if not isinstance(sources, dict) or not all(isinstance(source, dict) for source in sources.values()):
        return values  # which the study then refuses
    for real, told in ((False, structures), (True, data or dataset)):
        if told is not None and not any(("simulate" not in source) is real for source in sources.values()):
            kind = "real data" if real else "data that are simulated"
            raise ConfigError(f"{told}: is for {kind}, of which this study has none; leave it out")
    sources = dict(sources)
    for name, source in sources.items():
        if "simulate" in source and structures is not None:
            sources[name] = laid_over(source, {"simulate": {"structures": str(structures)}})
        elif "simulate" not in source:
            sources[name] = laid_over(source, {"dataset": reader})
    return values | {"data": sources}


def _read(path: Path) -> str:
    try:
        return read_settings(path, ConfigError)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read study {path}: {getattr(error, 'strerror', None) or error}") from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{place}: not a setting of a study"
    return f"{place or 'the study'}: {first['msg'].removeprefix('Value error, ')}"


def laid_over(values: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Merge nested tables, ``changes`` over ``values``."""
    merged = dict(values)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = laid_over(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged
