"""One run = components + settings, resolved from layers (defaults, file, options) that name their source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

import tomli_w
from pydantic import BaseModel

from cryoreg import registry
from cryoreg.config.layers import Layer
from cryoreg.config.project import Project, ProjectSource, facts_for, with_facts
from cryoreg.config.requirements import REQUIRED_PLUGINS, require_plugins
from cryoreg.config.settings import FinetuneSettings, InputSettings, PretrainSettings, SplitSettings, TrainingSettings
from cryoreg.config.sniffing import choose
from cryoreg.config.starts import is_name
from cryoreg.config.validation import Entries, absolute, is_path, validated
from cryoreg.errors import ConfigError, UnknownComponentError
from cryoreg.registry import Component, suggestion
from cryoreg.specs import KINDS, AugmentationSpec, DatasetSpec, EncoderSpec, Kind, LearnerSpec, MethodSpec, Spec

if TYPE_CHECKING:
    from cryoreg.contracts import Subtomograms

SettingsOf = TypeVar("SettingsOf", bound=TrainingSettings, covariant=True)
SpecOf = TypeVar("SpecOf", bound=Spec, covariant=True)
SECOND_AUGMENTATION: Literal["augmentation_2"] = "augmentation_2"
"""The section of the recipe for every second view; left out, all views have the same."""


class Task(NamedTuple):
    """What a kind of run is made of."""

    components: dict[str, str | None]
    """Section -> the default component; None where the section may be left out."""
    settings: type[TrainingSettings]


TASKS: dict[str, Task] = {
    "pretrain": Task(
        {
            "encoder": "rb3d",
            "method": "moco",
            "augmentation": "gupta2022",
            SECOND_AUGMENTATION: None,
            "dataset": "demo",
        },
        PretrainSettings,
    ),
    "finetune": Task(
        {
            "encoder": "rb3d",
            "learner": "full",
            "augmentation": "gupta2022",
            SECOND_AUGMENTATION: None,
            "dataset": "demo",
        },
        FinetuneSettings,
    ),
}
PROVENANCE_SECTION = "packages"
"""Section -> "dist version": written into a resolved config, and read for messages only."""
STARTED_FROM = "weights"
"""Beside the sections: the package of the registered weights that the run started from."""

_HOW_MANY_LABELS = ("labels", "labels_per_class")
"""Settings of training, of which the one stands for the other."""
RUNTIME_KEYS = frozenset(
    f"training.{key}"
    for key in (
        *("device", "devices", "num_nodes", "precision", "resident", "memory_gb", "workers"),
        *("save_every_epochs", "save_every_minutes", "probe_every_epochs", "loggers"),
    )
) | {"dataset.root", "dataset.tomograms", "input.labels_from", "encoder.turns", "learner.turns", REQUIRED_PLUGINS}
"""What may differ between a run and its resumption or evaluation: how it is computed, and where its data lie."""


class Choice(NamedTuple, Generic[SpecOf]):
    """A component and its hyper-parameters."""

    component: Component
    spec: SpecOf
    """A spec of the component's kind."""


