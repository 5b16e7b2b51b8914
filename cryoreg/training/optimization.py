"""Optimizers and learning-rate schedules: timm's, and those that are registered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import timm.optim
import timm.scheduler
import torch
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from cryoreg import registry
from cryoreg.config.settings import TrainingSettings
from cryoreg.errors import ConfigError, UnknownComponentError
from cryoreg.registry import suggestion
from cryoreg.seams import MakeOptimizer, RateFactor

SCHEDULES = ("cosine", "tanh", "step", "multistep", "poly")
"""Those of timm that are functions of the step alone."""
_FIRST_RATE = 1e-2
"""Of warm-up, times the learning rate."""


def trains(module: nn.Module) -> bool:
    """Tell whether anything in a module is trained by gradients."""
    return any(parameter.requires_grad for parameter in module.parameters())


def create_optimizer(
    module: nn.Module, settings: TrainingSettings, rates: Mapping[str, float] | None = None
) -> Optimizer:
    """Return the optimizer of that name over the trainable parameters; raise `ConfigError` where it cannot.

    ``rates`` are factors on the learning rate, of parameters by name. Where nothing is trained, it has nothing to move.
    """
    if settings.optimizer not in timm.optim.list_optimizers():
        return _registered_optimizer(module, settings, rates or {})
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


def _registered_optimizer(module: nn.Module, settings: TrainingSettings, rates: Mapping[str, float]) -> Optimizer:
    try:
        component = registry.find("optimizers", settings.optimizer)
    except UnknownComponentError as error:
        hint = suggestion(settings.optimizer, timm.optim.list_optimizers())
        raise ConfigError(
            f"training.optimizer: timm has no '{settings.optimizer}'{hint} (timm.optim.list_optimizers() names all); "
            f"nor is it registered: {error}"
        ) from error
    make: MakeOptimizer = component.part()
    nothing = [{"params": [nn.Parameter(torch.empty(0))]}]
    made: object = make(_groups(settings.weight_decay, rates, module) or nothing, settings.lr, settings.momentum)
    if not isinstance(made, Optimizer):
        raise component.faulty(f"returns no torch.optim.Optimizer, but a {type(made).__name__}")
    return made


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
        steps = max(1, steps_per_epoch)
        if settings.schedule in SCHEDULES:
            self._scheduler = _timms_schedule(optimizer, settings, steps)
        else:
            self._scheduler = _RegisteredSchedule(optimizer, settings, steps)
        self._optimizer = optimizer

    def set(self, step: int) -> float:
        """Set the rate of a step, counted from 0, and return it, where no factor is on it."""
        self._scheduler.step_update(step)
        group = self._optimizer.param_groups[0]
        return float(group["lr"] / group.get("lr_scale", 1.0))


def _timms_schedule(optimizer: Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> Scheduler:
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer,
        sched=settings.schedule,
        decay_rate=0.1,
        num_epochs=settings.epochs,
        decay_epochs=max(1, settings.epochs // 3),
        decay_milestones=[settings.epochs // 2, settings.epochs * 3 // 4],
        warmup_epochs=settings.warmup_epochs,
        warmup_lr=settings.lr * _FIRST_RATE,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    return scheduler


class _RegisteredSchedule(Scheduler):
    """Linear warm-up, as timm has it, and then a registered factor on the rate."""

    def __init__(self, optimizer: Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> None:
        self._name, self._factor = settings.schedule, _registered_factor(settings.schedule)
        self._warm_up, self._steps = (epochs * steps_per_epoch for epochs in (settings.warmup_epochs, settings.epochs))
        self._first = settings.lr * _FIRST_RATE
        super().__init__(optimizer, "lr", t_in_epochs=False)

    def _get_lr(self, step: int) -> list[float]:
        if step < self._warm_up:
            return [self._first + step * ((rate - self._first) / self._warm_up) for rate in self.base_values]
        factor = self._factor((step - self._warm_up) / max(1, self._steps - self._warm_up))
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(f"training.schedule: '{self._name}' gives the factor {factor} at step {step}; mend it")
        return [rate * factor for rate in self.base_values]


def _registered_factor(name: str) -> RateFactor:
    try:
        factor: RateFactor = registry.find_part("schedule", name)
    except UnknownComponentError as error:
        raise ConfigError(
            f"training.schedule: '{name}'{suggestion(name, SCHEDULES)}; timm has {', '.join(SCHEDULES)}; nor is it "
            f"registered: {error}"
        ) from error
    return factor
