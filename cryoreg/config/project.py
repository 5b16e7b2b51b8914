"""The project file, ``cryoreg.toml``: facts that are said once, for all commands in and below its folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from cryoreg import registry
from cryoreg.config.layers import Layer, read_toml
from cryoreg.config.sniffing import choose
from cryoreg.config.starts import Start, name_of_weights
from cryoreg.config.validation import Entries, absolute, is_path, validated
from cryoreg.errors import ConfigError
from cryoreg.registry import suggestion
from cryoreg.specs import DatasetSpec, Settings, Stated, Tilts

PROJECT_FILE = "cryoreg.toml"
Of = Literal["tomograms", "subtomograms"]
"""The tables of facts, by what their files are."""
TABLES: tuple[Of, ...] = ("tomograms", "subtomograms")


def _names(given: tuple[str, ...]) -> tuple[str, ...]:
    if not all(name.strip() == name != "" for name in given) or len(set(given)) < len(given):
        raise ValueError("should be different names, none of them empty or with blanks at its ends")
    return given


class Facts(Settings):
    """What is true of files, where they do not say it themselves."""

    path: Path = Field(description="the file or folder of which all this is told")
    voxel_size: float | None = Field(None, gt=0, description="Å per voxel")
    contrast: Literal["bright", "dark"] | None = Field(None, description="how density looks in the files")
    tilt_range: Tilts | None = Field(None, description="smallest and largest tilt, degrees")
    tilt_axis: Literal["x", "y"] | None = Field(None, description="the axis of the tilt series, the beam being z")
    overrule: bool = Field(False, description="whether all this holds against what the files say of themselves")

    def covers(self, path: str | Path) -> bool:
        """Tell whether a file or folder is, or lies in, the one of which the facts are told."""
        return lies_in(path, self.path)


class _General(Settings):
    """What is no table of facts."""

    classes: Annotated[tuple[str, ...], AfterValidator(_names)] = Field((), description="names of the classes")
    weights: str | None = Field(None, description="what to start from: trained weights by name, or a path")


@dataclass(frozen=True)
class Project:
    """What a project file says."""

    file: Path
    """Absolute."""
    classes: tuple[str, ...] = ()
    weights: Start | None = None
    """What commands start from that are told no start."""
    tomograms: Facts | None = None
    subtomograms: Facts | None = None

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a project file, whose paths are relative to it; raise `ConfigError`, one line, for what is wrong."""
        return cls.of(file.absolute(), read_toml(file).values)

    @classmethod
    def of(cls, file: Path, values: Mapping[str, Any]) -> Self:
        """Do the same with what a file at that place holds, or would hold."""
        shown = shown_path(file)
        _check_keys(shown, values)
        given: Entries = {key: (value, shown) for key, value in values.items() if key not in TABLES}
        general = validated(_General, "", "a key of it", given)
        facts = {table: _facts(file, table, values[table]) for table in TABLES if table in values}
        return cls(file, general.classes, _start(file, general.weights), **facts)

    @property
    def shown(self) -> str:
        """The file as messages name it: relative to the working directory."""
        return shown_path(self.file)

    def facts(self, of: Of) -> Facts | None:
        """Return one of its tables."""
        return self.tomograms if of == "tomograms" else self.subtomograms

    def facts_of(self, file: str | Path) -> Facts | None:
        """Return the table that tells of a single file; None where none does."""
        return next((facts for of in reversed(TABLES) if (facts := self.facts(of)) and facts.covers(file)), None)

    def layer(self) -> Layer:
        """Return it as a layer of settings, whose facts `with_facts` gives to the reader that they are for."""
        return Layer(_Whole(self.shown, self), {})


class ProjectSource(str):
    """The source of values that a project file says."""

    facts: Facts

    def stated(self, keys: Iterable[str]) -> Stated:
        """Return what a spec is told of its values with these keys."""
        return Stated(str(self), str(self.facts.path), tuple(keys), self.facts.overrule)


class _Whole(str):
    """The source of a layer that stands for all of a project, until the reader of the data is known."""

    project: Project

    def __new__(cls, shown: str, project: Project) -> Self:
        source = super().__new__(cls, shown)
        source.project = project
        return source


