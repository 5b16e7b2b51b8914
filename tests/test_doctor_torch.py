"""What `cryoreg doctor` finds in PyTorch: its probes import a torch of our own making, in processes of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import util
from pathlib import Path

import pytest

from cryoreg.diagnosis import separate_process, torch_stack, training
from cryoreg.diagnosis.finding import Finding, ok

Install = Callable[..., Path]

TORCH = """
import warnings
__version__ = "2.14.1+cu130"
{first}
class version: cuda = {cuda!r}; hip = None
class backends:
    class mps: is_available = staticmethod(lambda: False)
class cuda:
    device_count = staticmethod(lambda: 2)
    get_device_name = staticmethod(lambda index: f"Card {{index}}")
    @staticmethod
    def is_available():
        {warn}
        return {available}
class Sum:
    sum = item = lambda self: self
def ones(*size, device):
    {kernel}
    return Sum()
def tensor(values): return values
"""
TORCHVISION = """
__version__ = "0.29.1+cu130"
{first}
class ops: nms = staticmethod(lambda boxes, scores, threshold: None)
"""
SMI = "#!/bin/sh\necho '{line}'\nexit {status}\n"
DRIVER = "NVIDIA H100, 470.57.02"
TOO_OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."
FITS = "torchvision 0.29.1+cu130 fits this torch"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    """Return what is found on a machine with such a torch, torchvision and nvidia-smi."""

    def look(vision: str = "", smi: tuple[str, int] | None = None, **torch: object) -> list[Finding]:
        given = {"first": "", "cuda": "13.0", "warn": "pass", "available": False, "kernel": "pass"} | torch
        for name, source in (("torch", TORCH.format(**given)), ("torchvision", TORCHVISION.format(first=vision))):
            (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        if smi is not None:
            (tmp_path / "nvidia-smi").write_text(SMI.format(line=smi[0], status=smi[1]).replace("/bin/sh", shell))
            (tmp_path / "nvidia-smi").chmod(0o755)
        return list(torch_stack.check())

    shell = shutil.which("sh") or "/bin/sh"
    return look


def test_a_machine_with_gpus_that_work(machine: Callable[..., list[Finding]]) -> None:
    found = machine(available=True, smi=(DRIVER, 0))
    assert found == [ok("torch 2.14.1+cu130"), ok("CUDA 13.0: Card 0, Card 1"), ok(FITS)]


def test_a_machine_without_gpus(machine: Callable[..., list[Finding]]) -> None:
    assert machine()[1:] == [ok("no GPU: training runs on the CPU"), ok(FITS)]


# name -> (the machine, status, what the text says, what the fix says)
TORCHES: dict[str, tuple[dict, str, str, str]] = {
    "driver too old": (
        {"warn": f"warnings.warn({TOO_OLD!r})", "smi": (DRIVER, 0)},
        "problem",
        f"there is a GPU (NVIDIA H100, driver 470.57.02), but torch, built for CUDA 13.0, cannot use it: {TOO_OLD}",
        "update the NVIDIA driver",
    ),
    "torch for CPUs": (
        {"cuda": None, "smi": (DRIVER, 0)},
        "warning",
        "there is a GPU (NVIDIA H100, driver 470.57.02), but this torch is built for CPUs",
        "reinstall torch",
    ),
    "driver and library differ": (
        {"smi": ("Failed to initialize NVML: Driver/library version mismatch", 18)},
        "problem",
        "nvidia-smi: Failed to initialize NVML: Driver/library version mismatch",
        "restart the machine",
    ),
    "card too new for torch": (
        {"available": True, "kernel": "raise RuntimeError('CUDA error: no kernel image is available')"},
        "problem",
        "torch cannot be used: RuntimeError: CUDA error: no kernel image is available",
        "reinstall torch",
    ),
    "library missing": (
        {"first": "raise OSError('libcudart.so.13: cannot open shared object file')"},
        "problem",
        "torch cannot be used: OSError: libcudart.so.13: cannot open shared object file",
        "reinstall torch",
    ),
    "torch kills Python": (
        {"first": "import os; os.kill(os.getpid(), 11)"},
        "problem",
        "torch cannot be used: killed by signal 11",
        "reinstall torch",
    ),
    "torchvision of another torch": (
        {"vision": "raise RuntimeError('operator torchvision::nms does not exist')"},
        "problem",
        "torchvision does not fit torch 2.14.1+cu130: RuntimeError: operator torchvision::nms does not exist",
        "python -m pip install --force-reinstall --no-deps 'torchvision==0.29.*'",
    ),
    "no torchvision": (
        {"vision": "raise ModuleNotFoundError(\"No module named 'torchvision'\")"},
        "problem",
        "torchvision is not installed",
        "'torchvision==0.29.*'",
    ),
}


@pytest.mark.parametrize(("made", "status", "text", "fix"), TORCHES.values(), ids=TORCHES)
def test_what_is_wrong_with_torch(
    machine: Callable[..., list[Finding]], made: dict, status: str, text: str, fix: str
) -> None:
    [fault] = [finding for finding in machine(**made) if finding.status != "ok"]
    assert fault.status == status
    assert text in fault.text
    assert fix in fault.fix


@pytest.mark.slow
def test_torchvision_without_its_operators_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed torchvision, without the compiled part that another torch would not load."""
    spec = util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    shutil.copytree(source, tmp_path / "torchvision", ignore=shutil.ignore_patterns("*.so", "datasets", "models"))
    for name in ("datasets", "models"):
        (tmp_path / "torchvision" / name).symlink_to(source / name)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [fault] = list(torch_stack._torchvision("2.14.1"))
    assert fault.status == "problem"
    assert "RuntimeError: operator torchvision::nms does not exist" in fault.text