@dataclass(frozen=True)
class RunConfig(Generic[SettingsOf]):
    """A fully resolved run."""

    task: str
    choices: dict[str, Choice[Spec]]
    """Section -> component: "encoder", "dataset", ..."""
    split: SplitSettings
    training: SettingsOf
    """The task's `TrainingSettings`."""
    sources: dict[str, str] = field(default_factory=dict)
    """Key ("method.temperature") -> where its value came from; a key that is absent has its default."""
    required_plugins: tuple[str, ...] = ()
    """Packages that the run needs, as its config says them: "cryoreg-x>=0.3"."""
    input: InputSettings = field(default_factory=InputSettings)
    """To what the data are brought before the network sees them."""
    started_from: str | None = None
    """The "dist version" of the registered weights that the run started from."""

    @overload
    def spec(self, section: Literal["encoder"]) -> EncoderSpec: ...
    @overload
    def spec(self, section: Literal["method"]) -> MethodSpec: ...
    @overload
    def spec(self, section: Literal["augmentation", "augmentation_2"]) -> AugmentationSpec: ...
    @overload
    def spec(self, section: Literal["learner"]) -> LearnerSpec: ...
    @overload
    def spec(self, section: Literal["dataset"]) -> DatasetSpec: ...
    @overload
    def spec(self, section: str) -> Spec: ...
    def spec(self, section: str) -> Spec:
        """Return the spec chosen for a section, which is of the section's kind: the registry lets no other pass."""
        return self.choices[section].spec

    def check_data(self, dataset: Subtomograms) -> None:
        """Raise `DataError` or `ConfigError` where a component cannot take the data."""
        for _, spec in self.choices.values():
            if isinstance(spec, EncoderSpec):
                spec.check_box(dataset.box)
            elif isinstance(spec, AugmentationSpec):
                spec.check_data(dataset)

    def notes_on(self, dataset: Subtomograms) -> list[str]:
        """Return lines for the user on the data and on what components assume of them."""
        recipes = [spec for _, spec in self.choices.values() if isinstance(spec, AugmentationSpec)]
        return [*dict.fromkeys([*dataset.notes, *(note for spec in recipes for note in spec.notes_on(dataset))])]

    def packages(self) -> dict[str, str]:
        """Return section -> "package version"."""
        found = {section: f"{c.component.dist} {c.component.version}" for section, c in self.choices.items()}
        return found | ({STARTED_FROM: self.started_from} if self.started_from else {})

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested values, as TOML and checkpoints hold them; unset values are left out."""
        sections: dict[str, Any] = {"task": self.task}
        if self.required_plugins:
            sections[REQUIRED_PLUGINS] = list(self.required_plugins)
        for section, (component, spec) in self.choices.items():
            name = component.name if component.builtin else component.qualified
            sections[section] = {"name": name, **_plain(spec)}
        sections |= {"split": _plain(self.split), "training": _plain(self.training)}
        if given := _plain(self.input):
            sections["input"] = given
        return sections | {PROVENANCE_SECTION: self.packages()}

    def to_toml(self) -> str:
        """Return the config as TOML that `cryoreg <task> --config` runs again."""
        return tomli_w.dumps(self.to_dict())

    def values(self) -> Iterator[tuple[str, object, str]]:
        """Yield every (key, value, source)."""
        for section, (component, spec) in self.choices.items():
            yield f"{section}.name", component.name, self.sources.get(f"{section}.name", "default")
            yield from self._values(section, spec)
        yield from self._values("input", self.input)
        yield from self._values("split", self.split)
        yield from self._values("training", self.training)

    def _values(self, section: str, model: BaseModel) -> Iterator[tuple[str, object, str]]:
        for key, value in model:
            yield f"{section}.{key}", value, self.sources.get(f"{section}.{key}", "default")


AnyConfig = RunConfig[TrainingSettings]
"""The config of a run of any task."""


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


@overload
def resolve(task: Literal["pretrain"], layers: Iterable[Layer]) -> RunConfig[PretrainSettings]: ...
@overload
def resolve(task: Literal["finetune"], layers: Iterable[Layer]) -> RunConfig[FinetuneSettings]: ...
@overload
def resolve(task: str, layers: Iterable[Layer]) -> AnyConfig: ...
def resolve(task: str, layers: Iterable[Layer]) -> AnyConfig:
    """Merge layers, the later over the earlier, and validate everything.

    Raises `ConfigError` for an unknown section or key, or a value outside its limits, naming its source; and, before
    any component is loaded, for a required plugin that is not here.
    """
    layers = with_facts(layers)
    required = require_plugins(layers)
    layers = [*learner_recipe(task, layers), *layers]
    merged = _merge(task, layers)
    choices: dict[str, Choice[Spec]] = {}
    sources: dict[str, str] = {}
    for section, default in TASKS[task].components.items():
        if default is None and not merged[section]:
            continue
        if "name" not in merged[section]:
            merged[section]["name"] = _reader(section, merged) or (default, "default")
        name, source = merged[section].pop("name")
        choices[section] = _choose(section, name, merged[section], _recorded_package(section, name, layers), source)
        sources[f"{section}.name"] = source
    split = validated(SplitSettings, "split", "a split setting", merged["split"])
    given = validated(InputSettings, "input", "a setting of what the network is given", merged["input"])
    training = validated(TASKS[task].settings, "training", f"a setting of {task}", merged["training"])
    for section, entries in merged.items():
        sources |= {f"{section}.{key}": source for key, (_, source) in entries.items()}
    return RunConfig(task, choices, split, training, sources, required, given, _started_from(training, layers))


def learner_recipe(task: str, layers: Iterable[Layer]) -> list[Layer]:
    """Return the layer of what the learner that layers choose is best trained with, for below them; none without."""
    name = chosen_learner(task, layers)
    if name is None:
        return []
    _, spec = registry.find_spec("learner", name)
    return [Layer(f"recipe of learner {name}", spec.recipe)] if issubclass(spec, LearnerSpec) and spec.recipe else []


def chosen_learner(task: str, layers: Iterable[Layer]) -> str | None:
    """Return the name of the learner that layers choose, the task's own without; None where it has none."""
    chosen = [layer.values.get("learner") for layer in layers]
    named = [table["name"] for table in chosen if isinstance(table, Mapping) and "name" in table]
    default = TASKS[task].components.get("learner")
    name = named[-1] if named and default else default
    return name if isinstance(name, str) else None


