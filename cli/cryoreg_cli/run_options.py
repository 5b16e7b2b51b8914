"""The options of commands that train, and what a new run, or one to go on with, is made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg_cli import options as declared
from cryoreg_cli import terminal
from cryoreg_cli.completion_values import COMPONENT
from cryoreg_cli.options import PATH

if TYPE_CHECKING:
    from cryoreg.config import Layer, RunConfig

Command = Callable[..., object]


def run_options(command: Command) -> Command:
    """Add the options of a command that starts or continues a run."""
    decorators = (
        click.option(
            "--recipe",
            type=COMPONENT["recipe"],
            metavar="NAME",
            help="Known good settings to start from: best, ... [none]",
        ),
        click.option("--config", type=PATH, metavar="TOML", help="Settings over those. [none]"),
        declared.run_dir("Where the run's files go. [a new one in runs/]"),
        click.option("--resume", is_flag=True, help="Go on with the run in --run-dir, from its last checkpoint."),
        click.option("--dry-run", is_flag=True, help="Print every value and where it came from, and stop."),
    )
    return reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), command)


def of_run(task: str, layers: list[Layer], name: str | None, run_dir: Path | None, resume: bool) -> list[Layer]:
    """Return all layers of a run, from --recipe ``name`` to --set: those of a new one, or of one to go on with."""
    from cryoreg.config.project import without_project
    from cryoreg.runs.starts import layers_of_run

    if resume:
        return layers_of_run(task, without_project(layers), name, to_resume(run_dir))
    return layers_of_run(task, [*_default_start(task, layers), *layers], name, None)


def _default_start(task: str, layers: list[Layer]) -> list[Layer]:
    """Return the layer of a project's weights, for fine-tuning that names neither a start nor an encoder."""
    from cryoreg.config import Layer, find_project

    project = find_project()
    named = any("encoder" in layer.values or "pretrained" in layer.values.get("training", {}) for layer in layers)
    if task != "finetune" or named or project is None or project.weights is None:
        return []
    return [Layer(project.shown, {"training": {"pretrained": project.weights}})]


def require_data(config: RunConfig) -> None:
    """Refuse to train on the embedded demonstration unless it was asked for."""
    if config.sources["dataset.name"] == "default":
        raise click.UsageError(
            "which subtomograms? say --data PATH, a folder, list or store; --dataset demo means the embedded ones"
        )


def to_resume(run_dir: Path | None) -> Path:
    """Return the run to resume, which must be named."""
    if run_dir is None:
        raise click.UsageError("--resume needs --run-dir: the run to go on with")
    return run_dir


def new_run_dir(name: str) -> Path:
    """Return a new folder under ./runs, named by the time and what is run."""
    from datetime import datetime

    first = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(path for path in chain([first], numbered) if not path.exists())


def default_run_dir(config: RunConfig) -> Path:
    """Return a new folder for a run of this config; processes of one run cannot agree on one."""
    from cryoreg.training.launch import launched_processes

    if launched_processes() > 1:
        raise click.UsageError("under torchrun and SLURM, --run-dir must be given: all processes write to one run")
    chosen = [config.choices[kind].component.name for kind in ("method", "encoder") if kind in config.choices]
    return new_run_dir("-".join([config.task, *chosen]))


def say(run_dir: Path, *lines: str) -> None:
    """Print lines on a run that has been trained, once for all its processes; its folder, where all is quiet."""
    from cryoreg.training.launch import is_leader

    if is_leader():
        terminal.written(run_dir, "\n".join(lines))


def print_values(config: RunConfig) -> None:
    """Print every setting with its value and source."""
    rows = [(key, "unset" if value is None else str(value), source) for key, value, source in config.values()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, value, source in rows:
        click.echo(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {source}")
