"""Where and how precisely to compute."""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import logging
import sys
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import nn

from cryoreg.config.settings import TrainingSettings
from cryoreg.errors import ConfigError
from cryoreg.training.launch import (
    launched_processes,
    processes_on_this_node,
    require_equal_shares,
    started_by_us,
)
from cryoreg.training.small_convolutions import guard_convolutions

if TYPE_CHECKING:
    from cryoreg.training.lightning import Fabric

_COLLECTIVE_TIMEOUT = timedelta(minutes=20)
"""So long may processes wait for one that works alone: it simulates the demo data, or probes."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""


class Place(Protocol):
    """Where a network computes, and how precisely: a `OneDevice`, or a run's Fabric."""

    @property
    def device(self) -> torch.device:
        """What it computes on."""
        ...

    @property
    def world_size(self) -> int:
        """How many processes share a batch."""
        ...

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute in the precision meanwhile."""
        ...


class OneDevice(NamedTuple):
    """What it takes to ask a network in one process; Fabric, which training takes, is a second of import."""

    device: torch.device
    bf16: bool

    @property
    def world_size(self) -> int:
        """One process, which works alone."""
        return 1

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute in bf16 meanwhile, or in float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()


def one_device(settings: TrainingSettings) -> OneDevice:
    """Return the device for this process alone; raise `ConfigError` where it is absent."""
    name = _device(settings.device)
    if name == "cpu":
        _keep_freed_memory()
    device = torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)
    return OneDevice(device, _in_bf16(settings, name))


def make_fabric(settings: TrainingSettings, in_phases: bool = False) -> Fabric:
    """Return the Lightning Fabric for this process, joined to the others of its run.

    ``in_phases``: not all that is trained gets a gradient at each step. Raises `ConfigError` where the device is
    absent, or where the settings and torchrun or SLURM disagree on the number of processes.
    """
    from cryoreg.training.lightning import Fabric, LightningEnvironment

    device = _device(settings.device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the engine says it
    world = launched_processes()
    fabric = Fabric(
        accelerator=device,
        precision="bf16-mixed" if _in_bf16(settings, device) else "32-true",
        plugins=None if world and not started_by_us() else LightningEnvironment(),
        **(_joined(settings, device, world, in_phases) if world > 1 else {"devices": 1}),
    )
    fabric.launch()
    if device == "cpu":
        _keep_freed_memory()
    return fabric


def _joined(settings: TrainingSettings, device: str, world: int, in_phases: bool) -> dict[str, Any]:
    """Return what Fabric must know of a run in ``world`` processes."""
    wanted = settings.devices * settings.num_nodes
    if wanted not in (1, world):
        raise ConfigError(
            f"training.devices × training.num_nodes is {wanted}, but {world} processes were started; leave both out "
            "under torchrun and SLURM"
        )
    from cryoreg.training.lightning import DDPStrategy

    require_equal_shares(settings, world)
    here = processes_on_this_node(world)
    if device == "mps" or (device == "cuda" and here > torch.cuda.device_count()):
        raise ConfigError(
            f"{here} processes need as many GPUs here, but there are {torch.cuda.device_count()}; lower --devices"
        )
    # A 1³ kernel has two layouts in memory that are the same; torch warns of each.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # Buffers agree by what the methods do, but for BatchNorm's statistics, which each process may keep.
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options = {sync_buffers: False, "find_unused_parameters": in_phases}
    strategy = DDPStrategy(timeout=_COLLECTIVE_TIMEOUT, **options)
    return {"devices": here, "num_nodes": world // here, "strategy": strategy}


def to_device(module: nn.Module, place: Place, settings: TrainingSettings) -> None:
    """Move a module to the device of a run, in the memory layout that its settings ask for.

    Where several GPUs share a batch, BatchNorm normalises over all of it (`torch.nn.SyncBatchNorm`); torch has that for
    GPUs only, so processes on CPUs normalise their own parts.
    """
    if place.world_size > 1 and place.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)
    module.to(place.device)
    if settings.channels_last:
        module.to(memory_format=torch.channels_last_3d)
    if place.device.type == "cpu":
        guard_convolutions(module)


def describe(fabric: Fabric) -> dict[str, str]:
    """Return the device and precision that a run computes with."""
    name = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else fabric.device.type
    precision = {"bf16-mixed": "bf16", "32-true": "fp32"}[str(fabric.strategy.precision.precision)]
    return {"device": name, "precision": precision}


def _device(wanted: str) -> str:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, there in present.items() if there)
    if not present[wanted]:
        raise ConfigError(f"device '{wanted}' is not available here; --device auto takes the best there is")
    return wanted


def _in_bf16(settings: TrainingSettings, device: str) -> bool:
    return settings.precision == "bf16" or (settings.precision == "auto" and _has_fast_bf16(device))


def _keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory rather than return it: fresh pages for large tensors cost 10 % of a step."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, -1)


def _has_fast_bf16(device: str) -> bool:
    """Tell whether the device multiplies bf16 in hardware; emulated, it is slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
