"""The training loop, on Lightning Fabric: resumable to the bit, stopped cleanly, halted before a non-finite step."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from cryoreg.config import AnyConfig, changed_packages
from cryoreg.contracts import StepOutput, as_single_views
from cryoreg.datasets.fingerprint import fingerprint, require_same
from cryoreg.errors import CheckpointError, NonFiniteError, message_of
from cryoreg.randomness import mix64
from cryoreg.runs.checkpoint import State
from cryoreg.runs.run_folder import RunFolder
from cryoreg.runs.run_log import RunLog
from cryoreg.runs.weights import load_into, provenance_of
from cryoreg.seams import LoggedRun
from cryoreg.training.device import describe, to_device
from cryoreg.training.lightning import Fabric
from cryoreg.training.loading import Batch, BatchSource
from cryoreg.training.monitor import MONITORED, FeatureFigures, Monitor
from cryoreg.training.optimization import Schedule, create_optimizer, trains
from cryoreg.training.progress import ProgressLine
from cryoreg.training.signals import Interrupted, StopFlag
from cryoreg.training.small_batches import batches_of_one

COLUMNS = ("epoch", "step", "loss", *MONITORED, "subtomograms_per_s")
"""Of metrics.csv, those that every run has."""


class TrainingPlan(ABC):
    """What an engine carries out: a module, its data, and what one step and one epoch mean."""

    title: str
    module: nn.Module
    loader: BatchSource

    @abstractmethod
    def step(self, model: nn.Module, batch: Batch) -> StepOutput:
        """Return the loss of a batch. ``model`` is ``module`` as Fabric wraps it."""

    def learning_rates(self) -> dict[str, float]:
        """Return factors on the learning rate, of parameters by name, where that is not 1."""
        return {}

    def begin_epoch(self, epoch: int) -> None:  # noqa: B027
        """Do what is done before an epoch's first step; a resume in the midst of it does not do it again."""

    def after_step(self, step: int, total_steps: int) -> None:  # noqa: B027
        """Update what gradients do not."""

    def collapsed_loss(self) -> float | None:
        """Return the loss of a module to which all subtomograms look alike, where it is known."""
        return None

    def end_epoch(self, model: nn.Module, epoch: int, folder: RunFolder) -> dict[str, float]:
        """Return more columns for metrics.csv; NaN leaves one empty."""
        return {}

    def state(self) -> State:
        """Return what a resume needs beside the module's weights; plain types only."""
        return {}

    def load_state(self, state: State) -> None:  # noqa: B027
        """Take back what `state` returned."""


@dataclass
class Position:
    """How far a run has come."""

    epoch: int = 0
    step: int = 0
    """Optimizer steps taken since the start."""
    seen: int = 0
    """Subtomograms of this epoch already used, over all processes."""
    loss_sum: float = 0.0
    steps_in_epoch: int = 0
    last_loss: float = math.nan
    """Mean over the epoch before this one."""

    def next_epoch(self) -> Position:
        """Return the start of the epoch after this one."""
        return Position(epoch=self.epoch + 1, step=self.step, last_loss=self.loss_sum / max(1, self.steps_in_epoch))


class _StepSummary(NamedTuple):
    """Means over the processes."""

    loss: float
    grad_norm: float
    bad: float
    stopping: float
    features: tuple[float, ...]
    """The `FeatureFigures`."""


