"""PyTorch, its GPUs, and torchvision, which must be built for the same PyTorch."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import TypedDict, cast

from cryoreg import registry
from cryoreg.diagnosis import separate_process
from cryoreg.diagnosis.finding import Finding, ok, problem, warning

_GET_TORCH = 'the page "Get started" of PyTorch gives the command for this machine'
_REINSTALL = f"reinstall torch; {_GET_TORCH}"
_TORCH = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    available = torch.cuda.is_available()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if available else []
    if available:
        torch.ones(2, device="cuda").sum().item()
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "hip": getattr(torch.version, "hip", None),
    "available": available,
    "names": names,
    "mps": bool(getattr(torch.backends, "mps", None) and torch.backends.mps.is_available()),
    "warnings": [" ".join(str(w.message).split()) for w in caught if "CUDA" in str(w.message)],
}))
"""
_TORCHVISION = """
import json, torch, torchvision
torchvision.ops.nms(torch.tensor([[0., 0., 1., 1.]]), torch.tensor([1.]), 0.5)
print(json.dumps({"version": torchvision.__version__}))
"""


class _Torch(TypedDict):
    """What `_TORCH` prints."""

    version: str
    cuda: str | None
    hip: str | None
    available: bool
    names: list[str]
    mps: bool
    warnings: list[str]


def check() -> Iterator[Finding]:
    """Yield what torch says of itself, of the GPUs, and whether torchvision's operators load."""
    found = separate_process.run_python(_TORCH)
    if found.error:
        damaged = found.error.startswith("UnicodeDecodeError") and registry.problems()
        fix = "mend the unreadable metadata first, which torch reads, too (see Plugins)" if damaged else _REINSTALL
        yield problem(f"torch cannot be used: {found.error}", fix)
        return
    torch = cast(_Torch, found.result)
    yield ok(f"torch {torch['version']}")
    yield from _gpus(torch)
    yield from _torchvision(torch["version"])


def _gpus(torch: _Torch) -> Iterator[Finding]:
    driver, trouble = nvidia_driver()
    if torch["available"]:
        yield ok(f"{'ROCm' if torch['hip'] else 'CUDA'} {torch['hip'] or torch['cuda']}: {', '.join(torch['names'])}")
    elif trouble:
        yield problem(f"nvidia-smi: {trouble}", "restart the machine, or repair the NVIDIA driver")
    elif driver and not torch["cuda"]:
        yield warning(f"there is a GPU ({driver}), but this torch is built for CPUs", _REINSTALL)
    elif driver:
        reason = f": {torch['warnings'][0]}" if torch["warnings"] else ""
        yield problem(
            f"there is a GPU ({driver}), but torch, built for CUDA {torch['cuda']}, cannot use it{reason}",
            f"update the NVIDIA driver, or install a torch built for an older CUDA; {_GET_TORCH}",
        )
    elif torch["mps"]:
        yield ok("Apple GPU (MPS)")
    else:
        yield ok("no GPU: training runs on the CPU")


def nvidia_driver() -> tuple[str, str]:
    """Return the GPUs with their driver's version as one text, and what nvidia-smi complains of; empty where none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "", ""
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", " ".join(str(error).split())
    lines = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
    if ended.returncode:
        return "", next(iter(lines), f"exit status {ended.returncode}")
    return "; ".join(line.replace(", ", ", driver ") for line in lines), ""


def _torchvision(torch_version: str) -> Iterator[Finding]:
    found = separate_process.run_python(_TORCHVISION)
    if not found.error:
        yield ok(f"torchvision {found.result.get('version', 'of unknown version')} fits this torch")
    elif "No module named 'torchvision'" in found.error:
        yield problem("torchvision is not installed; lightly and timm need it", _install_torchvision(torch_version))
    else:
        yield problem(
            f"torchvision does not fit torch {torch_version}: {found.error}", _install_torchvision(torch_version)
        )


def _install_torchvision(torch_version: str) -> str:
    """Return the command that installs the torchvision of a torch: 0.(N + 15) belongs to 2.N."""
    major, minor = torch_version.split(".")[:2]
    which = f"torchvision==0.{int(minor) + 15}.*" if major == "2" and minor.isdigit() else "torchvision"
    return (
        f"python -m pip install --force-reinstall --no-deps '{which}', "
        "from the same index and for the same CUDA as torch"
    )
