"""A trained network on a data set: the run's own or another one, how that differs, and what the network says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.origins import inputs_of
from cryoreg.errors import CheckpointError
from cryoreg.runs.weights import CLASSIFIER_FILE, ENCODER_FILE, find_weights, load_into, load_trained
from cryoreg.training.classifier import Classifier
from cryoreg.training.device import make_fabric, to_device
from cryoreg.training.engine import build_seeded
from cryoreg.training.loading import BatchOrder, VolumeLoader, residency

BATCH = 64
_SAME_VOXEL_SIZE = 0.01
"""Relative difference from which on two voxel sizes are two."""
_RECORDED = ("encoder", "dataset", "split", "packages")


class Trained:
    """The network of a run, and a data set for it.

    ``module`` is an `Encoder` or a `Classifier` on the device, in evaluation mode; ``dataset`` is the run's own unless
    layers say otherwise.
    """

    def __init__(
        self, path: Path, card: dict[str, Any], config: RunConfig, dataset: SubtomogramDataset, module: nn.Module
    ) -> None:
        self.path, self.card, self.config, self.dataset, self.module = path, card, config, dataset, module

    @classmethod
    def encoder(cls, run: Path, layers: Sequence[Layer] = ()) -> Self:
        """Open the encoder of a pretraining or fine-tuning run, or an encoder.safetensors.

        ``layers`` change the data set (root, another reader) and how to compute. Raises `CheckpointError` for missing
        or damaged weights, `DataError` and `ConfigError` for data that the network cannot take.
        """
        return cls._open(find_weights(run), layers, lambda config, card: config.spec("encoder").build())

    @classmethod
    def classifier(cls, run: Path, layers: Sequence[Layer] = ()) -> Self:
        """Open the classifier of a fine-tuning run, or a classifier.safetensors; raises as `encoder` does."""
        path = find_weights(run, CLASSIFIER_FILE)
        if not path.exists() and find_weights(run, ENCODER_FILE).exists():
            raise CheckpointError(f"{run} holds an encoder without a classifier; `cryoreg finetune` trains one")
        return cls._open(path, layers, _build_classifier)

    @classmethod
    def _open(
        cls, path: Path, layers: Sequence[Layer], build: Callable[[RunConfig, dict[str, Any]], nn.Module]
    ) -> Self:
        tensors, card = load_trained(path)
        recorded = {section: card["config"][section] for section in _RECORDED}
        config = resolve("finetune", [Layer(str(path), recorded), *layers])
        dataset = config.spec("dataset").build()
        config.spec("encoder").check_box(dataset.box)
        module = build(config, card)
        load_into(module, tensors, path)
        return cls(path, card, config, dataset, module)

    def untrained(self) -> Self:
        """Return the same with an encoder of random weights, drawn by ``training.seed``."""
        module = build_seeded(self.config.training.seed, lambda: self.config.spec("encoder").build())
        return type(self)(self.path, self.card, self.config, self.dataset, module)

    def inputs(self) -> set[str]:
        """Return the files that the data set and the network are read from."""
        return {str(self.path), *inputs_of(self.dataset, self.config.spec("dataset"))}

    def differences(self) -> list[str]:
        """Return a line for each way in which the data set is not as the one that the network was trained on."""
        dataset, card = self.dataset, self.card
        lines = []
        if card["voxel_size"] and dataset.voxel_size and not _close(card["voxel_size"], dataset.voxel_size):
            lines.append(
                f"voxels are {dataset.voxel_size:.4g} Å, trained on {card['voxel_size']:.4g} Å; "
                f"say --set dataset.rescale_to={card['voxel_size']:.4g}"
            )
        elif bool(card["voxel_size"]) != bool(dataset.voxel_size):
            known, unknown = ("training data", "these data") if card["voxel_size"] else ("these data", "training data")
            lines.append(f"the voxel size of the {known} is known, that of the {unknown} is not; make sure they agree")
        if list(dataset.box) != card["box"]:
            lines.append(
                f"boxes are {_size(dataset.box)} voxels, trained on {_size(card['box'])}; extract the same box"
            )
        for name, meaning in (("contrast", "density is"), ("tilt_axis", "the tilt axis is")):
            here, there = getattr(dataset, name, None), card.get(name)
            if here and there and here != there:
                lines.append(f"{meaning} {here} here, {there} in the training data")
        return lines

    def features(self, samples: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the encoder's features (N, num_features) of subtomograms by index, in that order; None: of all."""
        return self._run(lambda module, x: getattr(module, "encoder", module)(x), samples)

    def logits(self, samples: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the classifier's logits (N, classes) of subtomograms by index, in that order; None: of all."""
        return self._run(lambda module, x: module(x)[0], samples)

    def outputs(self, samples: Sequence[int] | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the classifier's logits (N, classes) and features (N, num_features), from one pass."""
        classes = len(self.card["classes"])
        both = self._run(lambda module, x: torch.cat([part.float() for part in module(x)], dim=1), samples)
        return both[:, :classes], both[:, classes:]

    def _run(
        self, function: Callable[[nn.Module, Tensor], Tensor], samples: Sequence[int] | None
    ) -> NDArray[np.float32]:
        settings = self.config.training
        chosen = torch.arange(len(self.dataset)) if samples is None else torch.as_tensor(samples, dtype=torch.int64)
        fabric = make_fabric(settings, alone=True)
        to_device(self.module, fabric, settings)
        self.module.eval()
        order = BatchOrder(chosen, BATCH, seed=0, shuffle=False, drop_last=False)
        loader = VolumeLoader(self.dataset, order, fabric.device, residency(self.dataset, settings), settings.workers)
        with torch.no_grad(), fabric.autocast():
            parts = [function(self.module, batch.volumes).float().cpu() for batch in loader.epoch()]
        return torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)


def _build_classifier(config: RunConfig, card: dict[str, Any]) -> Classifier:
    return Classifier(config.spec("encoder").build(), len(card["classes"]))


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME_VOXEL_SIZE * max(one, other)


def _size(box: Sequence[int]) -> str:
    return "×".join(map(str, box))
