"""How hard is the demo data set? Test accuracy of four classifiers on all training labels, over several seeds.

    python benchmarks/demo_difficulty.py [--seeds 0 1 2] [--epochs 30] [--threads 1] [--output FILE.json]

A seed draws the 60:20:20 split and the weights; the data set is the default one. Every choice (regularisation, kind of
classifier, epoch) is made on the validation split; the test split is only scored with what was chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cryoreg.datasets.made_specs import DemoSpec
from cryoreg.datasets.splits import Split, split
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.files import write_text

BATCH = 16
LEARNING_RATE = 7e-4
HALF_TURNS = [(), (3, 4), (2, 4), (2, 3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = measure(arguments.seeds, arguments.epochs)
    for name, scores in results["test_accuracy"].items():
        print(f"{name:22s} {scores['mean']:.3f} ± {scores['sd']:.3f}")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.output, json.dumps(results, indent=2) + "\n")


def measure(seeds: list[int], epochs: int) -> dict[str, Any]:
    dataset = DemoSpec().build()
    volumes = torch.stack([dataset[i].volume for i in range(len(dataset))])
    volumes = (volumes - volumes.mean((2, 3, 4), keepdim=True)) / volumes.std((2, 3, 4), keepdim=True)
    labels = np.array(dataset.labels)
    flat, radial = volumes.flatten(1).numpy(), radial_statistics(volumes[:, 0].numpy())
    accuracies: dict[str, list[float]] = {"linear on voxels": [], "radial statistics": [], "rb3d": []}
    for seed in seeds:
        parts = split(dataset, seed=seed)
        accuracies["linear on voxels"].append(best_of(linear_models(), flat, labels, parts))
        accuracies["radial statistics"].append(best_of(radial_models(seed), radial, labels, parts))
        accuracies["rb3d"].append(train_rb3d(volumes, torch.from_numpy(labels), parts, seed, epochs))
        print(f"seed {seed}:", {name: round(scores[-1], 3) for name, scores in accuracies.items()}, flush=True)
    return {
        "data": DemoSpec().model_dump(),
        "chance": 1 / len(dataset.classes),
        "seeds": seeds,
        "rb3d_epochs": epochs,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "test_accuracy": {name: summary(scores) for name, scores in accuracies.items()},
    }


def summary(scores: list[float]) -> dict[str, Any]:
    sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    return {"mean": float(np.mean(scores)), "sd": sd, "runs": scores}


def radial_statistics(volumes: np.ndarray) -> np.ndarray:
    """Log power, mean and mean square of volumes (N, D, D, D) over spherical shells of width 1."""
    box = volumes.shape[1]
    power = np.abs(np.fft.fftn(volumes, axes=(1, 2, 3))) ** 2
    frequency_shell, shell = shells(np.fft.fftfreq(box) * box), shells(np.arange(box) - box // 2)
    log_power = np.log(shell_means(power, frequency_shell)[:, 1:])  # shell 0 is the mean, which the z-score made 0
    return np.concatenate([log_power, shell_means(volumes, shell), shell_means(volumes**2, shell)], axis=1)


def shells(axis: np.ndarray) -> np.ndarray:
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.round(np.sqrt(z**2 + y**2 + x**2)).astype(int).ravel()


def shell_means(volumes: np.ndarray, shell: np.ndarray) -> np.ndarray:
    inside = volumes.shape[1] // 2 + 1
    sums = np.array([np.bincount(shell, volume.ravel())[:inside] for volume in volumes])
    return sums / np.bincount(shell)[:inside]


def linear_models() -> Iterator[Any]:
    return (LogisticRegression(C=c, max_iter=300) for c in (1e-5, 1e-4, 1e-3))


def radial_models(seed: int) -> Iterator[Any]:
    yield RandomForestClassifier(500, random_state=seed)
    yield from (make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=3000)) for c in (0.1, 1.0, 10.0))


def best_of(models: Iterable[Any], features: np.ndarray, labels: np.ndarray, parts: Split) -> float:
    """Fit each model, choose by validation accuracy, return the test accuracy of the chosen one."""
    fitted = [model.fit(features[parts.train], labels[parts.train]) for model in models]
    chosen = max(fitted, key=lambda model: model.score(features[parts.val], labels[parts.val]))
    return float(chosen.score(features[parts.test], labels[parts.test]))


def train_rb3d(volumes: Tensor, labels: Tensor, parts: Split, seed: int, epochs: int) -> float:
    """Train RB3D and a linear classifier with Adam, one-cycle rate, half turns and shifts; test at the best epoch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = make_classifier(int(labels.max()) + 1)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    steps = len(parts.train) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.2, cycle_momentum=False
    )
    best = (-1.0, 0.0)
    for _ in track(range(epochs), f"RB3D, seed {seed}"):
        for batch in np.split(rng.permutation(parts.train)[: steps * BATCH], steps):
            loss = nn.functional.cross_entropy(scores_of(model, augmented(volumes[batch], rng)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        validation = accuracy(model, volumes, labels, parts.val)
        if validation > best[0]:
            best = (validation, accuracy(model, volumes, labels, parts.test))
    return best[1]


def make_classifier(classes: int) -> nn.Module:
    encoder = RB3DSpec().build()
    head = nn.Linear(encoder.num_features, classes)
    nn.init.normal_(head.weight, 0, 0.01)
    nn.init.zeros_(head.bias)
    return nn.Sequential(encoder, head).to(memory_format=torch.channels_last_3d)


def augmented(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn a batch by 180° about one of the axes or not, which keeps the wedge in place, and shift it by ≤ 2 voxels."""
    turned = batch.flip(HALF_TURNS[rng.integers(len(HALF_TURNS))])
    return turned.roll(tuple(rng.integers(-2, 3, size=3).tolist()), (2, 3, 4))


def scores_of(model: nn.Module, batch: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(batch.to(memory_format=torch.channels_last_3d)).float()


@torch.no_grad()
def accuracy(model: nn.Module, volumes: Tensor, labels: Tensor, indices: np.ndarray) -> float:
    chosen = torch.cat([scores_of(model, volumes[part]).argmax(1) for part in np.array_split(indices, 8)])
    return float((chosen == labels[indices]).float().mean())


if __name__ == "__main__":
    main()
