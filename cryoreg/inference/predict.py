"""Prediction: the classes of subtomograms that nobody has labelled, with confidences that can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from cryoreg.config import Layer
from cryoreg.config.calls import checked
from cryoreg.config.layers import Chosen
from cryoreg.config.settings import FinetuneSettings
from cryoreg.contracts import Sample, Subtomograms
from cryoreg.datasets.origins import origins_of
from cryoreg.errors import CheckpointError, ConfigError, DataError
from cryoreg.files import write_atomically
from cryoreg.inference.doubts import AUTO, Doubter, doubter_of
from cryoreg.inference.optimisation_sets import new_sets, write_sets
from cryoreg.inference.trained import Trained
from cryoreg.inference.writers import notes_on_files, prepare_writer
from cryoreg.outputs import check_files
from cryoreg.predictions import Predictions
from cryoreg.runs.networks import open_network
from cryoreg.telling import tell
from cryoreg.training.calibration import probabilities, temperature_of
from cryoreg.wrapped import Wrapped

UNSURE = 0.5
Threshold = float | Literal["auto"]


@checked(FinetuneSettings)
def predict(
    run: str | Path,
    *,
    data: str | Path | None = None,
    dataset: Chosen = None,
    output: str | Path | None = None,
    format: str | None = None,
    unsure: Threshold = UNSURE,
    none_of_these: str = AUTO,
    overwrite: bool = False,
    skip_bad: bool = False,
    **settings: object,
) -> Predictions:
    """Classify every subtomogram of a data set with a fine-tuning run's classifier, as `cryoreg predict` does.

    ``data`` is a file or folder, by default the run's own; which reader fits is worked out. ``dataset`` names one, or
    changes parameters of the run's. With ``output`` the predictions are written, by the writer ``format`` or that of
    the suffix. ``unsure`` is the confidence below which a prediction is unsure; "auto": that above which 95 % of the
    validation split were right. ``none_of_these`` names the score that tells what belongs to none of the classes
    ("auto": the one that fine-tuning chose), or is "off". ``settings`` are device, precision, workers. Raises a
    `CryoregError` for any mistake.
    """
    layers = [Layer.of_arguments({"dataset": dataset}, None, settings, data)]
    path = None if output is None else Path(output)
    return run_prediction(Path(run), layers, path, format, unsure, none_of_these, overwrite, skip_bad, tell)


def run_prediction(
    run: Path,
    layers: Sequence[Layer],
    output: Path | None = None,
    form: str | None = None,
    unsure: Threshold = UNSURE,
    none_of_these: str = AUTO,
    overwrite: bool = False,
    skip_bad: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Predictions:
    """Do what `predict` does, with layers over the run's config; ``say`` gets `remarks` and warnings."""
    network = open_network(run, "classifier")
    trained = Trained.with_data(network, layers, labels=False)
    threshold, doubter = threshold_of(trained, unsure), doubter_of(trained, none_of_these)
    if output is not None:
        check_files([output, *new_sets(output, trained.dataset)], overwrite, trained.inputs())
    write = None if output is None else prepare_writer(output, form, trained.dataset, trained.card["classes"])
    moved = [] if output is None else notes_on_files(output, form, trained.dataset)
    for line in [*remarks(trained), *remarks_on(doubter), *moved]:
        say(line)
    predictions = classify(trained, threshold, skip_bad, None if isinstance(doubter, str) else doubter)
    for line in predictions.doubts.warnings if predictions.doubts else ():
        say(f"warning: {line}")
    if write is not None and output is not None:
        content = write(predictions)
        write_atomically(output, lambda file: file.write(content))
        write_sets(output, trained.dataset)
    return predictions


def threshold_of(trained: Trained, unsure: Threshold) -> float:
    """Return the confidence below which predictions are unsure; raise `ConfigError` where ``auto`` is not known."""
    if unsure != "auto":
        if not isinstance(unsure, (int, float)) or not 0 <= unsure <= 1:
            raise ConfigError(f"--unsure {unsure}: should be a confidence between 0 and 1, or auto")
        return float(unsure)
    if trained.other_turns:
        raise ConfigError(f"--unsure auto: {trained.other_turns}; give a number")
    found = (trained.card.get("calibration") or {}).get("unsure_threshold")
    if found is None:
        raise ConfigError(
            "--unsure auto: the run's validation split has no confidence above which 95 % (of 20 or more) were right; "
            "give a number"
        )
    return float(found)


def remarks(trained: Trained) -> list[str]:
    """Return lines on how the data differ from the training data, what was read around, and on calibration."""
    lines = trained.remarks()
    if temperature_of(trained.card) is None:
        lines.append("note: not calibrated, as the run is older than calibration; fine-tune again to trust confidences")
    return lines


def classify(
    trained: Trained, threshold: float = UNSURE, skip_bad: bool = False, doubter: Doubter | None = None
) -> Predictions:
    """Classify every subtomogram of the data set; with ``skip_bad`` those that cannot be read are left out."""
    dataset = trained.dataset
    served = Trained(trained.network, trained.config, _Tolerant(dataset)) if skip_bad else trained
    answers = served.answers()
    finite = np.asarray(np.isfinite(answers.logits).all(axis=1))
    left_out = {dataset.ids[index]: _reason(dataset, index) for index in np.flatnonzero(~finite).tolist()}
    if not finite.any():
        raise DataError(f"none of {len(dataset)} subtomograms can be read; the first: {next(iter(left_out.values()))}")
    temperature = temperature_of(trained.card)
    answers = answers.take(finite)
    chances = probabilities(answers.logits, temperature)
    kept, origins = np.flatnonzero(finite).tolist(), origins_of(dataset)
    confidences, groups = chances.max(1), tuple(dataset.groups[index] for index in kept)
    return Predictions(
        ids=tuple(dataset.ids[index] for index in kept),
        classes=tuple(trained.card["classes"]),
        probabilities=chances,
        predictions=chances.argmax(1),
        confidences=confidences,
        unsure=confidences < threshold,
        threshold=threshold,
        temperature=temperature,
        fitted_elsewhere=trained.other_turns,
        origins=tuple(origins[index] for index in kept),
        groups=groups,
        left_out=left_out,
        doubts=doubter.doubts(trained, answers, groups) if doubter else None,
    )


def remarks_on(doubter: Doubter | str) -> list[str]:
    """Return lines on what nobody can doubt, and why."""
    return doubter.notes() if isinstance(doubter, Doubter) else [doubter]


class _Tolerant(Wrapped):
    """A data set that serves NaN for what cannot be read: the network's answer to it is NaN as well."""

    def __getitem__(self, index: int) -> Sample:
        try:
            return self.dataset[index]
        except DataError:
            volume = torch.full((1, *self.dataset.box), torch.nan)
            return Sample(volume, None, self.dataset.ids[index], self.dataset.groups[index])


def _reason(dataset: Subtomograms, index: int) -> str:
    try:
        dataset[index]
    except DataError as error:
        return str(error)
    raise CheckpointError(f"the network's answer to {dataset.ids[index]} is not finite; train it again")
