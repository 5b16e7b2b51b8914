"""Cross-validation: a run for each fold, each judged by what it was not shown, and what follows for a run on all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryoreg.config import RunConfig, check_same_run
from cryoreg.config.settings import FinetuneSettings
from cryoreg.contracts import Learner, Subtomograms
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.divisions import divide, folds_of
from cryoreg.datasets.fingerprint import require_same
from cryoreg.datasets.splits import label_fraction
from cryoreg.doubt.answers import Answers, answer_in_full, require_finite
from cryoreg.doubt.decoys import scrambled
from cryoreg.doubt.familiar import Shown
from cryoreg.doubt.out_of_fold import Fold
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.runs.networks import answering_config, open_network
from cryoreg.runs.run_folder import RunFolder, fold_of
from cryoreg.runs.weights import CLASSIFIER_FILE, load_trained
from cryoreg.telling import tell
from cryoreg.training.calibration import calibrate
from cryoreg.training.device import one_device, to_device
from cryoreg.training.launch import launched_processes
from cryoreg.training.loading import VolumeLoader, in_order, residency
from cryoreg.training.passes import run_over

Config = RunConfig[FinetuneSettings]

CROSS_VALIDATED = "cv"
"""The part of a cross-validation: all that is labelled, each judged by the model that was not shown its fold."""


class CrossValidated(NamedTuple):
    """What the folds say, for the model of all labels."""

    epoch: int
    """The epoch to keep: the median of those that the folds kept."""
    right: int
    subtomograms: int
    folds: int
    calibration: dict[str, object]
    """From what each model says of the fold that it was not shown."""
    parts: tuple[Fold, ...]
    """What each model answers."""
    samples: NDArray[np.int64]
    """(N,): indices of what the folds hold, fold after fold."""

    def metrics(self) -> dict[str, object]:
        """Return plain values, for the card."""
        measured = {"cv_accuracy": self.right / self.subtomograms, "cv_subtomograms": self.subtomograms}
        return {"epoch": self.epoch, **measured, "cv_folds": self.folds}


class HeldOut(NamedTuple):
    """What models say of N labelled subtomograms that they were not shown."""

    samples: NDArray[np.int64]
    """(N,): indices into the data set, in its order."""
    folds: NDArray[np.int64]
    """(N,): from 1; the model is that of the fold in which the subtomogram is."""
    logits: NDArray[np.float32]
    """(N, classes)."""


class _Train(Protocol):
    def __call__(self, config: Config, run_dir: Path, resume: bool) -> object: ...


def cross_validates(config: Config) -> bool:
    """Tell whether a run is one for each fold and one on all, rather than a single one."""
    return config.split.scheme == "cv" and config.split.fold is None


def cross_validate(config: Config, run_dir: Path, train: _Train) -> CrossValidated:
    """Train a run for each fold in ``run_dir``/folds, one after another; those that are done are not done again.

    Raises `ConfigError` under torchrun and SLURM, where each fold is a command of its own.
    """
    if launched_processes() > 1:
        raise ConfigError(
            "cross-validation trains one fold after another, each on training.devices devices; start it without "
            "torchrun and srun, or one command for each fold: --set split.fold=1, 2, ..."
        )
    dataset = load_adapted(config.spec("dataset"), config.input)
    count = len(folds_of(dataset, config.split).members)
    for number in range(1, count + 1):
        tell(f"fold {number} of {count}")
        _train_fold(_of_fold(config, number), fold_of(run_dir, number), train)
    parts = tuple(_answers_of_fold(_of_fold(config, number), run_dir, dataset) for number in range(1, count + 1))
    members = np.concatenate(folds_of(dataset, config.split).members)
    logits, labels = (np.concatenate(each) for each in zip(*(_said_of(part) for part in parts), strict=True))
    cards = [load_trained(fold_of(run_dir, number) / CLASSIFIER_FILE).card for number in range(1, count + 1)]
    order_of = np.argsort(members)
    return CrossValidated(
        epoch=int(np.median([card["metrics"]["epoch"] for card in cards])),
        right=int((logits.argmax(1) == labels).sum()),
        subtomograms=len(labels),
        folds=count,
        calibration=calibrate(logits[order_of], labels[order_of]).to_dict(),
        parts=parts,
        samples=members,
    )


def _said_of(part: Fold) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return part.held.answers.logits, part.held.labels


def _answers_of_fold(config: Config, run_dir: Path, dataset: Subtomograms) -> Fold:
    """Return what the model of a fold answers to what it was shown, to the fold, and to volumes without a particle."""
    settings, number = config.training, config.split.fold
    assert number is not None
    component = config.choices["learner"].component
    learner = _learner_of(answering_config(config), run_dir, number, dataset)
    train = divide(dataset, config.split).parts.train
    shown = label_fraction(dataset, train, settings.labels, settings.seed, per_class=settings.labels_per_class)
    held = folds_of(dataset, config.split).members[number - 1]
    generator = torch.Generator().manual_seed(settings.seed)

    def answers(samples: NDArray[np.int64], change: Callable[[Tensor], Tensor] = lambda x: x) -> Answers:
        classes = len(dataset.classes)
        answer = partial(answer_in_full, learner, classes=classes, component=component)
        said = Answers.split(_asked(learner, dataset, samples, settings, lambda x: answer(change(x))), classes)
        require_finite(said.logits, component)
        return said

    def answered(samples: NDArray[np.int64]) -> Shown:
        rows = samples.tolist()
        labels = np.array([dataset.labels[row] for row in rows], dtype=np.int64)
        return Shown(answers(samples), labels, [dataset.groups[row] for row in rows])

    return Fold(answered(shown), answered(held), answers(held, lambda x: scrambled(x, generator)))


def _of_fold(config: Config, number: int) -> Config:
    return replace(config, split=config.split.model_copy(update={"fold": number}))


def _train_fold(config: Config, folder: Path, train: _Train) -> None:
    run = RunFolder(folder)
    begun = run.last.exists()
    if begun and (folder / CLASSIFIER_FILE).exists():
        check_same_run(run.load()["config"], config)
    else:
        train(config, folder, begun)


def held_out(config: Config, run_dir: Path, dataset: Subtomograms) -> HeldOut:
    """Return what the model of each fold says of that fold; ``config`` says how to compute.

    Raises `CheckpointError` where a fold's model is missing, and `DataError` where the data are not the run's.
    """
    parts = []
    for number, members in enumerate(folds_of(dataset, config.split).members, start=1):
        logits = logits_of(_learner_of(config, run_dir, number, dataset), dataset, members, config.training)
        parts.append((members, np.full(len(members), number), logits))
    samples, folds, said = (np.concatenate(part) for part in zip(*parts, strict=True))
    order_of = np.argsort(samples)
    return HeldOut(samples[order_of], folds[order_of], said[order_of])


def _learner_of(config: Config, run_dir: Path, number: int, dataset: Subtomograms) -> Learner:
    path = fold_of(run_dir, number) / CLASSIFIER_FILE
    if not path.exists():
        raise CheckpointError(f"there is no {path}: the run was not finished (--resume), or its folds were deleted")
    network = open_network(path, "classifier")
    assert network.learner is not None
    require_same(dataset, network.card["data"], str(path))
    network.learner.turns, network.encoder.turns = config.spec("learner").turns, config.spec("encoder").turns
    return network.learner


def logits_of(
    learner: Learner, dataset: Subtomograms, samples: NDArray[np.int64], settings: FinetuneSettings
) -> NDArray[np.float32]:
    """Return the logits (N, classes) of subtomograms by index, in that order."""
    return _asked(learner, dataset, samples, settings, lambda x: learner.answer(x).logits)


def _asked(
    learner: Learner,
    dataset: Subtomograms,
    samples: NDArray[np.int64],
    settings: FinetuneSettings,
    ask: Callable[[Tensor], Tensor],
) -> NDArray[np.float32]:
    """Return what a learner answers to each of some subtomograms, a row each."""
    place = one_device(settings)
    to_device(learner.eval(), place, settings)
    order, resident = in_order(torch.from_numpy(samples)), residency(dataset, settings)
    loader = VolumeLoader(dataset, order, place.device, resident, settings.workers)
    return run_over(loader, place, ask).numpy()
