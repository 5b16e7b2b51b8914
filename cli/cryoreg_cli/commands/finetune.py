"""`cryoreg finetune`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cryoreg_cli import run_options
from cryoreg_cli.run_options import FINETUNE


@click.command()
@run_options.options(FINETUNE)
@run_options.run_options
def finetune(
    recipe: str | None,
    config: Path | None,
    run_dir: Path | None,
    resume: bool,
    dry_run: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Train a classifier on labelled subtomograms, from pretrained weights or from scratch.

    With --from, encoder, data set and split are those of the pretraining run unless given here. The epoch that does
    best on the validation split is kept.
    """
    from cryoreg.config import resolve

    layers = run_options.layers(FINETUNE, given, assignments, config)
    if resume:
        from cryoreg.runs.run_folder import with_run

        layers = with_run("finetune", layers, run_options.to_resume(run_dir))
    else:
        from cryoreg.runs.weights import with_pretrained

        layers = with_pretrained(layers)
    resolved = resolve("finetune", [*run_options.recipe(recipe, "finetune"), *layers])
    if dry_run:
        return run_options.print_values(resolved)
    from cryoreg.training.finetune import run_finetuning

    result = run_finetuning(resolved, run_dir or run_options.default_run_dir(resolved), resume)
    run_options.say(f"validation accuracy {100 * result.val_accuracy:.1f} % at epoch {result.best_epoch}")
    run_options.say(f"classifier          {result.classifier}")
    run_options.say(f"next                cryoreg evaluate {shlex.quote(str(result.run_dir))}")
