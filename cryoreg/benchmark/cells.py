"""What the jobs of a study do, each in a process of its own: simulate, pretrain, fine-tune, probe frozen features.

Each takes its own folder, its payload and the folders of the jobs that it needs, goes on where an interrupted one
ended, and returns plain figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cryoreg.benchmark.study import parse_labels
from cryoreg.config import TASKS, Layer, RunConfig, build_spec, resolve
from cryoreg.config.settings import FinetuneSettings
from cryoreg.config.starts import SCRATCH
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.conversion.simulated_store import SimulatedSet, write
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.splits import SplitPart, label_fraction
from cryoreg.datasets.store.reader import Store
from cryoreg.inference.evaluate import Evaluation, run_evaluation
from cryoreg.inference.trained import Trained
from cryoreg.randomness import build_seeded
from cryoreg.runs.networks import Network
from cryoreg.runs.starts import with_start
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.settings import make_settings
from cryoreg.simulation.structure_files import StructureOptions, read_structures
from cryoreg.training.finetune import run_finetuning
from cryoreg.training.pretrain import run_pretraining

STORE = "data.h5"
RUN = "run"
NEIGHBOURS = 20
_RATIOS = ("snr_crop", "snr_box")
"""Columns of a simulated store; a job that was interrupted reads them of all rows, also of those written before."""
REGULARISATION = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of scikit-learn's C, of which validation chooses one."""


class SimulationPayload(TypedDict):
    """What defines a simulated data set: the fields of `cryoreg.benchmark.study.Simulation`."""

    preset: str
    scenes: dict[str, object]
    structures: str | None
    seed: int
    per_class: int
    first: int


class RunPayload(TypedDict):
    """What defines a run: its resolved config, without the places of what other jobs make."""

    config: dict[str, dict[str, object]]
    simulated: bool
    """The data are the first of the jobs that it needs."""
    pretrained: bool
    """The weights are the last of them."""


class TuningPayload(RunPayload):
    """What defines a fine-tuning run."""

    parts: list[SplitPart]
    """The parts on which the classifier is measured, besides validation."""
    min_steps: int


class ProbePayload(RunPayload):
    """What defines the probes of frozen features."""

    labels: list[str | int]


class Figures(TypedDict):
    """How a classifier does, all in 0..1."""

    accuracy: float
    macro_f1: float
    per_class: dict[str, float]


def simulate(folder: Path, payload: SimulationPayload, needs: list[Path]) -> dict[str, float]:
    """Write a store of simulated subtomograms, with clean copies for the methods that compare with them."""
    settings = make_settings(payload["preset"], (), **payload["scenes"])
    if payload["structures"] is None:
        bodies = make_assemblies(0)
    else:
        bodies = read_structures(Path(payload["structures"]), StructureOptions(settings.point_spacing))
    made = SimulatedSet(bodies, settings, payload["seed"], payload["per_class"], payload["first"])
    if not (folder / STORE).exists():
        write(made, folder / STORE, payload["preset"], clean=True)
    columns = Store(folder / STORE).columns
    ratios = {name: float(np.mean(columns[name], dtype=np.float64)) for name in _RATIOS}
    return {"subtomograms": len(made.indices), **ratios}


def pretrain(folder: Path, payload: RunPayload, needs: list[Path]) -> dict[str, float]:
    """Pretrain an encoder; return the last epoch's loss."""
    config = resolve("pretrain", with_start("pretrain", layers_of(payload, needs)))
    result = run_pretraining(config, folder / RUN, resume=_is_begun(folder / RUN))
    return {"loss": result.loss}


def finetune(folder: Path, payload: TuningPayload, needs: list[Path]) -> dict[str, object]:
    """Train a classifier and return its figures on the parts that the payload names, and on validation."""
    layers = [_default_learner(), *layers_of(payload, needs)]
    config = resolve("finetune", with_start("finetune", _with_steps(payload, layers)))
    result = run_finetuning(config, folder / RUN, resume=_is_begun(folder / RUN))
    found: dict[str, object] = {"val_accuracy": result.val_accuracy, "best_epoch": result.best_epoch}
    return found | {part: _figures_of(run_evaluation(folder / RUN, part, [])) for part in payload["parts"]}