def with_facts(layers: Iterable[Layer]) -> list[Layer]:
    """Put in place of a project's layer the facts that it has for the data that layers after it name.

    Data that layers before it name are a run's, of which all is recorded. Raises `DataError` where no reader fits.
    """
    given = list(layers)
    found = []
    for place, layer in enumerate(given):
        if not isinstance(layer.source, _Whole):
            found.append(layer)
            continue
        told = _data_of(given[place + 1 :])
        if "root" in told and is_path(str(told["root"])):
            found.append(_layer_for(layer.source.project, _data_of(given).get("name"), told))
    return found


def without_project(layers: Iterable[Layer]) -> list[Layer]:
    """Return layers without that of a project, for runs that go on as they were recorded."""
    return [layer for layer in layers if not isinstance(layer.source, _Whole)]


def _data_of(layers: Iterable[Layer]) -> dict[str, object]:
    tables = (layer.values.get("dataset", {}) for layer in layers)
    return {key: value for table in tables if isinstance(table, Mapping) for key, value in table.items()}


def _layer_for(project: Project, name: object, told: Mapping[str, object]) -> Layer:
    root = absolute(Path(str(told["root"])))
    reader = name if isinstance(name, str) else choose(root).name
    facts, source = facts_for(project, reader, root, told)
    return Layer(source, {"dataset": facts})


def facts_for(
    project: Project, reader: str, root: Path, told: Mapping[str, object]
) -> tuple[dict[str, object], ProjectSource]:
    """Return what a project says of data, as values of their reader's spec, and the source of it.

    Facts of tomograms are for particle lists in the project's folder, unless the user has ``told`` of tomograms
    elsewhere; facts of subtomograms are for files in their path.
    """
    source = ProjectSource(project.shown)
    _, spec = registry.find_spec("dataset", reader)
    if not issubclass(spec, DatasetSpec):
        return {}, source
    of_tomograms = "tomograms" in spec.file_facts
    facts = project.tomograms if of_tomograms else project.subtomograms
    named = spec.names_files(root)
    place = told.get("tomograms", named) if of_tomograms else root
    if facts is None or (of_tomograms and not lies_in(root, project.file.parent)):
        return {}, source
    if place is not None and not facts.covers(absolute(Path(str(place)))):
        return {}, source
    source.facts = facts
    values = {**dict(facts), "tomograms": None if named else facts.path}
    return {key: values[key] for key in spec.file_facts if key not in told and values[key] is not None}, source


def find_project(start: Path | None = None) -> Project | None:
    """Return the project whose file lies in a folder, the working directory without, or in the nearest above it."""
    folder = (start or Path.cwd()).absolute()
    for place in (folder, *folder.parents):
        if (place / PROJECT_FILE).is_file():
            return Project.read(place / PROJECT_FILE)
    return None


def lies_in(path: str | Path, folder: Path) -> bool:
    """Tell whether a path is another one or lies below it, by name or, through links, in fact."""
    return any(Path(place(path)).is_relative_to(place(folder)) for place in (os.path.abspath, os.path.realpath))


def shown_path(path: Path) -> str:
    """Return a path as messages name it: relative to the working directory where it is in or near it."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _check_keys(shown: str, values: Mapping[str, object]) -> None:
    known = [*_General.model_fields, *TABLES]
    for key in values:
        if key not in known:
            raise ConfigError(f"{shown}: has no key '{key}'{suggestion(key, known)}; known are {', '.join(known)}")


def _facts(file: Path, table: Of, given: object) -> Facts:
    shown = shown_path(file)
    if not isinstance(given, Mapping):
        raise ConfigError(f"{shown}: '{table}' must be a table: [{table}]")
    if not isinstance(given.get("path"), str) or not given["path"]:
        raise ConfigError(f'{shown}: [{table}] does not say of which files; add path = "<file or folder>"')
    values: dict[str, Any] = {**given, "path": str(_below(file, given["path"]))}
    return validated(Facts, table, f"a fact of {table}", {key: (value, shown) for key, value in values.items()})


def _below(file: Path, path: str) -> Path:
    return file.parent / Path(path).expanduser()


def _start(file: Path, weights: str | None) -> Start | None:
    if not weights:
        return None
    return name_of_weights(weights) or _below(file, weights)
