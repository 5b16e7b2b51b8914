"""Fine-tuning: an encoder, pretrained or not, learns to classify from some of the labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cryoreg import notebook
from cryoreg.config import SECOND_AUGMENTATION, Layer, RunConfig, resolve
from cryoreg.config.calls import checked
from cryoreg.config.layers import Chosen
from cryoreg.config.settings import FinetuneSettings
from cryoreg.contracts import Learner, StepOutput, Subtomograms
from cryoreg.datasets.adaptation import load_adapted
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.splits import label_fraction, require_classes
from cryoreg.doubt.answers import Answers, answer_in_full, require_finite, well_formed
from cryoreg.doubt.decoys import scrambled
from cryoreg.doubt.familiar import Familiar, Shown
from cryoreg.doubt.familiar_file import save_familiar
from cryoreg.doubt.out_of_fold import learn_from_folds
from cryoreg.errors import ConfigError, DataError
from cryoreg.plans import LessonPlan
from cryoreg.proportions import Proportion
from cryoreg.randomness import build_seeded
from cryoreg.registry import Component
from cryoreg.runs.checkpoint import State, load_checkpoint
from cryoreg.runs.networks import (
    answering_config,
    first_encoder,
    fitted_to_start,
    learner_of,
    left_by,
    save_encoder,
    save_learner,
)
from cryoreg.runs.run_folder import RunFolder
from cryoreg.runs.run_log import require_loggers
from cryoreg.runs.starts import layers_of_run
from cryoreg.runs.weights import CLASSIFIER_FILE, card_of_start, make_card, provenance_of
from cryoreg.training.averaging import Averaged
from cryoreg.training.calibration import calibrate
from cryoreg.training.cross_validation import CrossValidated, cross_validate, cross_validates
from cryoreg.training.device import make_fabric, to_device
from cryoreg.training.engine import COLUMNS, Engine, TrainingPlan
from cryoreg.training.launch import run_in_processes
from cryoreg.training.lessons import LessonLoader, Lessons, material_of, others_order
from cryoreg.training.lightning import Fabric
from cryoreg.training.loading import Batch, BatchOrder, VolumeLoader, in_order, residency
from cryoreg.training.optimization import trains
from cryoreg.training.passes import run_over
from cryoreg.training.progress import show, show_notes, show_start
from cryoreg.training.small_batches import fewest_at_the_end, require_batch, require_step
from cryoreg.training.views import wants_weights

_AVERAGED = "averaged"
_LEARNING_COSTS = 4
"""To learn from a subtomogram takes about as long as to classify four: a view is drawn, and differentiated."""
_FEWEST_VALIDATIONS = 10


class FinetuneResult(NamedTuple):
    """What a fine-tuning run leaves."""

    run_dir: Path
    classifier: Path
    """The trained classifier.safetensors."""
    val_accuracy: float
    """Accuracy of the best epoch on the validation split; of a cross-validation, out of fold; NaN without either."""
    best_epoch: int
    val_subtomograms: int
    """How many these are."""

    @property
    def validation(self) -> Proportion | None:
        """How many of these are right, of how many, and the interval of their share; None where there are none."""
        count = self.val_subtomograms
        return Proportion(round(self.val_accuracy * count), count) if count else None

    def _repr_html_(self) -> str:
        accuracy = self.validation.said_of("subtomograms") if self.validation else "not known"
        facts = {"classifier": self.classifier, "validation accuracy": accuracy, "epoch kept": self.best_epoch}
        return notebook.shown("Fine-tuned classifier", facts)


class FinetuningPlan(TrainingPlan):
    """Lets a learner learn, and keeps the epoch that validates best."""

    title = "finetune"

    def __init__(
        self,
        config: RunConfig[FinetuneSettings],
        dataset: Subtomograms,
        fabric: Fabric,
        resumes: bool = False,
        found: CrossValidated | None = None,
    ) -> None:
        """Begin from the weights that the config names, unless the run ``resumes`` and has its own.

        ``found`` is what a cross-validation has found for the model of all labels.
        """
        self.config, self.fabric, self.found = config, fabric, found
        require_classes(dataset)
        config.check_data(dataset)
        spec = config.spec("learner").for_data(dataset)
        self.module = self.learner = build_seeded(
            config.training.seed,
            lambda: learner_of(self._blamed, spec, first_encoder(config, resumes), len(dataset.classes)),
        )
        self.taken_up = "" if resumes else self.learner.take_up(partial(left_by, config.training.pretrained))
        self.answering_config = answering_config(config)
        self.answering_config.check_data(dataset)
        self.averaged = None
        if config.training.ema and trains(self.learner):
            self.averaged = Averaged(self.learner, config.training.ema)
            to_device(self.averaged.learner, fabric, config.training)
        self._load(dataset, self.learner.lesson_plan())
        self.recorded = {**provenance_of(dataset), "config": config.to_dict()}
        self.best = {"epoch": -1, "val_accuracy": -1.0, "val_loss": float("inf")}

    def _load(self, dataset: Subtomograms, plan: LessonPlan) -> None:
        """Choose what is learnt from and what validates, and make ready to serve it."""
        settings, config, fabric = self.config.training, self.config, self.fabric
        self.division = divide(dataset, config.split)
        parts = self.division.parts
        if len(parts.val) == 0 and config.split.scheme != "cv":
            raise DataError("the validation split is empty, but it chooses the epoch to keep; change split.fractions")
        labelled = label_fraction(
            dataset, parts.train, settings.labels, settings.seed, per_class=settings.labels_per_class
        )
        resident = residency(dataset, settings)

        def serve(order: BatchOrder) -> VolumeLoader:
            weights = wants_weights(config)
            return VolumeLoader(dataset, order, fabric.device, resident, settings.workers, weights=weights)

        fewest = config.spec("learner").min_batch
        require_batch(settings.batch_size, fabric.world_size, self.module, fewest)
        order = BatchOrder(
            torch.from_numpy(labelled),
            settings.batch_size,
            settings.seed,
            drop_last=False,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            fewest=max(fewest, fewest_at_the_end(self.module)),
        )
        if trains(self.module):
            require_step(order)
        rest = np.setdiff1d(parts.train, labelled) if plan.unlabelled else np.array([], np.int64)
        hidden = others_order(rest, order, plan.ratio)
        shown = serve(order)
        others = serve(hidden or in_order(torch.from_numpy(rest))) if len(rest) else None
        self.labelled_loader = shown
        self.val_loader = serve(in_order(torch.from_numpy(parts.val)))
        self.left_out = _too_few(rest, order) if others and not hidden and trains(self.module) else ""
        self.loader = LessonLoader(shown, others if hidden else None)
        self.lessons = Lessons(plan, config, dataset)
        self.material = material_of(shown, self.val_loader, others)
        self.validated_epochs = validated_epochs(settings, len(labelled), len(parts.val))

    @property
    def answering(self) -> Learner:
        """What validates, and is kept: the learner, or the one of averaged weights."""
        return self.learner if self.averaged is None else self.averaged.learner

    def learning_rates(self) -> dict[str, float]:
        """Return the factors that the learner wants."""
        return self.learner.learning_rates()

    def begin_epoch(self, epoch: int) -> None:
        """Let the learner do what it does between epochs."""
        with self.fabric.autocast():
            self.learner.begin_epoch(epoch, self.config.training.epochs, self.material)

    def step(self, model: nn.Module, batch: Batch) -> StepOutput:
        """Return the learner's loss on what it is shown."""
        output = model(self.lessons.draw(batch))
        if not isinstance(output, StepOutput) or output.loss.ndim or not output.loss.requires_grad:
            raise self._blamed.faulty("returns no StepOutput whose loss is one number with a gradient")
        return output

    def after_step(self, step: int, total_steps: int) -> None:
        """Let the learner update what is not trained by gradients, and the average of the weights follow."""
        self.learner.after_step(step, total_steps)
        if self.averaged is not None:
            self.averaged.follow(self.learner, step)

    def end_epoch(self, model: nn.Module, epoch: int, folder: RunFolder) -> dict[str, float]:
        """Validate now and then, on each process alike; save the best weights so far (accuracy, then loss)."""
        scores = {}
        if epoch in self.validated_epochs:
            scores = validation_scores(*self.validate())
        elif self.validates:
            scores = {name: math.nan for name in self.best if name != "epoch"}  # never the best
        if self._is_best(epoch, scores):
            self.best |= {"epoch": epoch, **scores}
            if self.fabric.is_global_zero:
                folder.save_best({**self.recorded, "module": self.answering.state_dict(), "epoch": epoch, **scores})
        return {**scores, **self._figures()}

    def _figures(self) -> dict[str, float]:
        figures = self.learner.figures()
        if taken := sorted(figures.keys() & {*COLUMNS, *self.best}):
            raise self._blamed.faulty(f"has figures that are called as the run's own: {', '.join(taken)}")
        return figures

    @property
    def _blamed(self) -> Component:
        """The learner's component, whose package is at fault where the learner is."""
        return self.config.choices["learner"].component

    @property
    def validates(self) -> bool:
        """Whether there is a validation split: in a cross-validation there may be none."""
        return len(self.val_loader.order.samples) > 0

    def _is_best(self, epoch: int, scores: dict[str, float]) -> bool:
        """Tell whether an epoch validates best so far, of those that the learner lets be kept.

        Without validation, it is the one that folds found, or the last.
        """
        if not scores:
            return epoch == (self.config.training.epochs - 1 if self.found is None else self.found.epoch)
        if not self.learner.may_be_kept:
            return False
        return (scores["val_accuracy"], -scores["val_loss"]) > (self.best["val_accuracy"], -self.best["val_loss"])

    def validate(self) -> tuple[Tensor, Tensor]:
        """Return logits (N, classes) float32 and labels (N,) of the validation split, on the CPU.

        They are of volumes as they are, also where answers are means over turned copies: epochs are compared by them,
        and each copy would cost as much again.
        """
        learner = self.answering.eval()
        classes = len(self.val_loader.dataset.classes)
        with learner.encoder.averaging(turns=1):
            logits = run_over(
                self.val_loader,
                self.fabric,
                lambda x: well_formed(learner.classify(x), len(x), classes, self._blamed).logits,
            )
        require_finite(logits, self._blamed)
        return logits, self.val_loader.labels()

    def answers(self, loader: VolumeLoader, change: Callable[[Tensor], Tensor] = lambda x: x) -> Answers:
        """Return all that is answered to what a loader serves, ``change``d."""
        learner, classes = self.answering.eval(), len(loader.dataset.classes)
        columns = run_over(loader, self.fabric, lambda x: answer_in_full(learner, change(x), classes, self._blamed))
        answers = Answers.split(columns.numpy(), classes)
        require_finite(answers.logits, self._blamed)
        return answers

    def shown(self, loader: VolumeLoader) -> Shown:
        """Return what is answered to what a loader serves, with labels and tomograms."""
        groups = [loader.dataset.groups[index] for index in loader.order.samples.tolist()]
        return Shown(self.answers(loader), loader.labels().numpy(), groups)

    def familiar(self, validation: Shown) -> Familiar:
        """Return what tells other subtomograms, and other data, from those of training."""
        generator = torch.Generator().manual_seed(self.config.training.seed)
        decoys = self.answers(self.val_loader, lambda x: scrambled(x, generator))
        return Familiar.learn(self.shown(self.labelled_loader), validation, decoys)

    def familiar_out_of_fold(self, found: CrossValidated) -> Familiar:
        """Return the same of a model of all labels, for which those of the folds speak."""
        loader = self.labelled_loader
        return learn_from_folds(self.shown(loader), loader.order.samples.numpy(), found.parts, found.samples)

    def measured(self, validation: Shown | None) -> dict[str, object]:
        """Return metrics and calibration of what is kept, by validation or out of fold; without both, its epoch."""
        if self.found is not None:
            return {"metrics": self.found.metrics(), "calibration": self.found.calibration}
        if validation is None:
            return {"metrics": {"epoch": self.best["epoch"]}}
        logits, labels = validation.answers.logits, validation.labels
        self.best |= validation_scores(torch.from_numpy(logits), torch.from_numpy(labels))
        return {"metrics": self.best, "calibration": calibrate(logits, labels).to_dict()}

    def result(self, run_dir: Path) -> FinetuneResult:
        """Return what the run leaves in ``run_dir``."""
        accuracy, count = self.best["val_accuracy"], len(self.val_loader.order.samples)
        if self.found is not None:
            accuracy, count = self.found.right / self.found.subtomograms, self.found.subtomograms
        measured = accuracy if count else math.nan
        return FinetuneResult(run_dir, run_dir / CLASSIFIER_FILE, measured, int(self.best["epoch"]), count)

    def state(self) -> State:
        """Return which epoch is the best so far, and the average of the weights."""
        return {**self.best, **({} if self.averaged is None else {_AVERAGED: self.averaged.learner.state_dict()})}

    def load_state(self, state: State) -> None:
        """Take back the best epoch so far, and the average of the weights."""
        self.best = {key: state[key] for key in self.best}
        if self.averaged is not None:
            self.averaged.learner.load_state_dict(state[_AVERAGED])


