"""Fine-tuning: an encoder, pretrained or not, learns to classify from some of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.config.settings import SCRATCH, FinetuneSettings
from cryoreg.contracts import StepOutput, SubtomogramDataset
from cryoreg.datasets.splits import label_fraction, require_classes, split
from cryoreg.errors import CheckpointError, DataError
from cryoreg.randomness import SampleRng
from cryoreg.runs.checkpoint import load_checkpoint
from cryoreg.runs.lab_checkpoint import is_lab_checkpoint, load_lab_weights
from cryoreg.runs.run_folder import RunFolder, with_run
from cryoreg.runs.weights import (
    CLASSIFIER_FILE,
    ENCODER_FILE,
    find_weights,
    load_into,
    load_trained,
    make_card,
    provenance_of,
    save_weights,
    with_pretrained,
)
from cryoreg.training.calibration import calibrate
from cryoreg.training.classifier import Classifier, predict, supervised_step
from cryoreg.training.device import make_fabric
from cryoreg.training.engine import Engine, TrainingPlan, build_seeded
from cryoreg.training.launch import run_in_processes
from cryoreg.training.lightning import Fabric
from cryoreg.training.loading import Batch, BatchOrder, VolumeLoader, residency
from cryoreg.training.progress import show_notes


class FinetuneResult(NamedTuple):
    """What a fine-tuning run leaves."""

    run_dir: Path
    classifier: Path
    """The exported classifier.safetensors."""
    val_accuracy: float
    """Accuracy of the best epoch on the validation split."""
    best_epoch: int


class FinetuningPlan(TrainingPlan):
    """Minimises cross-entropy on augmented volumes and keeps the epoch that validates best."""

    title = "finetune"

    def __init__(self, config: RunConfig, dataset: SubtomogramDataset, fabric: Fabric) -> None:
        settings: FinetuneSettings = config.training
        require_classes(dataset)
        config.check_data(dataset)
        self.seed, self.leads = settings.seed, fabric.is_global_zero
        self.module = self.classifier = build_seeded(
            settings.seed, lambda: Classifier(config.spec("encoder").build(), len(dataset.classes))
        )
        self.augment = config.spec("augmentation").build()
        parts = split(dataset, config.split.fractions, config.split.seed)
        if len(parts.val) == 0:
            raise DataError("the validation split is empty, but it chooses the epoch to keep; change split.fractions")
        labelled = label_fraction(
            dataset, parts.train, settings.labels, settings.seed, per_class=settings.labels_per_class
        )
        order = BatchOrder(
            torch.from_numpy(labelled),
            settings.batch_size,
            settings.seed,
            drop_last=False,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        resident = residency(dataset, settings)
        self.loader = VolumeLoader(dataset, order, fabric.device, resident, settings.workers)
        val_order = BatchOrder(torch.from_numpy(parts.val), 64, seed=0, shuffle=False, drop_last=False)
        self.val_loader = VolumeLoader(dataset, val_order, fabric.device, resident, settings.workers)
        self.recorded = {**provenance_of(dataset), "config": config.to_dict()}
        self.best = {"epoch": -1, "val_accuracy": -1.0, "val_loss": float("inf")}

    def step(self, model: nn.Module, batch: Batch, epoch: int) -> StepOutput:
        """Return the cross-entropy on augmented volumes."""
        rng = SampleRng.for_batch(self.seed, epoch, batch.samples, view=0)
        return supervised_step(model, self.augment(batch.volumes, rng), batch.labels)

    def end_epoch(self, model: nn.Module, epoch: int, folder: RunFolder) -> dict[str, float]:
        """Validate, on each process alike; save the weights where they are the best so far (accuracy, then loss)."""
        logits, labels = predict(model, self.val_loader)
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        loss = nn.functional.cross_entropy(logits.double(), labels).item()
        if (accuracy, -loss) > (self.best["val_accuracy"], -self.best["val_loss"]):
            self.best = {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss}
            if self.leads:
                folder.save_best({**self.recorded, "module": self.module.state_dict(), **self.best})
        return {"val_accuracy": accuracy, "val_loss": loss}

    def state(self) -> dict[str, Any]:
        """Return which epoch is the best so far."""
        return dict(self.best)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back the best epoch so far."""
        self.best = dict(state)


