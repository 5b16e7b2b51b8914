"""Where and how precisely to compute."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cryoreg.errors import ConfigError
from cryoreg.settings import TrainingSettings
from cryoreg.training.small_convolutions import guard_convolutions

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of mallopt(3)."""


def make_fabric(settings: TrainingSettings) -> Fabric:
    """Return the Lightning Fabric for a run in one process; raise `ConfigError` where the device is absent."""
    device = _device(settings.device)
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and _has_fast_bf16(device))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the engine says it
    fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed" if bf16 else "32-true")
    fabric.launch()
    if device == "cpu":
        _keep_freed_memory()
    return fabric


def place(module: nn.Module, fabric: Fabric, settings: TrainingSettings) -> None:
    """Move a module to the device of a run, in the memory layout that its settings ask for."""
    module.to(fabric.device)
    if settings.channels_last:
        module.to(memory_format=torch.channels_last_3d)
    if fabric.device.type == "cpu":
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
