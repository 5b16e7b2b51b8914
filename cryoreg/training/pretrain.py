"""Pretraining: a self-supervised method around an encoder, on unlabelled subtomograms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from cryoreg import notebook
from cryoreg.config import SECOND_AUGMENTATION, Layer, RunConfig, resolve
from cryoreg.config.calls import checked
from cryoreg.config.layers import Chosen
from cryoreg.config.settings import PretrainSettings
from cryoreg.contracts import StepOutput, Subtomograms
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.splits import label_fraction
from cryoreg.errors import DataError
from cryoreg.randomness import build_seeded
from cryoreg.runs.networks import first_encoder, save_encoder
from cryoreg.runs.run_folder import RunFolder
from cryoreg.runs.run_log import require_loggers
from cryoreg.runs.starts import layers_of_run
from cryoreg.runs.weights import ENCODER_FILE, card_of_start, make_card
from cryoreg.training.device import make_fabric
from cryoreg.training.engine import Engine, TrainingPlan
from cryoreg.training.launch import run_in_processes
from cryoreg.training.lightning import Fabric
from cryoreg.training.loading import UNLABELLED, Batch, BatchOrder, VolumeLoader, residency
from cryoreg.training.probe import Probe
from cryoreg.training.progress import show_notes, show_start
from cryoreg.training.small_batches import require_batch
from cryoreg.training.views import Views, wants_weights


class PretrainResult(NamedTuple):
    """What a pretraining run leaves."""

    run_dir: Path
    encoder: Path
    """The trained encoder.safetensors."""
    loss: float
    """Mean loss of the last epoch."""
    labelled: bool = False
    """Whether the data set has labels to fine-tune on."""

    def _repr_html_(self) -> str:
        return notebook.shown("Pretrained encoder", {"encoder": self.encoder, "loss": f"{self.loss:.4f}"})


class PretrainingPlan(TrainingPlan):
    """Draws views and lets the method compare them."""

    title = "pretrain"

    def __init__(
        self, config: RunConfig[PretrainSettings], dataset: Subtomograms, fabric: Fabric, resumes: bool = False
    ) -> None:
        """Begin from the weights that the config names, unless the run ``resumes`` and has its own."""
        settings = config.training
        spec = config.spec("method").for_data(dataset)
        config.check_data(dataset)
        self.module = self.method = build_seeded(settings.seed, lambda: spec.build(first_encoder(config, resumes)))
        self.views = Views(spec.view_plan(), config, dataset.box, self.method.denoise)
        samples = pretraining_samples(config, dataset)
        if len(samples) < settings.batch_size:
            raise DataError(
                f"{len(samples)} subtomograms to learn from make no batch of {settings.batch_size}; lower --batch-size"
            )
        require_batch(settings.batch_size, fabric.world_size, self.module, spec.min_batch)
        order = BatchOrder(
            torch.from_numpy(samples),
            settings.batch_size,
            settings.seed,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        clean = self.views.plan.clean > 0
        resident = residency(dataset, settings, clean)
        self.loader = VolumeLoader(
            dataset, order, fabric.device, resident, settings.workers, clean, weights=wants_weights(config)
        )
        self.shown = shown_labels(config, dataset).to(fabric.device) if spec.uses_labels else None
        self.probe = Probe.of_run(config, dataset, fabric) if fabric.is_global_zero else None
        self.probed_epochs = probed_epochs(settings)

    def step(self, model: nn.Module, batch: Batch) -> StepOutput:
        """Return the method's loss on fresh views."""
        views = self.views.draw(batch)
        return model(views) if self.shown is None else model(views, self.shown[batch.samples])

    def collapsed_loss(self) -> float | None:
        """Return the method's; some know it once they have seen a batch."""
        return self.method.collapsed_loss

    def end_epoch(self, model: nn.Module, epoch: int, folder: RunFolder) -> dict[str, float]:
        """Probe the encoder every few epochs, where there are labels to probe with."""
        if self.probe is None:
            return {}
        return self.probe.figures(self.method.encoder if epoch in self.probed_epochs else None)

    def after_step(self, step: int, total_steps: int) -> None:
        """Let the method update its momentum encoder, queue or prototypes."""
        self.method.after_step(step, total_steps)


def pretraining_samples(config: RunConfig[PretrainSettings], dataset: Subtomograms) -> np.ndarray:
    """Return the indices to learn from: the train split of a labelled set, so that its test split stays unseen."""
    if config.training.part == "all" or not dataset.classes:
        return np.arange(len(dataset))
    try:
        return divide(dataset, config.split).parts.train
    except DataError as error:
        raise DataError(f"{error}; or learn from all of the data: --set training.part=all") from None


