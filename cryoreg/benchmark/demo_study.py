"""The main job on the embedded data set: does pretraining help when few labels are known?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryoreg.config import SECOND_AUGMENTATION, Layer, resolve
from cryoreg.inference.evaluate import Evaluation, run_evaluation
from cryoreg.runs.starts import with_start
from cryoreg.training.finetune import run_finetuning
from cryoreg.training.pretrain import run_pretraining

# Without normalisation RB3D stays at chance for most of the time that a demo has (docs/results.md).
ENCODER: dict[str, object] = {"norm": "batch"}
PRETRAINING: dict[str, dict[str, object]] = {
    # At 0.999, the momentum encoder would hardly move in so few steps.
    "method": {"momentum": 0.99},
    # Views that share pose and noise can be told apart without a look at the molecule (docs/results.md).
    "augmentation": {"name": "cryoet"},
    "training": {"epochs": 25, "lr": 1e-3, "schedule": "cosine"},
}
FINETUNING: dict[str, object] = {"epochs": 40, "labels": 0.25, "optimizer": "adamw", "lr": 1e-3, "warmup_epochs": 3}


class Outcome(NamedTuple):
    """One row of the demo's table."""

    start: str
    """Where the encoder's weights came from."""
    evaluation: Evaluation
    run_dir: Path


def run_demo(run_dir: Path, layers: list[Layer], say: Callable[[str], None]) -> list[Outcome]:
    """Pretrain with MoCo, fine-tune on a quarter of the labels from those and from random weights, evaluate both.

    ``layers`` change settings of all runs alike.
    """
    say("1/3  pretraining RB3D with MoCo, without labels")
    base = [Layer("demo", {"encoder": ENCODER, **PRETRAINING}), *layers]
    pretrained = run_pretraining(resolve("pretrain", base), run_dir / "pretrain")
    starts = {"pretrained (moco)": pretrained.run_dir, "random": "scratch"}
    outcomes = []
    for number, (start, weights) in enumerate(starts.items(), start=2):
        say(f"{number}/3  fine-tuning at 25 % of the labels from {start} weights")
        tuning = Layer("demo", {"encoder": ENCODER, "training": {**FINETUNING, "pretrained": weights}})
        folder = run_dir / f"finetune-{start.split()[0]}"
        run_finetuning(resolve("finetune", with_start("finetune", [tuning, *map(_for_finetuning, layers)])), folder)
        outcomes.append(Outcome(start, run_evaluation(folder, "test", []), folder))
    return outcomes


def _for_finetuning(layer: Layer) -> Layer:
    unknown = ("method", SECOND_AUGMENTATION)
    return Layer(layer.source, {section: values for section, values in layer.values.items() if section not in unknown})


def paired_difference(one: Evaluation, other: Evaluation) -> tuple[float, float]:
    """Return the difference of two accuracies on the same subtomograms, and its standard error."""
    gain = (one.predictions == one.labels).astype(float) - (other.predictions == other.labels)
    return float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))
