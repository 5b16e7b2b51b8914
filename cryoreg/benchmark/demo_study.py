"""What trained weights are worth on the embedded data, with few labels: against random ones, and pretraining here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cryoreg.benchmark.demo_picture import Outcome, write_picture
from cryoreg.benchmark.spreads import mean_and_spread, varies
from cryoreg.config import SECOND_AUGMENTATION, Layer, resolve
from cryoreg.config.starts import SCRATCH
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.splits import label_fraction
from cryoreg.inference.evaluate import Evaluation, run_evaluation
from cryoreg.inference.trained import Trained
from cryoreg.proportions import Proportion
from cryoreg.runs.starts import with_start
from cryoreg.runs.weights import input_of, registered
from cryoreg.training.finetune import run_finetuning
from cryoreg.training.pretrain import run_pretraining

WEIGHTS = "rb3d_universe"
LABELS = 5
"""Labels of each class that fine-tuning knows."""
SEEDS = 3
LADDER = (1, 2, 5, 10, 20, 50)
"""Labels of each class that a classifier of frozen features knows, in the picture."""
PICTURE = "demo.png"
PRETRAINING: dict[str, dict[str, object]] = {
    "method": {"name": "vicreg"},
    # Views that share pose and noise can be told apart without a look at the molecule (docs/results.md).
    "augmentation": {"name": "cryoet"},
    "training": {"epochs": 9, "batch_size": 64, "lr": 1e-3, "schedule": "cosine", "probe_every_epochs": 0},
}
FINETUNING: dict[str, object] = {"epochs": 20, "labels_per_class": LABELS}
"""Over the recipe of the shipped weights, which all starts have alike."""


class Shown(NamedTuple):
    """What the demo leaves."""

    outcomes: list[Outcome]
    """Shipped, pretrained here, random."""
    classes: list[str]
    picture: Path


def run_demo(run_dir: Path, layers: list[Layer], say: Callable[[str], None]) -> Shown:
    """Fine-tune from shipped weights, from weights pretrained on the data, and from random ones; draw what that gives.

    All three see the same volumes, those that the shipped weights know, the same labels and the same views. ``layers``
    change settings of all runs alike; ``training.seed`` is the first of three.
    """
    card = registered(WEIGHTS).card
    alike = Layer("demo", {"encoder": card["config"]["encoder"], "input": input_of(card)})
    say("1/4  pretraining on the data, without labels")
    learnt = run_pretraining(resolve("pretrain", [alike, Layer("demo", PRETRAINING), *layers]), run_dir / "pretrain")
    starts: dict[str, str | Path] = {
        f"shipped ({WEIGHTS})": WEIGHTS,
        "pretrained on these data": learnt.run_dir,
        "random": SCRATCH,
    }
    outcomes = []
    for number, (name, start) in enumerate(starts.items(), start=2):
        say(f"{number}/4  {LABELS} labels of each class, {SEEDS} seeds, from {name} weights")
        outcomes.append(_outcome(name, start, [alike, *map(_for_finetuning, layers)], run_dir))
    classes = list(resolve("finetune", [alike, *map(_for_finetuning, layers)]).spec("dataset").load().classes)
    write_picture(run_dir / PICTURE, outcomes, classes, LABELS)
    return Shown(outcomes, classes, run_dir / PICTURE)


def _outcome(name: str, start: str | Path, layers: Sequence[Layer], run_dir: Path) -> Outcome:
    config = resolve("finetune", layers)
    seeds = range(config.training.seed, config.training.seed + SEEDS)
    tuned = [_tuned(start, layers, seed, run_dir / f"finetune-{name.split()[0]}-{seed}") for seed in seeds]
    encoder = _encoder(start, layers)
    parts = divide(encoder.dataset, config.split).parts
    train, test = encoder.features(parts.train.tolist()), encoder.features(parts.test.tolist())
    truth = np.array(encoder.dataset.labels)
    frozen = {}
    for count in LADDER:
        if count <= np.bincount(truth[parts.train].astype(int)).min():
            known = [label_fraction(encoder.dataset, parts.train, 1.0, seed, count) for seed in seeds]
            rows = [np.flatnonzero(np.isin(parts.train, chosen)) for chosen in known]
            frozen[count] = [_frozen(train[r], truth[parts.train[r]], test, truth[parts.test]) for r in rows]
    return Outcome(name, [one.accuracy for one in tuned], frozen, test, truth[parts.test].tolist())


def _tuned(start: str | Path, layers: Sequence[Layer], seed: int, folder: Path) -> Evaluation:
    known = [Layer("demo", registered(WEIGHTS).spec.recipe), Layer("demo", {"training": FINETUNING})]
    one = Layer("demo", {"training": {"pretrained": start, "seed": seed}})
    config = resolve("finetune", with_start("finetune", [*known, *layers, one]))
    run_finetuning(config, folder)
    return run_evaluation(folder, "test", [])


def _encoder(start: str | Path, layers: Sequence[Layer]) -> Trained:
    """Return the network whose features are taken as they are; random weights are those of the first seed."""
    data = Layer("demo", {"dataset": resolve("finetune", layers).to_dict()["dataset"]})
    opened = Trained.encoder(WEIGHTS if start == SCRATCH else start, [data, *layers])
    return opened.untrained() if start == SCRATCH else opened


def _frozen(x: NDArray[np.float32], y: NDArray[np.int64], test: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return float(model.fit(x, y.astype(int)).score(test, truth.astype(int)))


def _for_finetuning(layer: Layer) -> Layer:
    unknown = ("method", SECOND_AUGMENTATION)
    return Layer(layer.source, {section: values for section, values in layer.values.items() if section not in unknown})


def said_of(values: Sequence[float], total: int) -> str:
    """Write accuracies over seeds, of one test split of ``total``: mean ± standard deviation, per cent.

    Where that would be ± 0.0, as seeds do not differ or there is one, Wilson's interval of 95 % stands for it.
    """
    mean, spread = mean_and_spread(values)
    if varies(100 * spread):
        return f"{100 * mean:.1f} ± {100 * spread:.1f} %"
    return f"{100 * mean:.1f} % ({Proportion(round(mean * total), total).interval})"
