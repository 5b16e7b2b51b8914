"""`cryoreg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg_cli import run_options
from cryoreg_cli.run_options import DEVICE, PRECISION, SEED
from cryoreg_cli.terminal import console

if TYPE_CHECKING:
    from cryoreg.benchmark.demo_study import Outcome

OPTIONS = (SEED, DEVICE, PRECISION)


@click.command()
@run_options.options(OPTIONS)
@click.option("--run-dir", type=run_options.PATH, metavar="DIR", help="Where the runs' files go.")
def demo(run_dir: Path | None, assignments: tuple[str, ...], **given: object) -> None:
    """Show the main job on the embedded data set, in minutes.

    MoCo pretraining, fine-tuning at 25 % of the labels from pretrained and from random weights, and the accuracy of
    both on the held-out test split.
    """
    from cryoreg.benchmark.demo_study import run_demo

    layers = run_options.layers(OPTIONS, given, assignments)
    folder = run_dir or run_options.new_run_dir("demo")
    _print(run_demo(folder, layers, say=lambda text: click.echo(text, err=True)))


def _print(outcomes: list[Outcome]) -> None:
    from rich.table import Table

    from cryoreg.benchmark.demo_study import paired_difference

    title = "RB3D with batch normalisation, 25 % of the labels"
    table = Table("encoder starts from", "test accuracy", "macro-F1", title=title)
    for start, evaluation, _ in outcomes:
        accuracy = f"{100 * evaluation.accuracy:.1f} ± {100 * evaluation.accuracy_error:.1f} %"
        table.add_row(f"{start} weights", accuracy, f"{evaluation.macro_f1:.3f}")
    console().print(table)
    gain, error = paired_difference(outcomes[0].evaluation, outcomes[1].evaluation)
    evaluation = outcomes[0].evaluation
    click.echo(
        f"difference {100 * gain:+.1f} ± {100 * error:.1f} points; one seed, ± is the standard error over "
        f"{len(evaluation.labels)} test subtomograms of {len(evaluation.classes)} classes "
        f"(chance {100 / len(evaluation.classes):.0f} %)"
    )
    for start, _, run_dir in outcomes:
        click.echo(f"{start:<18} {run_dir}")
