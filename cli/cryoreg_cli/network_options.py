"""How commands are told a trained network: a RUN, weights by name, or those of a project file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli.completion_values import START
from cryoreg_cli.options import PATH

if TYPE_CHECKING:
    from cryoreg.config.starts import Start

Command = Callable[..., object]
_START = click.option(
    "--from",
    "start",
    type=START,
    metavar="NAME|PATH",
    help="Trained weights instead of a RUN, for data alone: a name, a run directory or a file. [none]",
)


def network(command: Command) -> Command:
    """Add the two ways to name a trained network: a RUN, and weights that stand for no run."""
    return click.argument("run", type=PATH, required=False)(_START(command))


def networks(command: Command) -> Command:
    """Add the ways to name trained networks: one RUN or several, and weights that stand for no run."""
    return click.argument("runs", metavar="[RUN]...", type=PATH, nargs=-1)(_START(command))


def network_of(run: Path | None, start: str | None) -> Start:
    """Return the network that a command line names, else a project file: a path, or the name of weights."""
    if run is None and start is None and (told := start_of_project()):
        return told
    if (run is None) == (start is None):
        raise click.UsageError("say which network: a RUN, or --from NAME or PATH")
    return run or os.path.expanduser(start or "")


def classes_of_project() -> list[str]:
    """Return the names of classes in a project file; none where there is none."""
    from cryoreg.config import find_project

    project = find_project()
    return [] if project is None else [*project.classes]


def start_of_project() -> Start | None:
    """Return the weights that a project file names, and say so; None where there is none."""
    from cryoreg.config import find_project

    project = find_project()
    if project is None or project.weights is None:
        return None
    telling.tell(f"note: weights {project.weights} from {project.shown}")
    return project.weights
