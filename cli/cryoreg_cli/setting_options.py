"""The options that stand for settings of a configuration, and how they become its layers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cryoreg_cli import options as declared
from cryoreg_cli.completion_values import COMPONENT, LOGGERS, SETTING, START
from cryoreg_cli.options import PATH

if TYPE_CHECKING:
    from cryoreg.config import Layer

Command = Callable[..., object]
_OF_FILES = ("tomograms", "box", "voxel_size")


class Shorthand(NamedTuple):
    """An option that stands for one setting."""

    flag: str
    key: str
    """``section.key``."""
    help: str
    type: click.ParamType | type = str
    metavar: str | None = "NAME"
    unset: str | None = None
    """What is meant where the option is left out and no setting has a default of its own."""

    @property
    def parameter(self) -> str:
        """Return the name under which click passes the value: that of the setting, so that no two flags collide."""
        return self.key.replace(".", "__")


METHOD = Shorthand("--method", "method.name", "Self-supervised method.", COMPONENT["method"])
LEARNER = Shorthand("--learner", "learner.name", "How to learn from the labels.", COMPONENT["learner"])
ENCODER = Shorthand("--encoder", "encoder.name", "3D network.", COMPONENT["encoder"])
AUGMENTATION = Shorthand(
    "--augmentation", "augmentation.name", "Random transformation of each view.", COMPONENT["augmentation"]
)
AUGMENTATION_2 = Shorthand(
    "--augmentation-2",
    "augmentation_2.name",
    "Another recipe for every second view.",
    COMPONENT["augmentation"],
    unset="the same",
)
DATASET = Shorthand(
    "--dataset", "dataset.name", "Source of subtomograms.", COMPONENT["dataset"], unset="worked out from the data"
)
DATA = Shorthand("--data", "dataset.root", "File or folder of the data set.", PATH, "PATH", unset="those of the run")
EPOCHS = Shorthand("--epochs", "training.epochs", "Passes over the training subtomograms.", int, "N")
BATCH_SIZE = Shorthand("--batch-size", "training.batch_size", "Subtomograms per step.", int, "N")
SEED = Shorthand("--seed", "training.seed", "Seed of weights, order and augmentation.", int, "N")
DEVICE = Shorthand(
    "--device", "training.device", "Where to compute.", click.Choice(["auto", "cpu", "cuda", "mps"]), None
)
DEVICES = Shorthand("--devices", "training.devices", "Processes on each node: one per GPU.", int, "N")
NUM_NODES = Shorthand("--num-nodes", "training.num_nodes", "Nodes, under torchrun or SLURM.", int, "N")
PRECISION = Shorthand(
    "--precision", "training.precision", "auto: bf16 where fast.", click.Choice(["auto", "fp32", "bf16"]), None
)
LOGGING = Shorthand("--loggers", "training.loggers", "Where figures go as the run goes on.", LOGGERS, "NAME,NAME")
FROM = Shorthand(
    "--from",
    "training.pretrained",
    "What to start from: weights by name, run directory, encoder.safetensors, lab checkpoint, or 'scratch'.",
    START,
    "NAME|PATH",
    unset="finetune: the encoder's own weights; pretrain: scratch",
)
LABELS = Shorthand("--labels", "training.labels", "Fraction of the training labels to use.", float, "FRACTION")
LABELS_PER_CLASS = Shorthand(
    "--labels-per-class", "training.labels_per_class", "So many labels of each class, instead.", int, "N", unset="all"
)
LABELS_FROM = Shorthand(
    "--labels-from",
    "input.labels_from",
    "Labels from a list of ids and classes (.csv, .star), or a folder of lists of ids, one for each class.",
    PATH,
    "PATH",
    unset="the data's own",
)

SPLIT = Shorthand(
    "--split",
    "split.scheme",
    "parts: train, val and test; cv: cross-validation, then a classifier of all labels.",
    click.Choice(["parts", "cv"]),
    None,
)

_DATA = (DATASET, DATA, EPOCHS, BATCH_SIZE, SEED, DEVICE, DEVICES, NUM_NODES, PRECISION)
PRETRAIN = (METHOD, FROM, ENCODER, AUGMENTATION, AUGMENTATION_2, *_DATA, LOGGING)
_LABELS = (LABELS, LABELS_PER_CLASS, LABELS_FROM, SPLIT)
FINETUNE = (FROM, LEARNER, *_LABELS, ENCODER, AUGMENTATION, AUGMENTATION_2, *_DATA, LOGGING)
EVALUATE = (DATA, LABELS_FROM, DEVICE, PRECISION)
EXPLORE = (DATASET, DATA, DEVICE)
"""Options of commands that look at data, a run's own or others, through its network."""
INFER = (*EXPLORE, PRECISION)