def _started_from(training: TrainingSettings, layers: list[Layer]) -> str | None:
    """Return the package of the weights that a run starts from, as the last layer that records it does."""
    packages = [layer.values.get(PROVENANCE_SECTION, {}).get(STARTED_FROM) for layer in layers]
    known = [str(package) for package in packages if package]
    return known[-1] if known and is_name(training.pretrained) else None


def _merge(task: str, layers: list[Layer]) -> dict[str, Entries]:
    """Return section -> key -> (value, source); changing a component drops its earlier parameters."""
    merged: dict[str, Entries] = {s: {} for s in (*TASKS[task].components, "input", "split", "training")}
    for source, values in layers:
        for section, entries in values.items():
            if section == "task":
                _check_task(task, entries, source)
                continue
            if section == REQUIRED_PLUGINS:
                continue
            _check_section(section, entries, source, merged)
            if section == PROVENANCE_SECTION:
                continue
            held = merged[section]
            if "name" in entries and held.get("name", (None,))[0] not in (None, entries["name"]):
                held.clear()
            if section == "training":
                _drop_what_is_replaced(entries, held)
            held |= {key: (value, source) for key, value in entries.items()}
    return merged


def _drop_what_is_replaced(said: Mapping[str, object], held: Entries) -> None:
    """Forget a number of labels where a fraction is said later, and the reverse: each stands for the other."""
    for one, other in (_HOW_MANY_LABELS, _HOW_MANY_LABELS[::-1]):
        if said.get(one) is not None and other not in said:
            held.pop(other, None)


def _check_task(task: str, found: object, source: str) -> None:
    if found == task:
        return
    advice = f"run `cryoreg {found} --config {source}`" if str(found) in TASKS else f"known: {', '.join(TASKS)}"
    raise ConfigError(f"{source} configures the task {found!r}, not '{task}'; {advice}")


def _check_section(section: str, entries: object, source: str, known: Iterable[str]) -> None:
    known = list(known)
    if section not in (*known, PROVENANCE_SECTION):
        raise ConfigError(
            f"unknown section '{section}' ({source}){suggestion(section, [*known, REQUIRED_PLUGINS])}; "
            f"known: {', '.join(known)}"
        )
    if not isinstance(entries, Mapping):
        raise ConfigError(f"'{section}' ({source}) must be a table, for example [{section}]")


def kind_of(section: str) -> Kind:
    """Return the kind of component that a section configures."""
    return next(kind for kind in KINDS if section.startswith(kind))


def _recorded_package(section: str, name: object, layers: list[Layer]) -> str | None:
    """Return the package that brought component ``name`` to the run that a layer records."""
    recording = (layer.values for layer in layers if layer.values.get(section, {}).get("name") == name)
    recorded = (values.get(PROVENANCE_SECTION, {}).get(section) for values in recording)
    return next((str(package) for package in recorded if package), None)


def _choose(
    section: str, name: object, entries: Entries, recorded: str | None, source: str = "argument"
) -> Choice[Spec]:
    if not isinstance(name, str):
        raise ConfigError(f"{section}.name ({source}): should be the name of a component, but it is {name!r}")
    kind = kind_of(section)
    try:
        component, spec_type = registry.find_spec(kind, name)
    except UnknownComponentError as error:
        if recorded is None:
            raise
        raise UnknownComponentError(f"{error} (this run was made with {recorded}: install that package)") from error
    what = f"a parameter of {kind} '{component.name}'"
    if source == "default":
        what += f" (the default; --{kind} chooses another)"
    spec = validated(spec_type, section, what, entries)
    stated = [(key, source) for key, (_, source) in entries.items() if isinstance(source, ProjectSource)]
    if stated and isinstance(spec, DatasetSpec):
        spec = spec.as_stated(stated[0][1].stated(key for key, _ in stated))
    return Choice(component, spec)


