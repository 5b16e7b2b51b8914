"""Pretraining: a self-supervised method around an encoder, on unlabelled subtomograms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.contracts import StepOutput, SubtomogramDataset
from cryoreg.datasets.splits import split
from cryoreg.errors import DataError
from cryoreg.randomness import SampleRng
from cryoreg.settings import PretrainSettings
from cryoreg.training.device import make_fabric
from cryoreg.training.engine import Engine, Job, build_seeded
from cryoreg.training.export import ENCODER_FILE, make_card, save_weights
from cryoreg.training.loading import Batch, BatchOrder, VolumeLoader
from cryoreg.training.run_folder import RunFolder, with_run


class PretrainResult(NamedTuple):
    """What a pretraining run leaves."""

    run_dir: Path
    encoder: Path
    """The exported encoder.safetensors."""
    loss: float
    """Mean loss of the last epoch."""


class PretrainJob(Job):
    """Draws views and lets the method compare them."""

    title = "pretrain"

    def __init__(self, config: RunConfig, dataset: SubtomogramDataset, device: torch.device) -> None:
        settings: PretrainSettings = config.training
        config.spec("encoder").check_box(dataset.box)
        self.seed, self.views = settings.seed, config.spec("method").views
        self.module = self.method = build_seeded(
            settings.seed, lambda: config.spec("method").build(config.spec("encoder").build())
        )
        self.augment = config.spec("augmentation").build()
        samples = pretraining_samples(config, dataset)
        if len(samples) < settings.batch_size:
            raise DataError(
                f"{len(samples)} subtomograms to learn from make no batch of {settings.batch_size}; lower --batch-size"
            )
        order = BatchOrder(torch.from_numpy(samples), settings.batch_size, settings.seed)
        self.loader = VolumeLoader(dataset, order, device, settings.resident, settings.workers)

    def step(self, model: nn.Module, batch: Batch, epoch: int) -> StepOutput:
        """Return the method's loss on fresh views."""
        rngs = (SampleRng.for_batch(self.seed, epoch, batch.samples, view) for view in range(self.views))
        return model([self.augment(batch.volumes, rng) for rng in rngs])

    def after_step(self, step: int, total_steps: int) -> None:
        """Let the method update its momentum encoder, queue or prototypes."""
        self.method.after_step(step, total_steps)


def pretraining_samples(config: RunConfig, dataset: SubtomogramDataset) -> np.ndarray:
    """Return the indices to learn from: the train split of a labelled set, so that its test split stays unseen."""
    if config.training.part == "all" or not dataset.classes:
        return np.arange(len(dataset))
    return split(dataset, config.split.fractions, config.split.seed).train


def run_pretraining(config: RunConfig, run_dir: Path, resume: bool = False) -> PretrainResult:
    """Run a resolved config in ``run_dir``; with ``resume``, go on from its last checkpoint."""
    RunFolder(run_dir).require(resume)
    fabric = make_fabric(config.training)
    dataset = config.spec("dataset").build()
    job = PretrainJob(config, dataset, fabric.device)
    with RunFolder.open(run_dir, config, resume) as (folder, resumed):
        engine = Engine(job, config, folder, fabric, resumed)
        engine.run()
        loss = engine.position.last_loss
        card = make_card(config, dataset, job.method.encoder.num_features, metrics={"pretraining_loss": loss})
        save_weights(run_dir / ENCODER_FILE, job.method.encoder.state_dict(), card)
    return PretrainResult(run_dir, run_dir / ENCODER_FILE, loss)


def pretrain(
    run_dir: str | Path,
    *,
    method: str | Mapping[str, Any] | None = None,
    encoder: str | Mapping[str, Any] | None = None,
    augmentation: str | Mapping[str, Any] | None = None,
    dataset: str | Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    resume: bool = False,
    **settings: Any,
) -> PretrainResult:
    """Pretrain an encoder without labels, as `cryoreg pretrain` does (defaults: moco, rb3d, gupta2022, demo).

    Components are names, or mappings with a name and hyper-parameters: ``method={"name": "moco", "temperature": 0.1}``.
    ``settings`` are those of `PretrainSettings`: epochs, batch_size, lr, seed, device, ... With ``resume``, what is
    not given comes from the run directory. Raises a `CryoregError` for any mistake in the input.
    """
    components = {"method": method, "encoder": encoder, "augmentation": augmentation, "dataset": dataset}
    layers = [Layer.of_arguments(components, split, settings)]
    layers = with_run("pretrain", layers, Path(run_dir)) if resume else layers
    return run_pretraining(resolve("pretrain", layers), Path(run_dir), resume)
