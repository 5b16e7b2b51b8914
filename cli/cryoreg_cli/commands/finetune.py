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
    """Train a classifier on labelled subtomograms, from trained weights or from scratch.

    --from NAME takes the encoder of such weights (`cryoreg list --kind weights`), --from RUN also data set and split,
    unless given here; a word that is both is the name, and ./NAME the path. Left out, the encoder's own trained
    weights are taken, where it has some. The epoch that does best on the validation split is kept.
    """
    from cryoreg.config import resolve

    layers = run_options.layers(FINETUNE, given, assignments, config)
    resolved = resolve("finetune", run_options.of_run("finetune", layers, recipe, run_dir, resume))
    if dry_run:
        return run_options.print_values(resolved)
    run_options.require_data(resolved)
    from cryoreg.training.finetune import run_finetuning

    result = run_finetuning(resolved, run_dir or run_options.default_run_dir(resolved), resume)
    run_options.say(f"validation accuracy {result.validation.said_of('subtomograms')} at epoch {result.best_epoch}")
    run_options.say(f"classifier          {result.classifier}")
    run_options.say(f"next                cryoreg evaluate {shlex.quote(str(result.run_dir))}")
