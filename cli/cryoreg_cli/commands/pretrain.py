"""`cryoreg pretrain`."""

from __future__ import annotations

from pathlib import Path

from cryoreg_cli import next_steps, options, run_options, setting_options
from cryoreg_cli.setting_options import PRETRAIN


@options.command()
@setting_options.options(PRETRAIN)
@run_options.run_options
@options.quietable
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

    Without options: MoCo, RB3D and the paper's augmentation on the embedded demo data. --from goes on from trained
    weights (`cryoreg list --kind weights`), whose encoder it takes, or from a run, of which also data set and split.
    """
    from cryoreg.config import resolve

    layers = setting_options.layers(PRETRAIN, given, assignments, config)
    resolved = resolve("pretrain", run_options.of_run("pretrain", layers, recipe, run_dir, resume))
    if dry_run:
        return run_options.print_values(resolved)
    run_options.require_data(resolved)
    from cryoreg.training.pretrain import run_pretraining

    result = run_pretraining(resolved, run_dir or run_options.default_run_dir(resolved), resume)
    next = next_steps.after_pretraining(result.run_dir, result.labelled)
    run_options.say(result.run_dir, f"encoder   {result.encoder}", f"next      {next}")
