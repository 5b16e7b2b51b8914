"""What a shell offers for the values of options: names of components, settings, studies, recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cryoreg import registry
from cryoreg.kinds import KINDS, SEAMS, Kind, Seam

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cryoreg.config import Layer

Offers = Iterable[CompletionItem[str]]

_DATASET_ONLY = ("convert", "extract", "inspect", "view")
"""Commands whose --set takes settings of the data set alone."""


class Offered(click.ParamType):
    """Text for which a shell offers values; any other is taken as well."""

    name = "text"

    def __init__(self, offer: Callable[[click.Context, str], Offers]) -> None:
        """Take what yields the values for what stands on the line, and for the word so far."""
        self.offer = offer

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Return the values that the word so far begins; none where looking for them fails, as nobody could be told."""
        try:
            return [item for item in self.offer(ctx, incomplete) if item.value.startswith(incomplete)]
        except Exception:
            return []


def component(kind: Kind | Seam) -> Offered:
    """Return the type of a component's name."""
    return Offered(lambda ctx, incomplete: _components(kind))


def _components(kind: Kind | Seam, before: str = "") -> Iterator[CompletionItem[str]]:
    for found in registry.components(registry.group_of(kind)):
        yield CompletionItem(before + found.reference, help=f"{found.dist} {found.version}")


def _component_of_kind(ctx: click.Context, incomplete: str) -> Offers:
    return _components(ctx.params["kind"])


def _commands(ctx: click.Context, incomplete: str) -> Offers:
    return (CompletionItem(found.reference) for found in registry.components("commands"))


def _components_and_packages(ctx: click.Context, incomplete: str) -> Offers:
    found = [c for kind in (*KINDS, *SEAMS) for c in registry.components(registry.group_of(kind))]
    yield from map(CompletionItem, sorted({c.reference for c in found} | {c.dist for c in found}))


def _loggers(ctx: click.Context, incomplete: str) -> Offers:
    before = incomplete[: incomplete.rfind(",") + 1]
    return _components("logger", before)


def _studies(ctx: click.Context, incomplete: str) -> Offers:
    from cryoreg.benchmark.study import ALIASES, shipped

    yield from map(CompletionItem, sorted({*ALIASES, *shipped()} - {*ALIASES.values()}))
    yield CompletionItem(incomplete, type="file")


def _start(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    from cryoreg.config.starts import SCRATCH

    yield from _components("weights")
    yield CompletionItem(SCRATCH, help="random weights")
    yield CompletionItem(incomplete, type="file")


def _scene_settings(ctx: click.Context, incomplete: str) -> Offers:
    from cryoreg.simulation.settings import SceneSettings

    return _fields(SceneSettings, "", incomplete)


def _settings(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """Yield the settings of the components that the line so far has chosen, and then the values of one."""
    from cryoreg.config import TASKS, kind_of
    from cryoreg.config.settings import InputSettings, SplitSettings

    task = ctx.command.name if ctx.command.name in TASKS else "pretrain"
    names = _chosen(ctx, str(task))
    for section, name in names.items():
        if incomplete.startswith(f"{section}.name="):
            yield from _components(kind_of(section), f"{section}.name=")
        else:
            yield CompletionItem(f"{section}.name=", help=f"name of the {kind_of(section)}")
        yield from _fields(registry.find_spec(kind_of(section), name)[1], f"{section}.", incomplete)
    if ctx.command.name not in _DATASET_ONLY:
        yield from _fields(TASKS[str(task)].settings, "training.", incomplete)
        yield from _fields(SplitSettings, "split.", incomplete)
        yield from _fields(InputSettings, "input.", incomplete)


def _fields(model: type[BaseModel], before: str, incomplete: str) -> Iterator[CompletionItem[str]]:
    """Yield ``KEY=`` for every field, and ``KEY=VALUE`` for the values of the one that is being typed."""
    from cryoreg.parameters import choices

    for name, field in model.model_fields.items():
        key = f"{before}{name}="
        if incomplete.startswith(key):
            yield from (CompletionItem(key + value) for value in choices(field.annotation))
        else:
            yield CompletionItem(key, help=field.description)


def _chosen(ctx: click.Context, task: str) -> dict[str, str]:
    """Return section -> component, from defaults, recipe, configs and options in the order of their precedence."""
    from cryoreg.config import TASKS

    names = dict(TASKS[task].components)
    for values in (layer.values for layer in _layers(ctx, task)):
        names |= {section: str(entries["name"]) for section, entries in values.items() if "name" in entries}
    wanted = ["dataset"] if ctx.command.name in _DATASET_ONLY else names
    return {section: name for section in wanted if (name := names.get(section)) is not None}


def _layers(ctx: click.Context, task: str) -> Iterator[Layer]:
    from cryoreg.config import Layer, parse_assignment, read_toml
    from cryoreg.config.recipes import recipe_layer

    given: Mapping[str, Any] = ctx.params
    if given.get("recipe"):
        yield recipe_layer(given["recipe"], task)
    # Where the line ends in an option that waits for its value, click has not named the arguments yet.
    run = given.get("run") or given.get("run_dir") or next(iter(ctx.args), None)
    for file in (given.get("config"), run and Path(run) / "config.toml"):
        if file and Path(file).is_file():
            yield read_toml(Path(file))
    options = {key.removesuffix("__name"): value for key, value in given.items() if key.endswith("__name") and value}
    reader = "tomogram" if ctx.command.name == "extract" else given.get("dataset")
    options |= {"dataset": reader} if reader else {}
    yield Layer("options", {section: {"name": name} for section, name in options.items()})
    yield from map(parse_assignment, given.get("assignments") or ())


COMMAND = Offered(_commands)
COMPONENT = {kind: component(kind) for kind in (*KINDS, *SEAMS)}
COMPONENT_OF_KIND = Offered(_component_of_kind)
"""The name of a component whose kind is the argument before it."""
COMPONENT_OR_PACKAGE = Offered(_components_and_packages)
LOGGERS = Offered(_loggers)
"""Names with commas between them."""
SCENE_SETTING = Offered(_scene_settings)
SETTING = Offered(_settings)
START = Offered(_start)
STUDY = Offered(_studies)