def _reader(section: str, merged: Mapping[str, Entries]) -> tuple[str, str] | None:
    """Return the reader of data that were given without one, and why; raise `DataError` where none or several fit."""
    root = merged[section].get("root")
    if section != "dataset" or root is None or not is_path(str(root[0])):
        return None
    match = choose(absolute(Path(str(root[0]))))
    return match.name, f"it fits {root[0]} ({match.why})"


Parameters = Mapping[str, object]
"""Hyper-parameters by name, which the component's spec checks."""


@overload
def build_spec(
    kind: Literal["encoder"], name: str, parameters: Parameters, recorded: str | None = None
) -> Choice[EncoderSpec]: ...
@overload
def build_spec(
    kind: Literal["method"], name: str, parameters: Parameters, recorded: str | None = None
) -> Choice[MethodSpec]: ...
@overload
def build_spec(
    kind: Literal["augmentation"], name: str, parameters: Parameters, recorded: str | None = None
) -> Choice[AugmentationSpec]: ...
@overload
def build_spec(
    kind: Literal["dataset"], name: str, parameters: Parameters, recorded: str | None = None
) -> Choice[DatasetSpec]: ...
@overload
def build_spec(
    kind: Literal["learner"], name: str, parameters: Parameters, recorded: str | None = None
) -> Choice[LearnerSpec]: ...
@overload
def build_spec(kind: Kind, name: str, parameters: Parameters, recorded: str | None = None) -> Choice[Spec]: ...
def build_spec(kind: Kind, name: str, parameters: Parameters, recorded: str | None = None) -> Choice[Spec]:
    """Return a component with hyper-parameters given in Python; ``recorded``: the package that brings it."""
    return _choose(kind, name, {key: (value, "argument") for key, value in parameters.items()}, recorded)


def choose_dataset(
    root: Path | None, reader: str | None, parameters: Parameters, project: Project | None = None
) -> tuple[Choice[DatasetSpec], str]:
    """Return the data set of a path, read by ``reader`` or the one that fits, and why it is that one.

    What neither ``parameters`` nor the files say, a project may.
    """
    name, why = reader, "as told"
    if name is None:
        if root is None:
            raise ConfigError("which subtomograms? say a path, or --dataset")
        name, why, _ = choose(root)
    given = {**({} if root is None else {"root": root}), **parameters}
    entries: Entries = {key: (value, "argument") for key, value in given.items()}
    if project is not None and root is not None:
        stated, source = facts_for(project, name, root, given)
        entries = {**{key: (value, source) for key, value in stated.items()}, **entries}
    component, spec = _choose("dataset", name, entries, None)
    assert isinstance(spec, DatasetSpec)  # the registry lets no other pass
    return Choice(component, spec), why


def check_same_run(recorded: Mapping[str, object], config: AnyConfig, purpose: str = "resume") -> None:
    """Raise `ConfigError` where a run that goes on would differ from what it recorded in what it computes.

    What an earlier release did not have yet, and so did not record, has its default.
    """
    now, before = _flat(config.to_dict()), _flat(recorded)
    said = {key for key, source in config.sources.items() if source != "default"}
    keys = sorted((now.keys() & said) | before.keys(), key=lambda key: (not key.endswith(".name"), key))
    for key in keys:  # another component first: its parameters differ anyway
        if key not in RUNTIME_KEYS and not key.startswith(PROVENANCE_SECTION) and now.get(key) != before.get(key):
            raise ConfigError(
                f"{key} is {now.get(key)!r}, but the run to {purpose} has {before.get(key)!r}; "
                "drop that setting, or start a new run"
            )


def changed_packages(recorded: Mapping[str, Any], config: AnyConfig, sections: Iterable[str] = ()) -> list[str]:
    """Return a line for each package whose version is not that of the run; of ``sections`` alone, where given."""
    before, now = recorded.get(PROVENANCE_SECTION, {}), config.packages()
    lines: dict[str, list[str]] = {}
    for section in sections or now:
        if section in now and before.get(section, now[section]) != now[section]:
            lines.setdefault(f"came from {before[section]}, and {now[section]} is installed", []).append(section)
    return [f"{' and '.join(names)} of the run {change}" for change, names in lines.items()]


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
