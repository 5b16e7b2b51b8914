"""Evaluation: a fine-tuned classifier on a split that it has not learnt from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, f1_score

from cryoreg.config import Layer, RunConfig, check_same_run, resolve
from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.duplicates import across_splits
from cryoreg.datasets.fingerprint import require_same
from cryoreg.datasets.splits import split
from cryoreg.errors import CheckpointError, ConfigError, DataError
from cryoreg.files import write_text
from cryoreg.inference.subtomogram_table import Columns, csv_text, places, readable
from cryoreg.runs.weights import CLASSIFIER_FILE, find_weights, load_into, load_trained
from cryoreg.training.calibration import expected_calibration_error, probabilities, temperature_of
from cryoreg.training.classifier import Classifier, predict
from cryoreg.training.device import make_fabric, to_device
from cryoreg.training.loading import BatchOrder, VolumeLoader, residency

Part = Literal["train", "val", "test"]


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
    places: Columns | None = None
    """Id, file, row and tomogram of each, where known."""

    @property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return float(np.mean(self.labels == self.predictions))

    @property
    def accuracy_error(self) -> float:
        """Standard error of the accuracy as a binomial proportion: sqrt(p (1 − p) / N)."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.labels)))

    @property
    def macro_f1(self) -> float:
        """Mean over the classes of the harmonic mean of precision and recall."""
        return float(f1_score(self.labels, self.predictions, average="macro", zero_division=0))

    @property
    def confusion(self) -> np.ndarray:
        """Counts (classes, classes): rows true, columns predicted."""
        return confusion_matrix(self.labels, self.predictions, labels=range(len(self.classes)))

    @property
    def calibration_error(self) -> dict[str, float | None]:
        """Expected calibration error "before" and "after" logits were divided by the temperature."""
        right = self.labels == self.predictions
        raw = self.confidences if self.uncalibrated is None else self.uncalibrated
        after = None if self.temperature is None else expected_calibration_error(self.confidences, right)
        return {"before": expected_calibration_error(raw, right), "after": after}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        recall = np.diag(self.confusion) / np.maximum(1, self.confusion.sum(1))
        return {
            "part": self.part,
            "subtomograms": len(self.labels),
            "copied_in_other_parts": list(self.copied),
            "accuracy": self.accuracy,
            "accuracy_standard_error": self.accuracy_error,
            "macro_f1": self.macro_f1,
            "temperature": self.temperature,
            "expected_calibration_error": self.calibration_error,
            "per_class_accuracy": dict(zip(self.classes, recall.tolist(), strict=True)),
            "confusion": self.confusion.tolist(),
        }

    def save(self, run_dir: Path) -> None:
        """Write evaluation_<part>.json and predictions_<part>.csv into the run directory."""
        write_text(run_dir / f"evaluation_{self.part}.json", json.dumps(self.to_dict(), indent=2) + "\n")
        write_text(run_dir / f"predictions_{self.part}.csv", csv_text(self.columns()))

    def columns(self) -> dict[str, Sequence[Any]]:
        """Return the table of what was evaluated: its `places`, split, label, prediction and confidence."""
        names = [readable(name) for name in self.classes]
        return {
            **(self.places or {"id": [readable(name) for name in self.ids]}),
            "split": [self.part] * len(self.ids),
            "label": [names[label] for label in self.labels],
            "prediction": [names[prediction] for prediction in self.predictions],
            "confidence": self.confidences.round(4).tolist(),
        }


def evaluate(
    run_dir: str | Path,
    part: Part = "test",
    *,
    dataset: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Evaluation:
    """Evaluate a fine-tuning run's classifier on a part of its own data set's split, and save the figures beside it.

    ``dataset`` changes parameters of the data set, such as a root that has moved; ``settings`` are device, precision,
    workers. Raises a `CryoregError` where weights or data are missing or do not fit each other.
    """
    return run_evaluation(Path(run_dir), part, [Layer.of_arguments({"dataset": dataset}, None, settings)])


def run_evaluation(run_dir: Path, part: Part, layers: list[Layer]) -> Evaluation:
    """Evaluate with the run's own config, over which ``layers`` are laid."""
    if part not in get_args(Part):
        raise ConfigError(f"part '{part}' is none of {', '.join(get_args(Part))}")
    path = find_weights(run_dir, CLASSIFIER_FILE)
    tensors, card = load_trained(path)
    if "classes" not in card:
        raise CheckpointError(f"{path} holds an encoder without a classifier; `cryoreg finetune` trains one")
    config = resolve("finetune", [Layer(str(path), card["config"]), *layers])
    check_same_run(card["config"], config, "evaluate")
    dataset = config.spec("dataset").build()
    _check_data(dataset, card, path)
    evaluation = _evaluate(config, dataset, tensors, part, path, temperature_of(card))
    evaluation.save(path.parent)
    return evaluation


def _check_data(dataset: SubtomogramDataset, card: dict[str, Any], path: Path) -> None:
    for what, now in (("classes", list(dataset.classes)), ("box", list(dataset.box))):
        if card[what] != now:
            raise DataError(f"the data set now has {what} {now}, but {path} was trained on {card[what]}")
    require_same(dataset, card["data"], str(path))


def _evaluate(
    config: RunConfig,
    dataset: SubtomogramDataset,
    tensors: dict[str, torch.Tensor],
    part: Part,
    path: Path,
    temperature: float | None,
) -> Evaluation:
    fabric = make_fabric(config.training, alone=True)
    classifier = Classifier(config.spec("encoder").build(), len(dataset.classes))
    load_into(classifier, tensors, path)
    to_device(classifier, fabric, config.training)
    parts = split(dataset, config.split.fractions, config.split.seed)
    samples = torch.from_numpy(getattr(parts, part))
    if len(samples) == 0:
        raise DataError(f"the {part} split is empty; change split.fractions")
    order = BatchOrder(samples, 64, seed=0, shuffle=False, drop_last=False)
    loader = VolumeLoader(dataset, order, fabric.device, residency(dataset, config.training), config.training.workers)
    logits, labels = predict(fabric.setup(classifier), loader)
    predictions = logits.argmax(1).numpy()
    raw, confidences = (probabilities(logits.numpy(), t).max(1) for t in (None, temperature))
    ids = tuple(dataset.ids[i] for i in samples.tolist())
    copies = set(chain.from_iterable(across_splits(dataset, parts)))
    copied = tuple(name for name in ids if name in copies)
    return Evaluation(
        part,
        tuple(dataset.classes),
        ids,
        labels.numpy(),
        predictions,
        confidences,
        copied,
        temperature,
        raw,
        places(dataset, samples.tolist()),
    )