def probe(folder: Path, payload: ProbePayload, needs: list[Path]) -> dict[str, dict[str, Figures]]:
    """Classify the test split by frozen features, linearly and by neighbours; return labels -> classifier -> figures.

    Linear: logistic regression on standardised features, its regularisation chosen on the validation split. kNN: up to
    20 neighbours by cosine, weighted by nearness.
    """
    config = resolve("finetune", with_start("finetune", layers_of(payload, needs)))
    dataset = config.spec("dataset").load()
    encoder = encoder_of(config, dataset)
    parts = divide(dataset, config.split).parts
    parts = parts._replace(train=label_fraction(dataset, parts.train, 1.0))  # its unlabelled ones cannot be scored
    features = {part: encoder.features(samples) for part, samples in parts._asdict().items()}
    truth = {part: np.array([dataset.labels[i] for i in samples]) for part, samples in parts._asdict().items()}
    found: dict[str, dict[str, Figures]] = {}
    for labels in map(parse_labels, payload["labels"]):
        seed, share = config.training.seed, labels.training.get("labels", 1.0)
        known = label_fraction(dataset, parts.train, share, seed, labels.training.get("labels_per_class"))
        rows = np.flatnonzero(np.isin(parts.train, known))
        x, y = features["train"][rows], truth["train"][rows]
        predicted = {
            "linear": _linear(x, y, features["val"], truth["val"]).predict(features["test"]),
            "kNN": _neighbours(x, y).predict(features["test"]),
        }
        found[labels.column] = {name: figures(truth["test"], p, dataset.classes) for name, p in predicted.items()}
    return found


def figures(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> Figures:
    """Return accuracy, macro-F1 and the accuracy of each class, all in 0..1."""
    counts = confusion_matrix(labels, predictions, labels=range(len(classes)))
    recall = np.diag(counts) / np.maximum(1, counts.sum(1))
    return {
        "accuracy": float(np.mean(labels == predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "per_class": dict(zip(classes, recall.tolist(), strict=True)),
    }


def _figures_of(evaluation: Evaluation) -> Figures:
    return figures(evaluation.labels, evaluation.predictions, evaluation.classes)


def layers_of(payload: RunPayload, needs: list[Path]) -> list[Layer]:
    """Return the payload's config, with the places of the data and weights that other jobs have made."""
    layers = [Layer("study", payload["config"])]
    if payload["simulated"]:
        layers.append(Layer("study", {"dataset": {"root": str(needs[0] / STORE)}}))
    if payload.get("pretrained"):
        layers.append(Layer("study", {"training": {"pretrained": str(needs[-1] / RUN)}}))
    return layers


def _default_learner() -> Layer:
    """Return the learner of a payload that names none, so that no recipe of weights changes it."""
    name = TASKS["finetune"].components["learner"] or ""
    return Layer("study", {"learner": {"name": name, **build_spec("learner", name, {}).spec.model_dump()}})


def _with_steps(payload: TuningPayload, layers: list[Layer]) -> list[Layer]:
    """Raise the epochs until the least number of steps is taken."""
    config = resolve("finetune", layers)
    settings = config.training
    dataset = config.spec("dataset").load()
    train = divide(dataset, config.split).parts.train
    known = label_fraction(dataset, train, settings.labels, settings.seed, settings.labels_per_class)
    steps = math.ceil(len(known) / settings.batch_size)
    epochs = max(settings.epochs, math.ceil(payload["min_steps"] / steps))
    return [*layers, Layer("study", {"training": {"epochs": epochs}})]


def _is_begun(run: Path) -> bool:
    return (run / "checkpoints" / "last.ckpt").exists()


def encoder_of(config: RunConfig[FinetuneSettings], dataset: Subtomograms) -> Trained:
    """Return the pretrained encoder that the config names, or one of random weights."""
    start = config.training.pretrained
    if start is not None and start != SCRATCH:
        return Trained.encoder(start, [Layer("study", {"dataset": config.to_dict()["dataset"]})])
    encoder = build_seeded(config.training.seed, lambda: config.spec("encoder").build())
    return Trained(Network(Path(), {}, {}, encoder, None), config, dataset)


def _linear(x: np.ndarray, y: np.ndarray, val: np.ndarray, val_labels: np.ndarray) -> Pipeline:
    tried = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500, tol=1e-3)).fit(x, y)
        for c in REGULARISATION
    ]
    return max(tried, key=lambda classifier: classifier.score(val, val_labels))


def _neighbours(x: np.ndarray, y: np.ndarray) -> KNeighborsClassifier:
    return KNeighborsClassifier(min(NEIGHBOURS, len(x)), metric="cosine", weights="distance").fit(x, y)