class _Setting(declared.Option):
    """An option that stands for a setting, whose default it shows."""

    def __init__(self, *args: Any, shorthand: Shorthand, task: str | None, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.shorthand, self.task = shorthand, task

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return how the option is written, and what it does, with its default."""
        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]} [{self._left_out(ctx)}]")

    def _left_out(self, ctx: click.Context) -> str:
        from cryoreg.config.defaults import default_of

        if self.shorthand.unset is not None:
            return self.shorthand.unset
        task = self.task or ctx.command.name
        default = default_of(str(task), self.shorthand.key)
        return "that of the run" if default is None else f"default: {default}"


def options(
    shorthands: tuple[Shorthand, ...], task: str | None = None, of_data: bool = True
) -> Callable[[Command], Command]:
    """Return a decorator that adds the shorthands, what is told of files, and --set.

    Defaults are those of ``task``, or of the command.
    """
    settings = declared.settings("SECTION.KEY=VALUE", SETTING)
    decorators = [*(_option(shorthand, task) for shorthand in shorthands), *([files] if of_data else []), settings]
    return lambda command: reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), command)


def _option(shorthand: Shorthand, task: str | None) -> Callable[[Command], Command]:
    return click.option(
        shorthand.flag,
        shorthand.parameter,
        type=shorthand.type,
        metavar=shorthand.metavar,
        help=shorthand.help,
        cls=_Setting,
        shorthand=shorthand,
        task=task,
    )


def files(function: Command) -> Command:
    """Add what a reader may be told of files: short for ``--set dataset.KEY=VALUE``, which has the last word."""

    @wraps(function)
    def run(*args: Any, assignments: tuple[str, ...], **given: Any) -> object:
        told = {key: value for key in _OF_FILES if (value := given.pop(key)) is not None}
        with own_options(*told):
            return function(*args, assignments=(*said(told), *assignments), **given)

    decorators = (declared.TOMOGRAMS, declared.box(left_out=" [a network's own; else 32]"), declared.VOXEL_SIZE)
    return reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), run)


@contextmanager
def own_options(*keys: str) -> Iterator[None]:
    """Name a command's own options, such as --voxel-size, where messages name the settings of its data set."""
    from cryoreg.errors import CryoregError

    if not keys:
        yield
        return
    settings = re.compile(rf"(?:--set )?\bdataset\.({'|'.join(keys)})\b(?: \((?:--[a-z-]+|argument)\))?(=?)")
    try:
        yield
    except CryoregError as error:
        named = settings.sub(lambda found: f"--{found[1].replace('_', '-')}{found[2] and ' '}", str(error))
        error.args = (named, *error.args[1:])
        raise


class _Said(str):
    """An assignment, as --set takes it, that another option makes."""

    flag: str


def said(told: Mapping[str, object]) -> list[str]:
    """Return what options of these names say of the data set, as assignments that know their option."""
    return [_assignment(key, value) for key, value in told.items() if value is not None]


def _assignment(key: str, value: object) -> _Said:
    plain = list(value) if isinstance(value, tuple) else value
    made = _Said(f"dataset.{key}={json.dumps(plain, default=str, ensure_ascii=False)}")
    made.flag = f"--{key.replace('_', '-')}"
    return made


def layers(
    shorthands: tuple[Shorthand, ...],
    given: Mapping[str, object],
    assignments: tuple[str, ...],
    config: Path | None = None,
    data: Path | None = None,
) -> list[Layer]:
    """Return the layers in the order of their precedence: a project, --config, DATA, shorthands, --set."""
    from cryoreg.config import Layer, find_project, parse_assignment, read_toml
    from cryoreg.config.requirements import require_plugins

    project = find_project()
    found = [project.layer()] if project else []
    found += [read_toml(config)] if config else []
    require_plugins(found)  # before torch is imported
    if data is not None:
        found.append(Layer("DATA", {"dataset": {"root": data}}))
    for shorthand in shorthands:
        if given[shorthand.parameter] is not None:
            section, key = shorthand.key.split(".")
            found.append(Layer(shorthand.flag, {section: {key: given[shorthand.parameter]}}))
    return found + [parse_assignment(text, getattr(text, "flag", "--set")) for text in assignments]


def dataset_settings(assignments: tuple[str, ...], command: str) -> dict[str, object]:
    """Return the --set values of a command that takes settings of the data set only."""
    from cryoreg.config import parse_assignment
    from cryoreg.errors import ConfigError

    parameters: dict[str, object] = {}
    for text in assignments:
        values = parse_assignment(text).values
        if "dataset" not in values:
            raise ConfigError(
                f"--set {text}: `cryoreg {command}` takes settings of the data set: --set dataset.key=value"
            )
        parameters |= values["dataset"]
    return parameters
