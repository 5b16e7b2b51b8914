"""In which order `cryoreg --help` shows the commands: by the steps of the work, each with an example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Step(NamedTuple):
    """Part of the work."""

    title: str
    commands: tuple[str, ...]
    example: str


STEPS = (
    Step(
        "Data",
        ("pick", "extract", "convert", "simulate"),
        "cryoreg pick tomo.mrc --diameter 120 --output picks.star",
    ),
    Step("Look", ("inspect", "view", "preview", "report", "explain"), "cryoreg inspect particles.star"),
    Step(
        "Learn",
        ("label", "suggest", "pretrain", "finetune", "evaluate"),
        "cryoreg finetune --data labelled.star --labels-per-class 5 --run-dir runs/few",
    ),
    Step(
        "Use",
        ("predict", "select", "average", "cluster", "embed", "export"),
        "cryoreg predict runs/few --data particles.star --output classes.star",
    ),
    Step(
        "Compare and publish",
        ("benchmark", "demo", "new", "check"),
        "cryoreg benchmark gupta2022 --structures my_pdbs/",
    ),
    Step("Help", ("list", "show", "help", "doctor", "completion"), "cryoreg help finetune"),
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