def shown_labels(config: RunConfig[PretrainSettings], dataset: Subtomograms) -> torch.Tensor:
    """Return the labels (N,) that a method is shown: the chosen fraction of the train split's, -1 for all others."""
    labels = torch.full((len(dataset),), UNLABELLED)
    if dataset.classes:
        train = divide(dataset, config.split).parts.train
        settings = config.training
        for index in label_fraction(dataset, train, settings.labels, settings.seed, settings.labels_per_class):
            labels[index] = dataset.labels[index]
    return labels


def probed_epochs(settings: PretrainSettings) -> range | tuple[int, ...]:
    """Return the epochs after which the encoder is probed: every few, counted from the last one back."""
    every = settings.probe_every_epochs
    return range((settings.epochs - 1) % every, settings.epochs, every) if every else ()


def run_pretraining(config: RunConfig[PretrainSettings], run_dir: Path, resume: bool = False) -> PretrainResult:
    """Run a resolved config in ``run_dir``; with ``resume``, go on from its last checkpoint."""
    RunFolder(run_dir).require(resume)
    require_loggers(config.training.loggers)
    return run_in_processes(_pretrain, config.training, config, run_dir, resume)


def _pretrain(config: RunConfig[PretrainSettings], run_dir: Path, resume: bool) -> PretrainResult:
    """Be one of the run's processes."""
    fabric = make_fabric(config.training)
    if not resume and config.training.pretrained is not None:
        show_start(config, fabric)
    dataset = load_adapted(config.spec("dataset"), config.input)
    show_notes(config, dataset, fabric, None if resume else card_of_start(config.training.pretrained))
    plan = PretrainingPlan(config, dataset, fabric, resumes=resume)
    with RunFolder.open(run_dir, config, resume, fabric.global_rank, fabric.barrier) as (folder, resumed):
        engine = Engine(plan, config, folder, fabric, resumed)
        engine.run()
        loss = engine.position.last_loss
        if fabric.is_global_zero:
            _write_encoder(plan, config, run_dir, loss)
    labelled = any(label is not None for label in dataset.labels)
    return PretrainResult(run_dir, run_dir / ENCODER_FILE, loss, labelled)


def _write_encoder(plan: PretrainingPlan, config: RunConfig[PretrainSettings], run_dir: Path, loss: float) -> None:
    encoder = plan.method.encoder
    card = make_card(config, plan.loader.dataset, encoder.num_features, metrics={"pretraining_loss": loss})
    save_encoder(run_dir, encoder, card)


@checked(PretrainSettings)
def pretrain(
    run_dir: str | Path,
    *,
    data: str | Path | None = None,
    recipe: str | None = None,
    method: Chosen = None,
    encoder: Chosen = None,
    augmentation: Chosen = None,
    augmentation_2: Chosen = None,
    dataset: Chosen = None,
    split: Mapping[str, object] | None = None,
    pretrained: str | Path | None = None,
    resume: bool = False,
    **settings: object,
) -> PretrainResult:
    """Pretrain an encoder without labels, as `cryoreg pretrain` does (defaults: moco, rb3d, gupta2022, demo).

    ``data`` is a file or folder; which reader fits is worked out. ``recipe`` names settings that all others are laid
    over: "best", ... (`list_recipes`). Components are names, or mappings with a name and hyper-parameters:
    ``method={"name": "moco", "temperature": 0.1}``. ``augmentation_2`` is another recipe for every second view.
    ``pretrained`` is what to go on from: the name of weights, from which the encoder is then taken unless given, or a
    run's directory or an encoder.safetensors, from which data set and split are taken, too. ``settings`` are those of
    `PretrainSettings`: epochs, batch_size, lr, seed, device, ... With ``resume``, what is not given comes from the run
    directory. Raises a `CryoregError` for any mistake in the input.
    """
    components = {
        **{"method": method, "encoder": encoder, "dataset": dataset},
        **{"augmentation": augmentation, SECOND_AUGMENTATION: augmentation_2},
    }
    if pretrained is not None:
        settings["pretrained"] = pretrained
    layers = [Layer.of_arguments(components, split, settings, data)]
    layers = layers_of_run("pretrain", layers, recipe, Path(run_dir) if resume else None)
    return run_pretraining(resolve("pretrain", layers), Path(run_dir), resume)
