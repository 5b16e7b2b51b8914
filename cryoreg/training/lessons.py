"""What a learner learns from: labelled subtomograms, each batch with one of others whose labels are not shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import numpy as np
import torch
from torch import Tensor

from cryoreg.config import AnyConfig
from cryoreg.contracts import Lesson, Material, Subtomograms
from cryoreg.plans import LessonPlan
from cryoreg.training.loading import Batch, BatchOrder, VolumeLoader
from cryoreg.training.views import Views


class LessonLoader:
    """Goes through the labelled subtomograms once an epoch, and through the others round after round.

    Which others come with a batch follows from its number since the run began, so a resume finds them again.
    """

    def __init__(self, labelled: VolumeLoader, others: VolumeLoader | None) -> None:
        """Raise `ValueError` where the others have no batch: they would never come."""
        if others is not None and not len(others):
            raise ValueError(f"{len(others.order.samples)} others make no batch; give None for them")
        self._labelled, self._others = labelled, others
        self.dataset, self.order = labelled.dataset, labelled.order

    def __len__(self) -> int:
        return len(self._labelled)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield this process's share of each batch, from the one after the first ``start`` samples on."""
        batches = self._labelled.epoch(epoch, start)
        if self._others is None:
            return batches
        begun = epoch * len(self) + start // self.order.batch_size
        pairs = zip(batches, self._endless(self._others, begun), strict=False)
        return (batch._replace(others=others) for batch, others in pairs)

    def _endless(self, others: VolumeLoader, begun: int) -> Iterator[Batch]:
        first, within = divmod(begun, len(others))
        yield from others.epoch(first, within * others.order.batch_size)
        for number in count(first + 1):
            yield from others.epoch(number)


def others_order(samples: np.ndarray, like: BatchOrder, ratio: int) -> BatchOrder | None:
    """Return the order of those whose labels are not shown, ``ratio`` times the batches of ``like``.

    Where there are fewer than that, a batch holds as many as the processes can share; None where that is less than
    each of them needs.
    """
    size = min(ratio * like.batch_size, len(samples)) // like.world_size * like.world_size
    if size < like.world_size * like.fewest:
        return None
    return like._replace(samples=torch.from_numpy(samples), batch_size=size, drop_last=True)


class Lessons:
    """Draws what a learner is shown of a batch."""

    def __init__(self, plan: LessonPlan, config: AnyConfig, dataset: Subtomograms) -> None:
        """Raise `ConfigError` where the encoder cannot take local views of the size that the learner wants."""
        self._labelled = Views(plan.labelled, config, dataset.box)
        self._others = Views(plan.unlabelled, config, dataset.box) if plan.unlabelled else None

    def draw(self, batch: Batch) -> Lesson:
        """Return what is shown of a batch."""
        hidden = self._others.draw(batch.others) if self._others and batch.others else ()
        return Lesson(self._labelled.draw(batch), batch.labels, hidden)


class _Labelled(Iterable[tuple[Tensor, Tensor]]):
    def __init__(self, loader: VolumeLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((batch.volumes, batch.labels) for batch in self._loader.once())


class _Unlabelled(Iterable[Tensor]):
    def __init__(self, loader: VolumeLoader | None) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Tensor]:
        return (batch.volumes for batch in (self._loader.once() if self._loader else ()))


def material_of(labelled: VolumeLoader, validation: VolumeLoader, others: VolumeLoader | None) -> Material:
    """Return what a learner may look at between epochs."""
    return Material(_Labelled(labelled), _Labelled(validation), _Unlabelled(others))
