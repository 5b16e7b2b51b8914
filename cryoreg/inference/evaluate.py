"""Evaluation: a fine-tuned classifier on a split that it has not learnt from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from cryoreg import notebook
from cryoreg.config import Layer, check_same_run, resolve
from cryoreg.config.calls import checked
from cryoreg.config.project import without_project
from cryoreg.config.settings import FinetuneSettings
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.duplicates import across_splits
from cryoreg.datasets.fingerprint import require_same
from cryoreg.datasets.splits import SplitPart
from cryoreg.doubt.answers import require_finite
from cryoreg.errors import ConfigError, DataError
from cryoreg.files import readable, write_text
from cryoreg.inference.subtomogram_table import Columns, csv_text, places_kept
from cryoreg.inference.trained import Trained
from cryoreg.proportions import Proportion
from cryoreg.runs.networks import Network, open_network
from cryoreg.telling import tell
from cryoreg.training.calibration import expected_calibration_error, probabilities, temperature_of
from cryoreg.training.cross_validation import CROSS_VALIDATED, cross_validates, held_out


class Evaluation(NamedTuple):
    """How well a classifier does on one part of a data set."""

    part: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    """int64 (N,)."""
    predictions: np.ndarray
    """int64 (N,)."""
    confidences: np.ndarray
    """float64 (N,): probability of the prediction, calibrated where the run has a temperature."""
    copied: tuple[str, ...] = ()
    """Ids of the part's subtomograms that occur, voxel by voxel, in another part as well: they make it look better."""
    temperature: float | None = None
    """What logits were divided by; None where the run was not calibrated."""
    uncalibrated: np.ndarray | None = None
    """float64 (N,): softmax probability of the prediction at a temperature of 1; None: as ``confidences``."""
    caution: str | None = None
    """What else makes it look better than it is: parts that share tomograms."""
    places: Columns | None = None
    """Id, file, row and tomogram of each, where known."""
    folds: np.ndarray | None = None
    """int64 (N,), from 1: in a cross-validation, the fold whose model was not shown the subtomogram, and judges it."""
    turns: Mapping[str, int] | None = None
    """Over how many turned copies features (encoder) and answers (learner) are means; None: not known."""

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return float(np.mean(self.labels == self.predictions))

    @property
    def proportion(self) -> Proportion:
        """How many predictions are correct, of how many, and the interval of their share."""
        return Proportion(int(np.count_nonzero(self.labels == self.predictions)), len(self.labels))

    @property
    def accuracy_error(self) -> float:
        """Standard error of the accuracy as a binomial proportion: sqrt(p (1 − p) / N); of use where N is large."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.labels)))

    @property
    def precision(self) -> np.ndarray:
        """Share of what is said to be of a class that is (classes,); NaN where nothing is said to be."""
        return _shares(np.diag(self.confusion), self.confusion.sum(0))

    @property
    def recall(self) -> np.ndarray:
        """Share of a class that is recognised (classes,), its accuracy; NaN where there is none of it."""
        return _shares(np.diag(self.confusion), self.confusion.sum(1))

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall (classes,); NaN where a class neither is nor is said to be."""
        return _shares(2 * np.diag(self.confusion), self.confusion.sum(0) + self.confusion.sum(1))

    @property
    def macro_f1(self) -> float:
        """Mean of F1 over the classes that are, or are said to be."""
        return float(np.nanmean(self.f1))

    @property
    def confusion(self) -> np.ndarray:
        """Counts (classes, classes): rows true, columns predicted."""
        table = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(table, (self.labels, self.predictions), 1)
        return table

    @property
    def calibration_error(self) -> dict[str, float | None]:
        """Expected calibration error "before" and "after" logits were divided by the temperature."""
        right = self.labels == self.predictions
        raw = self.confidences if self.uncalibrated is None else self.uncalibrated
        after = None if self.temperature is None else expected_calibration_error(self.confidences, right)
        return {"before": expected_calibration_error(raw, right), "after": after}

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain values."""
        return {
            "part": self.part,
            "subtomograms": len(self.labels),
            "copied_in_other_parts": list(self.copied),
            "caution": self.caution,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.proportion.interval),
            "accuracy_standard_error": self.accuracy_error or None,
            "macro_f1": self.macro_f1,
            "temperature": self.temperature,
            "turns": None if self.turns is None else dict(self.turns),
            "expected_calibration_error": self.calibration_error,
            "per_class_accuracy": dict(zip(self.classes, np.nan_to_num(self.recall).tolist(), strict=True)),
            "confusion": self.confusion.tolist(),
            **({} if self.folds is None else {"folds": self.of_folds()}),
        }

    def of_folds(self) -> list[dict[str, float]]:
        """Return how many subtomograms each fold of a cross-validation has, and its accuracy."""
        if self.folds is None:
            return []
        right = self.labels == self.predictions
        held = [right[self.folds == number] for number in np.unique(self.folds)]
        return [{"subtomograms": len(each), "accuracy": float(each.mean())} for each in held]

    def by_class(self) -> list[tuple[str, int, int, str, str]]:
        """Return name, subtomograms, how many are right, their share and its interval, in words, of each class."""
        rows = []
        for name, counts, right in zip(self.classes, self.confusion, self.confusion.diagonal().tolist(), strict=True):
            total = int(counts.sum())
            said = (f"{100 * right / total:.0f} %", str(Proportion(right, total).interval)) if total else ("-", "-")
            rows.append((name, total, right, *said))
        return rows

    def warnings(self) -> list[str]:
        """Return a line for each thing that makes it look better than it is."""
        found = [self.caution] if self.caution else []
        if self.copied:
            found.append(
                f"{len(self.copied)} of them are in another part as well, voxel by voxel (the first: {self.copied[0]})"
                "; remove copies, or `cryoreg convert` the data: a store keeps them together"
            )
        return found

    def _repr_html_(self) -> str:
        facts = {"accuracy": self.proportion.said_of("subtomograms"), "macro-F1": f"{self.macro_f1:.3f}"}
        figures = notebook.table(("class", "subtomograms", "correct", "accuracy", "95 %"), self.by_class())
        warnings = notebook.lines(f"warning: {line}" for line in self.warnings())
        return notebook.shown(f"Evaluation on {self.part}", facts, warnings, figures)

    def save(self, run_dir: Path) -> None:
        """Write evaluation_<part>.json and predictions_<part>.csv into the run directory."""
        write_text(run_dir / f"evaluation_{self.part}.json", json.dumps(self.to_dict(), indent=2) + "\n")
        write_text(run_dir / f"predictions_{self.part}.csv", csv_text(self.columns()))

    def columns(self) -> dict[str, Sequence[object]]:
        """Return the table of what was evaluated: its `places`, split, label, prediction and confidence."""
        names = [readable(name) for name in self.classes]
        return {
            **(self.places or {"id": [readable(name) for name in self.ids]}),
            "split": ["test" if self.part == CROSS_VALIDATED else self.part] * len(self.ids),
            "label": [names[label] for label in self.labels],
            "prediction": [names[prediction] for prediction in self.predictions],
            "confidence": self.confidences.round(4).tolist(),
            **({} if self.folds is None else {"fold": self.folds.tolist()}),
        }


def _shares(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(counts, of, out=np.full(len(of), np.nan), where=of > 0)


@checked(FinetuneSettings)
def evaluate(
    run_dir: str | Path,
    part: SplitPart = "test",
    *,
    data: str | Path | None = None,
    dataset: Mapping[str, object] | None = None,
    labels_from: str | Path | None = None,
    **settings: object,
) -> Evaluation:
    """Evaluate a fine-tuning run's classifier on a part of its own data set's split, and save the figures beside it.

    The test part of a cross-validation is all that is labelled, out of fold; the part of the evaluation is then "cv".
    ``data`` is where the data set now lies, ``labels_from`` the list of its labels; ``dataset`` changes other
    parameters of it. ``settings`` are device, precision, workers. Raises a `CryoregError` where weights or data are
    missing or do not fit each other.
    """
    layer = Layer.of_arguments({"dataset": dataset}, None, settings, data, labels_from)
    return run_evaluation(Path(run_dir), part, [layer], tell)


def run_evaluation(
    run_dir: Path, part: SplitPart, layers: list[Layer], say: Callable[[str], object] = lambda line: None
) -> Evaluation:
    """Evaluate with the run's own config, over which ``layers`` are laid; ``say`` gets lines on the data.

    The figures are saved beside the run, unless nothing may be written there, which is said.
    """
    if part not in get_args(SplitPart):
        raise ConfigError(f"part '{part}' is none of {', '.join(get_args(SplitPart))}")
    network = open_network(run_dir, "classifier")
    config = resolve("finetune", [Layer(str(network.path), network.card["config"]), *without_project(layers)])
    check_same_run(network.card["config"], config, "evaluate")
    dataset = load_adapted(config.spec("dataset"), config.input)
    _require_own_data(network, dataset)
    trained = Trained(network, config, dataset)
    for line in trained.remarks():
        say(line)
    evaluation = cross_validated(trained) if cross_validates(config) and part == "test" else _evaluate(trained, part)
    if os.access(network.path.parent, os.W_OK):
        evaluation.save(network.path.parent)
    else:
        say(f"warning: nothing may be written in {network.path.parent}, so that no file keeps these figures")
    return evaluation


def _require_own_data(network: Network, dataset: Subtomograms) -> None:
    """Raise `DataError` unless the data are those that the network was trained on, as far as ids and tables tell."""
    path, card = network.path, network.card
    for what, now in (("classes", list(dataset.classes)), ("box", list(dataset.box))):
        if card[what] != now:
            raise DataError(f"the data set now has {what} {now}, but {path} was trained on {card[what]}")
    require_same(dataset, card["data"], str(path))


def _evaluate(trained: Trained, part: SplitPart) -> Evaluation:
    dataset, settings = trained.dataset, trained.config.split
    division = divide(dataset, settings)
    parts = division.parts
    samples = [index for index in getattr(parts, part).tolist() if dataset.labels[index] is not None]
    if len(samples) == 0:
        raise DataError(f"the {part} split is empty; change split.fractions")
    evaluation = _judged(trained, part, samples, trained.logits(samples), parts)
    return evaluation._replace(caution=division.warning)


def cross_validated(trained: Trained) -> Evaluation:
    """Return the evaluation of a cross-validation: what each fold's model says of that fold, which it was not shown.

    Raises `CheckpointError` where the runs of the folds are not beside the network.
    """
    dataset, settings = trained.dataset, trained.config.split
    found = held_out(trained.config, trained.path.parent, dataset)
    folds = [found.samples[found.folds == number] for number in np.unique(found.folds)]
    evaluation = _judged(trained, CROSS_VALIDATED, found.samples.tolist(), found.logits, folds)
    return evaluation._replace(folds=found.folds, caution=divide(dataset, settings).warning)


def _judged(
    trained: Trained, part: str, samples: Sequence[int], logits: np.ndarray, parts: Iterable[np.ndarray]
) -> Evaluation:
    require_finite(logits, trained.config.choices["learner"].component)
    dataset, temperature = trained.dataset, temperature_of(trained.card)
    ids = tuple(dataset.ids[i] for i in samples)
    copies = set(chain.from_iterable(across_splits(dataset, parts)))
    return Evaluation(
        part,
        tuple(dataset.classes),
        ids,
        labels=np.array([dataset.labels[i] for i in samples]),
        predictions=logits.argmax(1),
        confidences=probabilities(logits, temperature).max(1),
        copied=tuple(name for name in ids if name in copies),
        temperature=temperature,
        uncalibrated=probabilities(logits, None).max(1),
        places=places_kept(dataset, samples),
        turns=trained.turns,
    )
