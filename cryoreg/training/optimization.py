"""Optimizers and learning-rate schedules, through timm's factories."""

from __future__ import annotations

import timm.optim
import timm.scheduler
from torch import nn
from torch.optim import Optimizer

from cryoreg.config.settings import TrainingSettings
from cryoreg.errors import ConfigError
from cryoreg.registry import suggestion

SCHEDULES = ("constant", "cosine", "tanh", "step", "multistep", "poly")


def create_optimizer(module: nn.Module, settings: TrainingSettings) -> Optimizer:
    """Return timm's optimizer of that name over the trainable parameters; raise `ConfigError` where it cannot."""
    known = timm.optim.list_optimizers()
    if settings.optimizer not in known:
        hint = suggestion(settings.optimizer, known)
        raise ConfigError(
            f"training.optimizer: timm has no '{settings.optimizer}'{hint}; timm.optim.list_optimizers() names all"
        )
    if timm.optim.get_optimizer_info(settings.optimizer).second_order:
        raise ConfigError(f"training.optimizer: '{settings.optimizer}' needs second derivatives; choose another")
    try:
        return timm.optim.create_optimizer_v2(
            module,
            opt=settings.optimizer,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
        )
    except (AssertionError, ImportError) as error:  # Apex and bitsandbytes, which timm only wraps
        raise ConfigError(f"training.optimizer: '{settings.optimizer}' cannot be used here: {error}") from error


class Schedule:
    """The learning rate as a function of the step alone, so that a resumed run needs no state for it."""

    def __init__(self, optimizer: Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> None:
        if settings.schedule not in SCHEDULES:
            hint = suggestion(settings.schedule, SCHEDULES)
            raise ConfigError(f"training.schedule: '{settings.schedule}'{hint}; known: {', '.join(SCHEDULES)}")
        constant = settings.schedule == "constant"
        self._scheduler, _ = timm.scheduler.create_scheduler_v2(
            optimizer,
            sched="step" if constant else settings.schedule,
            decay_rate=1.0 if constant else 0.1,
            num_epochs=settings.epochs,
            decay_epochs=max(1, settings.epochs // 3),
            decay_milestones=[settings.epochs // 2, settings.epochs * 3 // 4],
            warmup_epochs=settings.warmup_epochs,
            warmup_lr=settings.lr * 1e-2,
            step_on_epochs=False,
            updates_per_epoch=steps_per_epoch,
        )
        self._optimizer = optimizer

    def set(self, step: int) -> float:
        """Set the rate of a step, counted from 0, and return it."""
        self._scheduler.step_update(step)
        return float(self._optimizer.param_groups[0]["lr"])
