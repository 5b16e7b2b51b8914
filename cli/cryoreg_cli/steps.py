"""In which order `cryoreg --help` shows the commands: by the steps of the work, each with an example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cryoreg_cli.examples import EXAMPLES


class Step(NamedTuple):
    """Part of the work."""

    title: str
    commands: tuple[str, ...]
    example: str


STEPS = (
    Step(
        "Data",
        ("init", "pick", "extract", "convert", "simulate"),
        EXAMPLES["pick"],
    ),
    Step("Look", ("inspect", "view", "open", "preview", "report", "explain"), EXAMPLES["inspect"]),
    Step(
        "Learn",
        ("label", "suggest", "pretrain", "finetune", "evaluate"),
        EXAMPLES["finetune"],
    ),
    Step(
        "Use",
        ("predict", "select", "average", "cluster", "embed", "export"),
        EXAMPLES["predict"],
    ),
    Step(
        "Compare and publish",
        ("benchmark", "demo", "new", "check"),
        EXAMPLES["benchmark"],
    ),
    Step("Help", ("list", "show", "help", "doctor", "completion"), EXAMPLES["help"]),
)
OTHERS = "From other packages"


def in_steps(commands: Iterable[str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield the title of each step, those of its commands that there are, and an example; the rest come last."""
    left = list(commands)
    for step in STEPS:
        there = [name for name in step.commands if name in left]
        left = [name for name in left if name not in there]
        if there:
            yield step.title, there, step.example
    if left:
        yield OTHERS, left, ""
