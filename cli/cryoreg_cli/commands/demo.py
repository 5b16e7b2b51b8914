"""`cryoreg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg_cli import options, run_options, setting_options, terminal
from cryoreg_cli.setting_options import DEVICE, PRECISION, SEED

if TYPE_CHECKING:
    from cryoreg.benchmark.demo_study import Shown

OPTIONS = (SEED, DEVICE, PRECISION)


@options.command()
@setting_options.options(OPTIONS, "pretrain", of_data=False)
@options.run_dir("Where the runs' files go. [a new one in runs/]")
@options.quietable
def demo(run_dir: Path | None, assignments: tuple[str, ...], **given: object) -> None:
    """Show what trained weights are worth where few labels are known, on the embedded data set, in minutes.

    Five labels of each class; the encoder starts from shipped weights, from pretraining on the data, and from random
    weights, three seeds each. Accuracies are of the held-out test split. The shipped weights have not seen these ten
    structures, but others that are made up likewise: on real ones they do less well.
    """
    from cryoreg.benchmark.demo_study import run_demo

    layers = setting_options.layers(OPTIONS, given, assignments)
    folder = run_dir or run_options.new_run_dir("demo")
    _print(run_demo(folder, layers, say=telling.tell))


def _print(shown: Shown) -> None:
    from rich.table import Table

    from cryoreg.benchmark.demo_study import LABELS, SEEDS, said_of

    table = Table("encoder starts from", "frozen, logistic regression", "fine-tuned", title=f"{LABELS} labels a class")
    for outcome in shown.outcomes:
        frozen = outcome.frozen.get(LABELS)
        total = len(outcome.labels)
        table.add_row(
            f"{outcome.start} weights", said_of(frozen, total) if frozen else "-", said_of(outcome.tuned, total)
        )
    terminal.console().print(table)
    first, last = shown.outcomes[0], shown.outcomes[-1]
    gains = [a - b for a, b in zip(first.tuned, last.tuned, strict=True)]
    click.echo(
        f"shipped over random weights, fine-tuned: {_points(gains)} "
        f"({len(first.labels)} test subtomograms, chance {100 / len(shown.classes):.0f} %)"
    )
    click.echo(
        f"±: standard deviation of {SEEDS} seeds; in brackets, where these do not differ: 95 % Wilson of "
        f"{len(first.labels)} test subtomograms"
    )
    click.echo(
        "note: these structures are made up, as are those that the shipped weights were taught; real ones are harder"
    )
    terminal.written(shown.picture, f"picture   {shown.picture}")


def _points(gains: list[float]) -> str:
    """Write a gain over seeds: the mean, and how far it varies where it does."""
    from cryoreg.benchmark.spreads import mean_and_spread, varies

    mean, spread = mean_and_spread(gains)
    if varies(100 * spread):
        return f"{100 * mean:+.1f} ± {100 * spread:.1f} points"
    return f"{100 * mean:+.1f} points, with each seed"