def load_pretrained(classifier: Classifier, config: RunConfig) -> None:
    """Copy the weights to start from into the encoder; raise `CheckpointError` where they are another network's."""
    path = find_weights(config.training.pretrained)
    if is_lab_checkpoint(path):
        return load_lab_weights(classifier.encoder, path)
    weights = load_trained(path)
    recorded, wanted = weights.card["config"]["encoder"], config.to_dict()["encoder"]
    for key in wanted:
        if recorded.get(key) != wanted[key]:
            raise CheckpointError(f"{path} holds an encoder with {key} = {recorded.get(key)!r}, not {wanted[key]!r}")
    load_into(classifier.encoder, weights.tensors, path)


def run_finetuning(config: RunConfig, run_dir: Path, resume: bool = False) -> FinetuneResult:
    """Run a resolved config in ``run_dir``; with ``resume``, go on from its last checkpoint."""
    RunFolder(run_dir).require(resume)
    return run_in_processes(_finetune, config.training, config, run_dir, resume)


def _finetune(config: RunConfig, run_dir: Path, resume: bool) -> FinetuneResult:
    """Be one of the run's processes."""
    fabric = make_fabric(config.training)
    dataset = config.spec("dataset").build()
    show_notes(dataset, fabric)
    plan = FinetuningPlan(config, dataset, fabric)
    if config.training.pretrained != SCRATCH and not resume:
        load_pretrained(plan.classifier, config)
    with RunFolder.open(run_dir, config, resume, fabric.global_rank, fabric.barrier) as (folder, resumed):
        engine = Engine(plan, config, folder, fabric, resumed)
        if plan.best["epoch"] >= 0:
            load_checkpoint(folder.best)  # better missed now than when all epochs are done
        engine.run()
        if fabric.is_global_zero:
            _export_best(plan, config, folder, fabric)
    return FinetuneResult(run_dir, run_dir / CLASSIFIER_FILE, plan.best["val_accuracy"], int(plan.best["epoch"]))


def _export_best(plan: FinetuningPlan, config: RunConfig, folder: RunFolder, fabric: Fabric) -> None:
    plan.classifier.load_state_dict(load_checkpoint(folder.best)["module"])
    dataset, encoder = plan.loader.dataset, plan.classifier.encoder
    with fabric.autocast():
        logits, labels = predict(plan.classifier, plan.val_loader)
    known = {
        "classes": list(dataset.classes),
        "metrics": plan.best,
        "calibration": calibrate(logits.double().numpy(), labels.numpy()).to_dict(),
    }
    card = make_card(config, dataset, encoder.num_features, **known)
    save_weights(folder.path / ENCODER_FILE, encoder.state_dict(), card)
    save_weights(folder.path / CLASSIFIER_FILE, plan.classifier.state_dict(), card)


def finetune(
    run_dir: str | Path,
    *,
    pretrained: str | Path | None = None,
    encoder: str | Mapping[str, Any] | None = None,
    augmentation: str | Mapping[str, Any] | None = None,
    dataset: str | Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    resume: bool = False,
    **settings: Any,
) -> FinetuneResult:
    """Train a classifier on labels, as `cryoreg finetune` does, from ``pretrained`` weights or from scratch.

    ``pretrained`` is a pretraining run's directory or an encoder.safetensors, from which encoder, data set and split
    are then taken unless given. ``settings`` are those of `FinetuneSettings`: labels, epochs, batch_size, lr, seed, ...
    With ``resume``, what is not given comes from the run directory. Raises a `CryoregError` for any mistake.
    """
    if pretrained is not None:
        settings["pretrained"] = pretrained
    components = {"encoder": encoder, "augmentation": augmentation, "dataset": dataset}
    layers = [Layer.of_arguments(components, split, settings)]
    layers = with_run("finetune", layers, Path(run_dir)) if resume else with_pretrained(layers)
    return run_finetuning(resolve("finetune", layers), Path(run_dir), resume)
