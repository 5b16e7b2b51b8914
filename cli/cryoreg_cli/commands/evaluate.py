"""`cryoreg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg.quick_imports import quick_imports
from cryoreg_cli import describing, next_steps, options, setting_options, terminal
from cryoreg_cli.setting_options import EVALUATE

if TYPE_CHECKING:
    from cryoreg.datasets.splits import SplitPart
    from cryoreg.inference.evaluate import Evaluation


@options.command()
@click.argument("run", type=options.PATH)
@click.option("--part", type=click.Choice(["test", "val", "train"]), default="test", help="Which part of the split.")
@setting_options.options(EVALUATE)
@options.jsonable
@options.quietable
def evaluate(run: Path, part: SplitPart, as_json: bool, assignments: tuple[str, ...], **given: object) -> None:
    """Measure the classifier of the fine-tuning RUN on its held-out test split.

    Of a cross-validation (`cryoreg finetune --split cv`), on all that is labelled: each subtomogram is judged by the
    model that was not shown its fold.
    """
    with quick_imports():
        from cryoreg.inference.evaluate import run_evaluation

    layers = setting_options.layers(EVALUATE, given, assignments)
    found = run_evaluation(run, part, layers, telling.tell)
    for line in found.warnings():
        telling.tell(f"warning: {line}")
    next = next_steps.after_evaluation(run)
    if as_json:
        plain = {"run": str(run), "classes": found.classes, **found.to_dict(), "next": next}
        return terminal.result(describing.to_json(plain))
    show(found)
    click.echo(f"next      {next}")


def show(evaluation: Evaluation) -> None:
    """Print the figures of an evaluation."""
    from rich.table import Table

    folds = evaluation.of_folds()
    title = f"out of fold, {len(folds)} folds" if folds else f"{evaluation.part} split"
    table = Table("class", "subtomograms", "correct", "accuracy", "95 %", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in evaluation.by_class():
        table.add_row(*map(str, row))
    terminal.console().print(table)
    if folds:
        shares = ", ".join(f"{100 * fold['accuracy']:.0f}" for fold in folds)
        click.echo(f"accuracy of each fold: {shares} %")
    click.echo(f"accuracy {evaluation.proportion.said_of('subtomograms')}, macro-F1 {evaluation.macro_f1:.3f}")