@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [("2.10.0", "0.25.*'"), ("2.4.1+cpu", "0.19.*'"), ("2.14.0a0+git", "0.29.*'"), ("3.0.0", "torchvision'")],
)
def test_the_torchvision_of_a_torch(torch: str, torchvision: str) -> None:
    """2.4 with 0.19 and 2.10 with 0.25, as their release notes pair them; of what is not known, the newest."""
    assert torchvision in torch_stack._install_torchvision(torch)


def test_unreadable_metadata_is_not_blamed_on_torch(
    machine: Callable[..., list[Finding]], fake_plugin: Install
) -> None:
    error = "UnicodeDecodeError('utf-8', b'x', 0, 1, 'invalid start byte')"
    assert "reinstall torch" in machine(first=f"raise {error}")[0].fix
    fake_plugin("bad", b"\xff")
    assert "mend the unreadable metadata first" in machine(first=f"raise {error}")[0].fix


@pytest.mark.slow
def test_a_training_that_fails_is_a_problem(machine: Callable[..., list[Finding]]) -> None:
    machine(first="raise OSError('no such library')")
    [found] = training.check()
    assert (found.status, found.text) == ("problem", "a short training failed: OSError: no such library")


# ---- probes

CODE = {
    "result": ("import json; print('chatter'); print(json.dumps({'a': 1}))", {"a": 1}, ""),
    "exception": ("raise ValueError('two\\nlines')", {}, "lines"),
    "exit status": ("raise SystemExit(3)", {}, "exit status 3"),
    "signal": ("import os; os.abort()", {}, "killed by signal 6"),
    "silence": ("pass", {}, "it ended without an answer"),
    "no object": ("print('[1]')", {}, "it ended without an answer"),
    "time": ("import time; time.sleep(60)", {}, "no answer within 0.5 s"),
}


@pytest.mark.parametrize(("code", "result", "error"), CODE.values(), ids=CODE)
def test_a_probe_survives_whatever_happens(code: str, result: dict, error: str) -> None:
    assert separate_process.run_python(code, seconds=0.5 if "sleep" in code else 60) == (result, error)