def run_finetuning(config: RunConfig[FinetuneSettings], run_dir: Path, resume: bool = False) -> FinetuneResult:
    """Run a resolved config in ``run_dir``; with ``resume``, go on from its last checkpoint.

    A cross-validation has a run for each fold, in ``run_dir``/folds, and then one on all labels.
    """
    RunFolder(run_dir).require(resume)
    require_loggers(config.training.loggers)
    _require_phases(config)
    config = config if resume else fitted_to_start(config)
    if not cross_validates(config):
        return _train(config, run_dir, resume)
    found = cross_validate(config, run_dir, _train)
    return _train(config, run_dir, RunFolder(run_dir).last.exists(), found)


def _require_phases(config: RunConfig[FinetuneSettings]) -> None:
    """Raise `ConfigError`, before the run has a folder, where there is no epoch for each part of the learner."""
    name, epochs = config.choices["learner"].component.name, config.training.epochs
    if config.spec("learner").in_phases and epochs < 2:
        raise ConfigError(f"{name} learns in two phases, of an epoch each at least: take --epochs 2 or more")


def _train(
    config: RunConfig[FinetuneSettings], run_dir: Path, resume: bool, found: CrossValidated | None = None
) -> FinetuneResult:
    return run_in_processes(_finetune, config.training, config, run_dir, resume, found)


