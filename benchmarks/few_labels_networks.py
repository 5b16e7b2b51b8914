"""What `few_labels.py` does with networks: answers to whole sets, turned views, runs of pretraining and fine-tuning."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cryoreg
from cryoreg.config import Layer, build_spec, resolve
from cryoreg.contracts import Encoder, Subtomograms
from cryoreg.datasets.normalisation import normalise
from cryoreg.runs.networks import answer, open_network
from cryoreg.runs.weights import ENCODER_FILE
from cryoreg.training.device import one_device, to_device
from cryoreg.turns import Turns, rotation_group

PLAIN: dict[str, Any] = {"name": "rb3d", "norm": "batch"}
"""The encoder where no weights say which."""
BATCH = 64
RECIPES: dict[str, dict[str, Any]] = {
    "vicreg": {"method": "vicreg", "epochs": 30},
    "moco": {"method": {"name": "moco", "momentum": 0.99}, "epochs": 20},
}
"""Own pretraining, as in docs/results.md."""
PRETRAINING: dict[str, Any] = {
    **{"lr": 1e-3, "schedule": "cosine", "warmup_epochs": 2, "batch_size": 64},
    "probe_every_epochs": 0,
}
FINETUNING: dict[str, Any] = {
    **{"optimizer": "adamw", "lr": 1e-3, "schedule": "cosine", "warmup_epochs": 3},
    **{"batch_size": 16, "weight_decay": 1e-4},
}
EPOCHS = {5: 100, 20: 60, 75: 40}
"""Up to so many labels of each class -> epochs."""
EPOCHS_OF_MORE = 20


class Weights(NamedTuple):
    """Trained weights to try: a run, a file or a name."""

    path: str
    label: str
    digest: str
    """Of the tensors, so that a run folder that was written again counts as others."""
    encoder: Mapping[str, Any]
    """Name and parameters."""
    voxel_size: float | None
    """Å, at which they were trained."""

    @classmethod
    def read(cls, given: str) -> Weights:
        network = open_network(Path(given) if Path(given).exists() else given, "encoder")  # type: ignore[arg-type]
        digest = hashlib.sha256()
        for name, tensor in sorted(network.tensors.items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        path = Path(given).resolve()
        label = path.parent.name if path.name == ENCODER_FILE else path.stem
        card = network.card
        return cls(given, label, digest.hexdigest()[:12], card["config"]["encoder"], card["voxel_size"])


def described(encoder: Mapping[str, Any]) -> str:
    """Return an encoder's name and what is not its default."""
    parameters = {key: value for key, value in encoder.items() if key != "name"}
    spec = build_spec("encoder", encoder["name"], parameters).spec
    return " ".join([encoder["name"], *(f"{key}={v}" for key, v in spec.model_dump(exclude_defaults=True).items())])


def random_encoder(encoder: Mapping[str, Any], seed: int) -> Encoder:
    torch.manual_seed(seed)
    return cryoreg.create_encoder(**encoder)


class Volumes(NamedTuple):
    """Some subtomograms of a set, read and normalised: (N, 1, D, H, W) and the set's indices of them."""

    volumes: Tensor
    rows: dict[int, int]

    @classmethod
    def read(cls, dataset: Subtomograms, samples: NDArray[np.int64]) -> Volumes:
        chosen = samples.tolist()
        parts = [torch.stack([dataset[i].volume for i in part]) for part in _parts(chosen)]
        return cls(torch.cat([normalise(part) for part in parts]), {index: row for row, index in enumerate(chosen)})

    def of(self, samples: NDArray[np.int64]) -> list[int]:
        """Return the rows of samples."""
        return [self.rows[index] for index in samples.tolist()]


def _parts(samples: list[int]) -> list[list[int]]:
    return [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]


def features(encoder: Encoder, volumes: Tensor, views: Turns, device: str) -> NDArray[np.float32]:
    """Return features (N, num_features), their mean over ``views`` turned views; 1: the encoder's own ``turns``."""
    with encoder.averaging(turns=encoder.turns if views == 1 else 1):  # turned twice, the mean is the same
        return _mean_over(lambda x: answer(encoder, x)[0], encoder, volumes, views, device)


def probabilities(run: Path, volumes: Tensor, views: Turns, device: str) -> NDArray[np.float32]:
    """Return a fine-tuned run's class probabilities (N, classes), their mean over turned views."""
    network = open_network(run, "classifier")
    module = network.module
    return _mean_over(lambda x: answer(module, x)[0].float().softmax(1), module, volumes, views, device)


@torch.no_grad()
def _mean_over(
    function: Callable[[Tensor], Tensor], module: nn.Module | Encoder, volumes: Tensor, views: Turns, device: str
) -> NDArray[np.float32]:
    settings = resolve("finetune", [Layer("benchmark", {"training": {"device": device}})]).training
    place = one_device(settings)
    to_device(module.eval(), place, settings)
    found = []
    with place.autocast():
        for batch in volumes.split(BATCH):
            x = batch.to(place.device)
            found.append(sum(function(turn(x)).float() for turn in rotation_group(views)).cpu() / views)
    return torch.cat(found).numpy()


def pretrained(
    folder: Path, recipe: str, encoder: Mapping[str, Any], start: str | None, common: Mapping[str, Any]
) -> Path:
    """Return the run that pretrains on a set's own train split, from ``start`` or random weights; once, resumable."""
    if not (folder / "encoder.safetensors").exists():
        chosen = {**RECIPES[recipe], **PRETRAINING, **common}
        origin = {"encoder": encoder} if start is None else {"pretrained": start}
        resume = (folder / "checkpoints").exists()
        cryoreg.pretrain(folder, resume=resume, **({} if resume else {**chosen, **origin}))
    return folder


def finetuned(
    folder: Path, labels: int, encoder: Mapping[str, Any], start: str | None, common: Mapping[str, Any]
) -> Path:
    """Return the run that fine-tunes with so many labels of each class, from ``start`` or random weights."""
    shutil.rmtree(folder, ignore_errors=True)  # minutes at most: begun again rather than gone on with
    epochs = next((epochs for most, epochs in EPOCHS.items() if labels <= most), EPOCHS_OF_MORE)
    origin = {"encoder": encoder, "pretrained": "scratch"} if start is None else {"pretrained": start}
    cryoreg.finetune(folder, labels_per_class=labels, epochs=epochs, **FINETUNING, **origin, **common)
    return folder
