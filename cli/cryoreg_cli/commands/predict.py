"""`cryoreg predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cryoreg import telling
from cryoreg.quick_imports import quick_imports
from cryoreg_cli import describing, next_steps, options, setting_options, terminal
from cryoreg_cli.completion_values import COMPONENT
from cryoreg_cli.setting_options import INFER

if TYPE_CHECKING:
    from cryoreg.inference.predict import Threshold
    from cryoreg.predictions import Predictions


class _Threshold(click.ParamType):
    name = "confidence"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Threshold:
        """Return "auto" or a number."""
        return "auto" if value == "auto" else click.FloatRange(0, 1)(value, param, ctx)


@options.command()
@click.argument("run", type=options.PATH)
@setting_options.options(INFER)
@options.output("A .star, .csv or .tbl file, or another's.")
@click.option("--format", "form", type=COMPONENT["writer"], metavar="NAME", help="The writer. [as the suffix says]")
@click.option(
    "--unsure",
    type=_Threshold(),
    default="0.5",
    metavar="CONFIDENCE",
    help="Below this a class is unsure; auto: where 95 % of the validation split were right.",
)
@click.option(
    "--none-of-these",
    default="auto",
    metavar="auto|SCORE|off",
    help="How to tell what is none of the classes: max_softmax, energy, mahalanobis, nearest; auto: the best of them.",
)
@options.SKIP_BAD
@options.OVERWRITE
@options.jsonable
@options.quietable
def predict(
    run: Path,
    output: Path,
    form: str | None,
    unsure: Threshold,
    none_of_these: str,
    skip_bad: bool,
    overwrite: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Classify subtomograms or particle lists with the classifier of the fine-tuning RUN.

    STAR and Dynamo lists keep all that they had; class, name, confidence, unsure, and what may be none of the classes
    are added. Without --data, the run's own data set is classified. Where data differ from those of training, a warning
    says in what.
    """
    with quick_imports():
        from cryoreg.inference.predict import run_prediction

    layers = setting_options.layers(INFER, given, assignments)
    predictions = run_prediction(
        run, layers, output, form, unsure, none_of_these, overwrite, skip_bad, say=telling.tell
    )
    for name, reason in predictions.left_out.items():
        telling.tell(f"left out  {name}: {reason}")
    if predictions.left_out:
        telling.tell(f"left out: {len(predictions.left_out)} could not be read and were not classified")
    next = next_steps.after_prediction(run, given, assignments)
    if as_json:
        plain = {"run": str(run), "output": str(output), **_plain(predictions), "next": next}
        return terminal.result(describing.to_json(plain))
    _print(predictions)
    terminal.written(output, f"predictions  {output}")
    click.echo(f"next         {next}")


def _plain(predictions: Predictions) -> dict[str, object]:
    keys = ("number", "name", "subtomograms", "mean_confidence", "unsure")
    rows = [dict(zip(keys, row, strict=True)) for row in predictions.summary()]
    doubts = predictions.doubts
    strangers = doubts and doubts.strangers
    strange = int(strangers.none_of_these.sum()) if strangers and strangers.tells else None
    return {
        "subtomograms": len(predictions.ids),
        "unsure": int(predictions.unsure.sum()),
        "threshold": predictions.threshold,
        "temperature": predictions.temperature,
        "calibrated": predictions.calibrated,
        "classes": [row if row["subtomograms"] else row | {"mean_confidence": None} for row in rows],
        "none_of_these": strangers and {"score": strangers.score, "subtomograms": strange},
        "drift": list(doubts.warnings) if doubts else [],
        "left_out": predictions.left_out,
    }


def _print(predictions: Predictions) -> None:
    from rich.table import Table

    table = Table("number", "class", "subtomograms", "mean confidence", "unsure")
    for column in (table.columns[0], *table.columns[2:]):
        column.justify = "right"
    for number, name, count, confidence, unsure in predictions.summary():
        table.add_row(str(number), name, str(count), f"{confidence:.2f}" if count else "-", str(unsure))
    terminal.console().print(table)
    state = f"calibrated, T = {predictions.temperature:.3g}" if predictions.calibrated else "not calibrated"
    click.echo(
        f"{len(predictions.ids)} subtomograms, {int(predictions.unsure.sum())} unsure "
        f"(confidence below {predictions.threshold:.3g}; {state})"
    )
    strangers = predictions.doubts and predictions.doubts.strangers
    if strangers and strangers.tells:
        click.echo(
            f"{int(strangers.none_of_these.sum())} may be none of these classes "
            f"(familiarity 0.05 or less, by {strangers.score}; so are about 5 % of those that are one)"
        )
