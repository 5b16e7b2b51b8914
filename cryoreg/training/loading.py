"""From a data set to normalised batches on the device, in an order that depends only on (seed, epoch)."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cryoreg import registry
from cryoreg.child_processes import safe_path
from cryoreg.config.settings import TrainingSettings
from cryoreg.contracts import Box, Subtomograms
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import CryoregError, DataError
from cryoreg.randomness import SampleRng
from cryoreg.wrapped import with_defaults

UNLABELLED = -1
_ORDER_VIEW = -1
_RESIDENT_SHARE = 0.4
_GB = 1e9
_READ_TIMEOUT_SECONDS = 600
_AT_ONCE, _FEWEST_AT_ONCE = 2**20, 64
"""Voxels and volumes that a pass without learning takes at once: more small volumes, as each step has a price."""


class Batch(NamedTuple):
    """Part of a batch: what this process works on."""

    volumes: Tensor
    """float32 (b, 1, D, H, W), each of mean 0 and standard deviation 1."""
    labels: Tensor
    """int64 (b,); -1 where unknown."""
    samples: Tensor
    """int64 (b,): indices into the data set."""
    clean: Tensor | None = None
    """float32 (b, 1, D, H, W): noise-free copies of the volumes, normalised likewise, where they are served."""
    epoch: int = 0
    """The pass over the samples that the batch belongs to, counted from 0: views are drawn by it."""
    weights: Tensor | None = None
    """float32 (b, 1, D, H, W // 2 + 1): the measured part of each Fourier coefficient, where that is served."""
    others: Batch | None = None
    """Subtomograms whose labels are not shown, for a learner that asks for them."""


class BatchOrder(NamedTuple):
    """Which samples stand in which batch."""

    samples: Tensor
    """int64: the data set's indices to go through in an epoch."""
    batch_size: int
    """Over all processes."""
    seed: int
    shuffle: bool = True
    drop_last: bool = True
    rank: int = 0
    world_size: int = 1
    fewest: int = 1
    """Samples that each process needs in a batch; one with fewer is left out."""

    def steps(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.samples), self.batch_size)
        return whole * self._suffices(self.batch_size) + (self._suffices(rest) and not self.drop_last)

    def batches(self, epoch: int, start: int = 0) -> list[Tensor]:
        """Return this process's share of each batch, from the one after the first ``start`` samples on."""
        samples = self._order(epoch)[start:]
        batches = [b for b in samples.split(self.batch_size) if len(b) == self.batch_size or not self.drop_last]
        return [self._share(batch) for batch in batches if self._suffices(len(batch))]

    def _suffices(self, size: int) -> bool:
        return size >= self.world_size * self.fewest

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return self.samples
        keys = SampleRng.for_batch(self.seed, epoch, self.samples, view=_ORDER_VIEW).bits()
        return self.samples[torch.argsort(keys, stable=True)]

    def _share(self, batch: Tensor) -> Tensor:
        """Cut a batch into equal, contiguous parts; a last, smaller one loses what cannot be shared equally."""
        size = len(batch) // self.world_size
        return batch[self.rank * size : (self.rank + 1) * size]


def in_order(samples: Tensor, size: int = _FEWEST_AT_ONCE) -> BatchOrder:
    """Return the order of those who learn nothing: as given, each once, on every process alike."""
    return BatchOrder(samples, size, seed=0, shuffle=False, drop_last=False)


class BatchSource(Protocol):
    """What an engine goes through in an epoch."""

    dataset: Subtomograms
    order: BatchOrder

    def __len__(self) -> int: ...

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield this process's share of each batch, from the one after the first ``start`` samples on."""
        ...


