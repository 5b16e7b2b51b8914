"""Optimizers and learning-rate schedules, through timm's factories."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import timm.optim
import timm.scheduler
import torch
from torch import nn
from torch.optim import Optimizer

from cryoreg.config.settings import TrainingSettings
from cryoreg.errors import ConfigError
from cryoreg.registry import suggestion

SCHEDULES = ("constant", "cosine", "tanh", "step", "multistep", "poly")


def trains(module: nn.Module) -> bool:
    """Tell whether anything in a module is trained by gradients."""
    return any(parameter.requires_grad for parameter in module.parameters())


def create_optimizer(
    module: nn.Module, settings: TrainingSettings, rates: Mapping[str, float] | None = None
) -> Optimizer:
    """Return timm's optimizer of that name over the trainable parameters; raise `ConfigError` where it cannot.

    ``rates`` are factors on the learning rate, of parameters by name. Where nothing is trained, it has nothing to move.
    """
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
            module if trains(module) else [nn.Parameter(torch.empty(0))],
            param_group_fn=partial(_groups, settings.weight_decay, rates) if rates else None,
            opt=settings.optimizer,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
        )
    except (AssertionError, ImportError) as error:  # Apex and bitsandbytes, which timm only wraps
        raise ConfigError(f"training.optimizer: '{settings.optimizer}' cannot be used here: {error}") from error


def _groups(weight_decay: float, rates: Mapping[str, float], module: nn.Module) -> list[dict[str, Any]]:
    """Return groups of parameters by their factor and weight decay, which vectors do not have, as timm does it."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 and not name.endswith(".bias") else 0.0
            groups.setdefault((rates.get(name, 1.0), decay), []).append(parameter)
    return [{"params": each, "weight_decay": decay, "lr_scale": rate} for (rate, decay), each in groups.items()]


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
            updates_per_epoch=max(1, steps_per_epoch),
        )
        self._optimizer = optimizer

    def set(self, step: int) -> float:
        """Set the rate of a step, counted from 0, and return it, where no factor is on it."""
        self._scheduler.step_update(step)
        group = self._optimizer.param_groups[0]
        return float(group["lr"] / group.get("lr_scale", 1.0))