class Engine:
    """Carries a training plan out, to its last epoch."""

    def __init__(
        self,
        plan: TrainingPlan,
        config: AnyConfig,
        folder: RunFolder,
        fabric: Fabric,
        resumed: State | None = None,
    ) -> None:
        self.plan, self.config, self.folder, self.fabric = plan, config, folder, fabric
        self.settings = config.training
        to_device(plan.module, fabric, self.settings)
        optimizer = create_optimizer(plan.module, self.settings, plan.learning_rates())
        self.steps_per_epoch = math.ceil(len(plan.loader) / self.settings.accumulate) if trains(plan.module) else 0
        self.schedule = Schedule(optimizer, self.settings, self.steps_per_epoch)
        self.model, self.optimizer = plan.module, optimizer
        if self.steps_per_epoch:
            self.model, self.optimizer = fabric.setup(plan.module, optimizer)
        self.monitor = Monitor()
        self.position = Position()
        self._data = fingerprint(plan.loader.dataset)
        self.total_steps = self.settings.epochs * self.steps_per_epoch
        self._changed_packages = [] if resumed is None else changed_packages(resumed["config"], config)
        if resumed is not None:
            self._restore(resumed)
        self._saved_at = time.monotonic()
        self._leads = fabric.is_global_zero
        self._stop = StopFlag()
        self._progress = ProgressLine(
            plan.title, self.settings.epochs, self.steps_per_epoch, self.position.step, silent=not self._leads
        )
        logged = LoggedRun(folder.path, config.to_dict(), self.position.step)
        self._log = RunLog(logged, self.settings.loggers if self._leads else (), self._progress.say)

    def run(self) -> None:
        """Train until the last epoch is done.

        Raises `NonFiniteError` before a step that would spoil the weights, and `Interrupted` after SIGTERM or Ctrl-C,
        when the step is finished and saved.
        """
        with self._stop, self._progress, _own_random_state(self.fabric.device):
            self._introduce()
            if self._leads:
                self.folder.start(self.config, self.state())  # before any log, so that a run killed here can begin anew
            with self._log:
                while self.position.epoch < self.settings.epochs:
                    self._epoch()

    def _introduce(self) -> None:
        order, computed = self.plan.loader.order, describe(self.fabric)
        accumulate = self.settings.accumulate
        size = f"{accumulate} × {order.batch_size}" if accumulate > 1 else str(order.batch_size)
        self._progress.say(
            f"{self.plan.title}: {len(order.samples)} subtomograms of {self.config.choices['dataset'].component.name}, "
            f"{f'{self.steps_per_epoch} steps of {size}' if self.steps_per_epoch else 'no step'} an epoch, "
            f"on {computed['device']} "
            f"in {computed['precision']}; files in {self.folder.path}"
        )
        for change in self._changed_packages:
            self._progress.say(f"Warning: {change}; the run may go on otherwise than it began")
        if accumulate > 1:
            self._progress.say(
                f"Warning: training.accumulate averages gradients; a subtomogram still meets the {order.batch_size} "
                "of its own batch only, so a contrastive method gains no negatives"
            )

    def _epoch(self) -> None:
        started, seen_before = time.monotonic(), self.position.seen
        if seen_before == 0:
            self.plan.begin_epoch(self.position.epoch)
        self.model.train()
        if self.steps_per_epoch:
            served = self.plan.loader.epoch(self.position.epoch, self.position.seen)
            for batches in _grouped(served, self.settings.accumulate):
                self._step(batches)
        seconds = time.monotonic() - started
        self._log_epoch(speed=(self.position.seen - seen_before) / seconds)
        self.position = self.position.next_epoch()
        if self.position.epoch % self.settings.save_every_epochs == 0 or self.position.epoch == self.settings.epochs:
            self.save()

    def _step(self, batches: list[Batch]) -> None:
        position = self.position
        torch.manual_seed(_step_seed(self.settings.seed, position.step, self.fabric.global_rank))
        rate = self.schedule.set(position.step)
        output = self._of_all_processes(self._differentiate(batches))
        summary = self._summarised(output, self._gradient_norm(), batches)
        self.optimizer.step()
        self.plan.after_step(position.step, self.total_steps)
        row = {"step": position.step, "epoch": position.epoch, "loss": summary.loss, "lr": rate}
        self._log.step({**row, "grad_norm": summary.grad_norm})
        self._progress.advance(summary.loss, self.plan.loader.order.batch_size * self.settings.accumulate)
        self._count(batches, output, summary)
        self._save_or_stop(summary.stopping > 0)

    def _differentiate(self, batches: list[Batch]) -> StepOutput:
        """Leave the gradient of the batches' mean loss; return that loss, and the features of the last batch."""
        self.optimizer.zero_grad()
        losses = []
        for number, batch in enumerate(batches, start=1):
            waits = self.fabric.world_size > 1 and number < len(batches)
            with self.fabric.no_backward_sync(self.model, enabled=waits):
                with batches_of_one(), as_single_views(self.model):
                    output = self.plan.step(self.model, batch)
                self.fabric.backward(output.loss / len(batches))
            losses.append(output.loss.detach().float())
        return output._replace(loss=torch.stack(losses).mean())

    def _of_all_processes(self, output: StepOutput) -> StepOutput:
        """Return the output with the features of all processes, so that monitors see the whole batch."""
        if self.fabric.world_size == 1:
            return output
        others = output.other_features
        return output._replace(
            features=_gathered(output.features, self.fabric.world_size),
            other_features=None if others is None else _gathered(others, self.fabric.world_size),
        )

    def _gradient_norm(self) -> Tensor:
        gradients = [p.grad for p in self.plan.module.parameters() if p.grad is not None]
        norm = get_total_norm(gradients)
        if self.settings.clip_grad is not None:
            clip_grads_with_norm_(self.plan.module.parameters(), self.settings.clip_grad, norm)
        return norm

    def _summarised(self, output: StepOutput, norm: Tensor, batches: list[Batch]) -> _StepSummary:
        """Return the step's figures, the same on all processes; raise on all where one is not finite."""
        loss = output.loss
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        stop = bad.new_tensor(self._stop.signal is not None)
        values = torch.stack([loss, norm.float(), bad.float(), stop.float(), *FeatureFigures.of(output)])
        if self.fabric.world_size > 1:
            values = self.fabric.all_reduce(values, reduce_op="mean")
        loss_, norm_, bad_, stopping, *features = values.tolist()
        summary = _StepSummary(loss_, norm_, bad_, stopping, tuple(features))
        if summary.bad > 0:
            raise NonFiniteError(self._describe(summary, batches))
        return summary

    def _describe(self, summary: _StepSummary, batches: list[Batch]) -> str:
        ids = ", ".join(self.plan.loader.dataset.ids[i] for batch in batches for i in batch.samples.tolist())
        return (
            f"loss {summary.loss:g}, gradient norm {summary.grad_norm:g} at step {self.position.step} "
            f"(epoch {self.position.epoch}); stopped before that step, the last good checkpoint is {self.folder.last}; "
            f"lower training.lr or set training.clip_grad. The batch: {ids}"
        )

    def _count(self, batches: list[Batch], output: StepOutput, summary: _StepSummary) -> None:
        position = self.position
        position.step += 1
        position.seen += sum(len(batch.samples) for batch in batches) * self.fabric.world_size
        position.steps_in_epoch += 1
        position.loss_sum += summary.loss
        self.monitor.count(output.features, summary.features)

    def _log_epoch(self, speed: float) -> None:
        position = self.position
        loss = position.loss_sum / max(1, position.steps_in_epoch)
        figures = {
            "loss": loss,
            **self.monitor.end_epoch(loss, self.plan.collapsed_loss()),
            **self.plan.end_epoch(self.model, position.epoch, self.folder),
        }
        figures["subtomograms_per_s"] = round(speed, 1)
        self._progress.end_epoch(figures, self.monitor.alarm)
        self._log.epoch(position.epoch, position.step, figures)

    def _save_or_stop(self, stopping: bool) -> None:
        if stopping:
            self.save()
            self.fabric.barrier()  # so that no process ends, and has the others ended, before all is saved
            self._progress.say(f"stopped after step {self.position.step - 1}; saved; continue with --resume")
            raise Interrupted(self._stop.signal or 15)
        if time.monotonic() - self._saved_at > 60 * self.settings.save_every_minutes:
            self.save()

    def save(self) -> None:
        """Write the last checkpoint."""
        self._log.flush()
        if self._leads:
            self.folder.save(self.state())
        self._saved_at = time.monotonic()

    def state(self) -> State:
        """Return all that a resume needs, in tensors and plain types."""
        return {
            **provenance_of(self.plan.loader.dataset),
            "config": self.config.to_dict(),
            "data": self._data,
            "progress": asdict(self.position),
            "module": self.plan.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "monitor": self.monitor.state(),
            "job": self.plan.state(),
        }

    def _restore(self, state: State) -> None:
        require_same(self.plan.loader.dataset, state["data"], str(self.folder.path))
        try:
            load_into(self.plan.module, state["module"], self.folder.last)
            self.optimizer.load_state_dict(state["optimizer"])
            self.monitor.load_state(state["monitor"])
            self.plan.load_state(state["job"])
            self.position = Position(**state["progress"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.folder.last} does not fit the run ({message_of(error)}); put back the file that the run wrote"
            ) from error


def _gathered(rows: Tensor, world_size: int) -> Tensor:
    """Return the rows (b, ...) of all processes, in the order of the ranks."""
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world_size)]
    torch.distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def _grouped(batches: Iterable[Batch], count: int) -> Iterator[list[Batch]]:
    """Yield lists of ``count`` successive batches, the last one perhaps shorter."""
    rest = iter(batches)
    while group := list(islice(rest, count)):
        yield group


@contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of what a step draws from torch's global generator, such as dropout."""
    parts = torch.tensor([seed])
    for part in (step, rank):
        parts = mix64(parts * 3 + part)
    return int(parts.item())