class VolumeLoader:
    """Serves some samples of a data set: held on the device where they fit, else read as they are needed.

    With ``workers`` other processes read ahead, with none this one does, batch by batch. A data set that can prefetch
    is told of each batch one step before. A simulated set that fits is streamed at first, then held.

    With ``clean`` it also serves the data set's noise-free copies, where it has any, with ``weights`` the weights of
    their Fourier coefficients.
    """

    def __init__(
        self,
        dataset: Subtomograms,
        order: BatchOrder,
        device: torch.device,
        resident: bool | None = None,
        workers: int = 2,
        clean: bool = False,
        weights: bool = False,
    ) -> None:
        copies = dataset.clean if clean else None
        self._clean = VolumeLoader(with_defaults(copies), order, device, resident, workers) if copies else None
        self.dataset = dataset
        self.order = order
        self.device = device
        self.workers = workers
        self._labels = torch.tensor([UNLABELLED if label is None else label for label in dataset.labels])
        self._weighted = weights and dataset.weighted
        self._volumes: Tensor | None = None
        self._weights: Tensor | None = None
        halves = 3 if self._weighted else 2
        if fits(halves * len(order.samples) // 2, dataset.box, device) if resident is None else resident:
            self._position = torch.full((len(dataset),), -1).index_copy_(
                0, order.samples, torch.arange(len(order.samples))
            )
            self._held = torch.full((len(order.samples),), not dataset.simulated)
            self._make_room()

    def __len__(self) -> int:
        return self.order.steps()

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield this process's share of each batch, from the one after the first ``start`` samples on."""
        yield from self._batches(self.order.batches(epoch, start), epoch)

    def _batches(self, batches: list[Tensor], epoch: int) -> Iterator[Batch]:
        copies = self._clean._serve(batches) if self._clean else repeat(None)
        for samples, (volumes, weights), clean in zip(batches, self._serve(batches), copies, strict=False):
            labels = self._labels[samples].to(self.device, non_blocking=True)
            samples = samples.to(self.device, non_blocking=True)
            yield Batch(volumes, labels, samples, None if clean is None else clean[0], epoch, weights)

    def labels(self) -> Tensor:
        """Return the labels (N,) of all that is served, in the order given; -1 where unknown."""
        return self._labels[self.order.samples]

    def once(self) -> Iterator[Batch]:
        """Yield all that is served, once, in the order given, on every process alike."""
        size = max(_FEWEST_AT_ONCE, _AT_ONCE // math.prod(self.dataset.box))
        yield from self._batches(in_order(self.order.samples, size).batches(0), 0)

    def _serve(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield normalised volumes, and their weights where these are served."""
        if self._volumes is None:
            for volumes, *weights in self._stream(batches):
                served = normalise(volumes.to(self.device, non_blocking=True))
                yield served, weights[0].to(self.device, non_blocking=True) if weights else None
        else:
            for rows in self._arriving([self._position[batch] for batch in batches]):
                chosen = rows.to(self.device)
                yield self._volumes[chosen], None if self._weights is None else self._weights[chosen]

    def _arriving(self, batches: list[Tensor]) -> Iterator[Tensor]:
        """Yield batches of rows, each once its volumes are held."""
        missing = [rows[~self._held[rows]] for rows in batches]
        arrivals = self._stream([self.order.samples[rows] for rows in missing if len(rows)])
        for rows, absent in zip(batches, missing, strict=True):
            if len(absent):
                self._hold(absent, next(arrivals))
            yield rows

    def _hold(self, rows: Tensor, read: Sequence[Tensor]) -> None:
        """Keep volumes, normalised one by one: the last bits of a batch's might depend on its size."""
        assert self._volumes is not None, "room was made for them"
        for row, volume in zip(rows.tolist(), read[0], strict=True):
            self._volumes[row] = normalise(volume[None])[0]
        if self._weights is not None:
            self._weights[rows] = read[1].to(self.device)
        self._held[rows] = True

    def _stream(self, batches: list[Tensor]) -> Iterator[list[Tensor]]:
        """Yield volumes, and their weights where these are served, as they are read."""
        loader = DataLoader(
            _Reader(self.dataset, self._weighted),
            batch_sampler=_Announced(batches, self.dataset.prefetch),
            collate_fn=_collate,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            timeout=_READ_TIMEOUT_SECONDS if self.workers else 0,
            worker_init_fn=_default_signals,
        )
        with safe_path():
            batches_read = iter(loader)
        for read in batches_read:
            if isinstance(read, CryoregError):
                raise read
            yield read

    def _make_room(self) -> None:
        """Make room for all volumes, and fill it at once unless they are simulated as they are read."""
        simulated, (depth, height, width) = self.dataset.simulated, self.dataset.box
        place = self.device if simulated else torch.device("cpu")
        self._volumes = torch.empty(len(self.order.samples), 1, depth, height, width, device=place)
        if self._weighted:
            self._weights = torch.empty(len(self.order.samples), 1, depth, height, width // 2 + 1, device=place)
        if simulated:
            return
        for row, index in enumerate(self.order.samples.tolist()):
            volume, *weight = _read(self.dataset, index, self._weighted)
            self._volumes[row] = normalise(volume[None])[0]
            if self._weights is not None:
                self._weights[row] = weight[0]
        self._volumes = self._volumes.to(self.device)
        self._weights = None if self._weights is None else self._weights.to(self.device)


def residency(dataset: Subtomograms, settings: TrainingSettings, clean: bool = False) -> bool | None:
    """Return whether volumes are to be held on the device: as the settings say, None where they leave it open.

    A stated budget is for all volumes of the data set, with their noise-free copies where those are served (``clean``).
    """
    if settings.resident is not None or settings.memory_gb is None:
        return settings.resident
    copies = 2 if clean and dataset.clean is not None else 1
    return copies * len(dataset) * _volume_bytes(dataset.box) <= settings.memory_gb * _GB


def fits(count: int, box: Box, device: torch.device) -> bool:
    """Tell whether ``count`` float32 volumes take less than 40 % of the device's free memory."""
    return count * _volume_bytes(box) < _RESIDENT_SHARE * _free_bytes(device)


def _volume_bytes(box: Box) -> int:
    return 4 * math.prod(box)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read(dataset: Subtomograms, index: int, weighted: bool) -> list[Tensor]:
    """Return a volume, and its weight where that is asked for."""
    sample = dataset[index]
    if sample.volume.shape != (1, *dataset.box):
        raise DataError(f"{sample.id} has shape {tuple(sample.volume.shape)}, but its set has boxes of {dataset.box}")
    if not weighted:
        return [sample.volume]
    if sample.weight is None:
        raise DataError(f"{sample.id} has no weight, though its set says that all have one")
    return [sample.volume, sample.weight]


class _Announced:
    """The batches of an epoch; as each is handed out, the next one is announced."""

    def __init__(self, batches: list[Tensor], announce: Callable[[list[int]], None] | None) -> None:
        self.batches, self.announce = batches, announce

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for number, batch in enumerate(self.batches):
            if self.announce is not None and number + 1 < len(self.batches):
                self.announce(self.batches[number + 1].tolist())
            yield batch.tolist()


class _Reader(Dataset[list[Tensor] | CryoregError]):
    """Reads volumes in a worker, and hands a user's error over as a value: raised, it would gain a traceback."""

    def __init__(self, dataset: Subtomograms, weighted: bool) -> None:
        self.dataset, self.weighted = dataset, weighted

    def __getitem__(self, index: int) -> list[Tensor] | CryoregError:
        try:
            return _read(self.dataset, index, self.weighted)
        except CryoregError as error:
            return error
        except Exception as error:
            if blamed := registry.blamed(error, carried=True):
                return blamed
            raise


def _collate(samples: Sequence[list[Tensor] | CryoregError]) -> list[Tensor] | CryoregError:
    errors = (sample for sample in samples if isinstance(sample, CryoregError))
    read = [sample for sample in samples if not isinstance(sample, CryoregError)]
    return next(errors, None) or [torch.stack(parts) for parts in zip(*read, strict=True)]


def _default_signals(worker: int) -> None:
    """Let a worker die of SIGTERM; on Ctrl-C the main process finishes its step first."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