def _finetune(
    config: RunConfig[FinetuneSettings], run_dir: Path, resume: bool, found: CrossValidated | None
) -> FinetuneResult:
    """Be one of the run's processes."""
    fabric, folds = make_fabric(config.training, in_phases=config.spec("learner").in_phases), found is not None
    speaks = not folds and (config.split.fold or 1) == 1  # of a cross-validation, the first run says it for all
    if not resume and speaks:
        show_start(config, fabric)
    dataset = load_adapted(config.spec("dataset"), config.input)
    if speaks:
        show_notes(config, dataset, fabric, None if resume else card_of_start(config.training.pretrained))
    plan = FinetuningPlan(config, dataset, fabric, resume, found)
    if speaks:
        show([f"warning: {plan.division.warning}"] if plan.division.warning else [], fabric)
        show([f"note: {note}" for note in (plan.taken_up, plan.left_out) if note], fabric)
    with RunFolder.open(run_dir, config, resume, fabric.global_rank, fabric.barrier, folds) as (folder, resumed):
        engine = Engine(plan, config, folder, fabric, resumed)
        if plan.best["epoch"] >= 0:
            load_checkpoint(folder.best)  # better missed now than when all epochs are done
        engine.run()
        if fabric.is_global_zero:
            _write_best(plan, folder)
    return plan.result(run_dir)


