"""`cryoreg pretrain`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cryoreg_cli import run_options
from cryoreg_cli.run_options import PRETRAIN


@click.command()
@run_options.options(PRETRAIN)
@run_options.run_options
def pretrain(
    recipe: str | None,
    config: Path | None,
    run_dir: Path | None,
    resume: bool,
    dry_run: bool,
    assignments: tuple[str, ...],
    **given: object,
) -> None:
    """Train an encoder on unlabelled subtomograms.

    Without options: MoCo, RB3D and the paper's augmentation on the embedded demo data.
    """
    from cryoreg.config import resolve

    layers = run_options.layers(PRETRAIN, given, assignments, config)
    if resume:
        from cryoreg.runs.run_folder import with_run

        layers = with_run("pretrain", layers, run_options.to_resume(run_dir))
    resolved = resolve("pretrain", [*run_options.recipe(recipe, "pretrain"), *layers])
    if dry_run:
        return run_options.print_values(resolved)
    from cryoreg.training.pretrain import run_pretraining

    result = run_pretraining(resolved, run_dir or run_options.default_run_dir(resolved), resume)
    run_options.say(f"encoder   {result.encoder}")
    run_options.say(f"next      cryoreg finetune --from {shlex.quote(str(result.run_dir))} --labels 0.25")
