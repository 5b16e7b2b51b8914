"""`cryoreg finetune`."""

from __future__ import annotations

import shlex
from pathlib import Path

from cryoreg_cli import options, run_options, setting_options
from cryoreg_cli.setting_options import FINETUNE


@options.command()
@setting_options.options(FINETUNE)
@run_options.run_options
@options.quietable
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

    With --split cv, every labelled subtomogram is judged by a model that was not shown it, and the classifier then
    learns from all of them: for few labels.
    """
    from cryoreg.config import resolve

    layers = setting_options.layers(FINETUNE, given, assignments, config)
    resolved = resolve("finetune", run_options.of_run("finetune", layers, recipe, run_dir, resume))
    if dry_run:
        return run_options.print_values(resolved)
    run_options.require_data(resolved)
    from cryoreg.inference.evaluate import run_evaluation
    from cryoreg.training.cross_validation import cross_validates
    from cryoreg.training.finetune import run_finetuning

    result = run_finetuning(resolved, run_dir or run_options.default_run_dir(resolved), resume)
    counted = result.validation
    accuracy = counted.said_of("subtomograms") if counted else "not known, as too few labels are left to validate with"
    folds = cross_validates(resolved)
    lines = [f"{'out-of-fold' if folds else 'validation'} accuracy {accuracy}; epoch {result.best_epoch} is kept"]
    if folds:
        run_evaluation(result.run_dir, "test", [])
        lines += [f"out of fold         {result.run_dir / 'predictions_cv.csv'}"]
    lines += [f"classifier          {result.classifier}"]
    lines += [f"next                cryoreg evaluate {shlex.quote(str(result.run_dir))}"]
    run_options.say(result.run_dir, *lines)