def validated_epochs(settings: FinetuneSettings, learnt: int, validating: int) -> range:
    """Return the epochs after which ``validating`` subtomograms judge what ``learnt`` ones taught.

    Where the settings leave it open, they take no longer than the learning, but come ten times at least.
    """
    if not validating:
        return range(0)
    every = settings.validate_every_epochs
    if every is None:
        every = max(1, min(validating // (_LEARNING_COSTS * learnt), settings.epochs // _FEWEST_VALIDATIONS))
    return range((settings.epochs - 1) % every, settings.epochs, every)


def validation_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return accuracy and mean cross-entropy of logits (N, classes) on labels (N,)."""
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    return {"val_accuracy": accuracy, "val_loss": nn.functional.cross_entropy(logits.double(), labels).item()}


def _too_few(others: np.ndarray, order: BatchOrder) -> str:
    return (
        f"{len(others)} subtomogram{'s' if len(others) > 1 else ''} without a label: too few for a batch, which needs "
        f"{order.world_size * order.fewest}: the labelled ones alone are learnt from"
    )


def _write_best(plan: FinetuningPlan, folder: RunFolder) -> None:
    learner, dataset = plan.answering, plan.loader.dataset
    learner.load_state_dict(load_checkpoint(folder.best)["module"])
    validation = plan.shown(plan.val_loader) if plan.validates else None
    known = {"classes": list(dataset.classes), **plan.measured(validation)}
    card = make_card(plan.answering_config, dataset, learner.encoder.num_features, **known)
    save_encoder(folder.path, learner.encoder, card)
    classifier = save_learner(folder.path, learner, card)
    if plan.found is not None:
        save_familiar(classifier, plan.familiar_out_of_fold(plan.found))
    elif validation is not None:
        save_familiar(classifier, plan.familiar(validation))


@checked(FinetuneSettings)
def finetune(
    run_dir: str | Path,
    *,
    data: str | Path | None = None,
    recipe: str | None = None,
    pretrained: str | Path | None = None,
    encoder: Chosen = None,
    learner: Chosen = None,
    augmentation: Chosen = None,
    augmentation_2: Chosen = None,
    dataset: Chosen = None,
    labels_from: str | Path | None = None,
    split: Mapping[str, object] | None = None,
    resume: bool = False,
    **settings: object,
) -> FinetuneResult:
    """Train a classifier on labels, as `cryoreg finetune` does, from trained weights or from scratch.

    ``data`` is a file or folder; which reader fits is worked out. ``recipe`` names settings that all others are laid
    over: "best", ... (`list_recipes`). ``labels_from`` is a list of ids and classes, or a folder of lists of ids.
    ``learner`` is how to learn (default: full), ``augmentation_2`` another recipe for every second view. ``pretrained``
    is the name of weights, from which the encoder is then taken unless given, a pretraining run's directory or an
    encoder.safetensors, from which data set and split are taken, too; "scratch": random weights. Left out, the
    encoder's own trained weights are taken, where it has some. ``settings`` are those of `FinetuneSettings`: labels,
    epochs, batch_size, lr, seed, ... With ``resume``, what is not given comes from the run directory. Raises a
    `CryoregError` for any mistake.
    """
    if pretrained is not None:
        settings["pretrained"] = pretrained
    components: dict[str, Chosen] = {
        **{"encoder": encoder, "learner": learner, "dataset": dataset},
        **{"augmentation": augmentation, SECOND_AUGMENTATION: augmentation_2},
    }
    layers = [Layer.of_arguments(components, split, settings, data, labels_from)]
    layers = layers_of_run("finetune", layers, recipe, Path(run_dir) if resume else None)
    return run_finetuning(resolve("finetune", layers), Path(run_dir), resume)
