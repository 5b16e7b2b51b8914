"""`cryoreg doctor`: the machine, the libraries, PyTorch, storage, a short training; what it prints and returns."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

import cryoreg
from cryoreg import diagnosis
from cryoreg.diagnosis import libraries, probe, storage, system, torch_stack, training
from cryoreg.diagnosis.finding import Finding, ok, problem, warning
from cryoreg_cli.main import cryoreg as command

Install = Callable[..., Path]

# ---- PyTorch: the probes import a torch of our own making

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
    assert probe.run(code, seconds=0.5 if "sleep" in code else 60) == (result, error)


# ---- libraries


def test_a_malicious_library_is_found_and_nothing_is_imported(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("pytorch-lightning", "", version="2.6.3")
    monkeypatch.setattr(probe.subprocess, "run", lambda *a, **k: pytest.fail("something was started"))
    sections = {section.title: section.findings for section in diagnosis.diagnose()}
    [fault] = [finding for finding in sections["Libraries"] if "malicious" in finding.text]
    assert fault.status == "problem"
    assert "change every password" in fault.fix
    for title in ("PyTorch", "Plugins", "Short training"):
        assert [finding.status for finding in sections[title]] == ["warning"]


@pytest.mark.parametrize(
    ("dist", "version", "harmful"),
    [("lightning", "2.6.2", True), ("pytorch-lightning", "2.6.2", True), ("lightning", "2.6.3", True),
     ("pytorch-lightning", "2.6.1", False), ("pytorch-lightning", "2.6.4", False)],
)  # fmt: skip
def test_which_releases_are_malicious(fake_plugin: Install, dist: str, version: str, harmful: bool) -> None:
    fake_plugin(dist, "", version=version)
    assert any("malicious" in finding.text for finding in libraries.check()) == harmful


@pytest.mark.parametrize(
    ("requirement", "text", "fix"),
    [
        ("absent-library>=2", "absent-library>=2 is not installed", "python -m pip install 'absent-library>=2'"),
        ("timm>=1.0", "timm>=1.0 is needed, but 0.9 is installed", "python -m pip install 'timm>=1.0'"),
        ("timm>=0.5", None, None),
        ("absent-library; extra == 'docs'", None, None),
        ("absent-library; python_version < '3'", None, None),
        ("absent-library; python_version > '3'", "absent-library is not installed", "pip install 'absent-library'"),
        ("timm>=0.5.dev1", None, None),
    ],
)
def test_what_cryoreg_requires(fake_plugin: Install, requirement: str, text: str | None, fix: str | None) -> None:
    fake_plugin("timm", "", version="0.9")
    info = fake_plugin("cryoreg", "")
    with (info / "METADATA").open("a") as file:
        file.write(f"Requires-Dist: {requirement}\n")
    faults = [finding for finding in libraries.check() if finding.status != "ok"]
    assert [finding.text for finding in faults] == ([text] if text else [])
    assert all(fix and fix in finding.fix for finding in faults)


def test_versions_of_the_main_libraries_are_shown() -> None:
    from importlib.metadata import version

    lines = [finding.text for finding in libraries.check()]
    for name in ("torch", "lightly", "timm", "monai", "pytorch-lightning"):
        assert any(f"{name} {version(name).partition('+')[0]}" in line for line in lines)


# ---- machine and storage


def test_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.status for finding in system.check()} == {"ok"}
    monkeypatch.setattr(system.sys, "version_info", (3, 10, 2))
    old = next(iter(system.check()))
    assert (old.status, "is too old" in old.text) == ("problem", True)


def test_cores_that_may_be_used() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs the Linux scheduler")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert system.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("pages", "status"), [(2**19, "warning"), (2**24, "ok")])
def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch, pages: int, status: str) -> None:
    known = {"SC_PHYS_PAGES": pages, "SC_AVPHYS_PAGES": 2**18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(system.os, "sysconf", known.__getitem__)
    found = system._memory()
    assert found.status == status
    assert found.text == f"{pages // 2**18:.1f} GB of memory, 1.0 GB free"


def test_the_cache_folder_and_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CRYOREG_CACHE", str(folder))
    assert ok(f"cache folder {folder}: not there yet") in storage.check()
    (folder / "below").mkdir(parents=True)
    with (folder / "below" / "sparse").open("wb") as file:
        file.truncate(1_230_000_000)
    assert ok(f"cache folder {folder}: 1.23 GB") in storage.check()
    assert [path.name for path in folder.iterdir()] == ["below"], "the check leaves nothing behind"


@pytest.mark.parametrize(
    ("name", "text"),
    [("file", "is a file"), ("file/cache", "cannot be written: Not a directory"), ("/proc/cryoreg", "cannot be writ")],
)
def test_a_cache_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CRYOREG_CACHE", str(tmp_path / name))
    fault = next(finding for finding in storage.check() if finding.status == "problem")
    assert text in fault.text
    assert fault.fix == "set CRYOREG_CACHE to a folder that you may write"


@pytest.mark.parametrize(("free", "status"), [(0.4, "problem"), (3, "warning"), (50, "ok")])
def test_disks_that_fill_up(monkeypatch: pytest.MonkeyPatch, free: float, status: str) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free * 10**9)))
    found = [finding for finding in storage.check() if "GB free in" in finding.text]
    assert [finding.status for finding in found] == [status] * 2
    assert all(finding.text.startswith(f"{free:.1f} GB free in the c") for finding in found)


# ---- short training


@pytest.mark.slow
def test_the_short_training_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CRYOREG_CACHE", str(tmp_path / "cache"))
    [found] = training.check()
    assert found.status == "ok", found
    assert found.text.startswith("4 steps of MoCo and RB3D in ")
    assert math.isfinite(float(found.text.rpartition("loss ")[2]))
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind, in no cache either"


def test_a_training_that_fails_is_a_problem(machine: Callable[..., list[Finding]]) -> None:
    machine(first="raise OSError('no such library')")
    [found] = training.check()
    assert (found.status, found.text) == ("problem", "a short training failed: OSError: no such library")


@pytest.mark.parametrize(("loss", "status"), [(1.5, "ok"), (math.nan, "problem"), (math.inf, "problem")])
def test_the_loss_must_be_finite(monkeypatch: pytest.MonkeyPatch, loss: float, status: str) -> None:
    result = {"steps": 4, "seconds": 9.0, "device": "the CPU", "loss": loss}
    monkeypatch.setattr(training.probe, "run", lambda *a, **k: probe.Probe(result, ""))
    assert [finding.status for finding in training.check()] == [status]


# ---- the command


def run(monkeypatch: pytest.MonkeyPatch, findings: Iterable[Finding], *options: str) -> Result:
    """Run the command with one topic that yields ``findings``."""
    monkeypatch.setattr(diagnosis, "TOPICS", {"Topic": lambda: iter(findings)})
    return CliRunner().invoke(command, ["doctor", *options])


FINDINGS = [ok("all [is] well"), warning("odd", "look"), problem("broken", "mend it")]


@pytest.mark.parametrize(("count", "status"), [(0, 0), (1, 0), (2, 0), (3, 1)])
def test_exit_status_is_1_for_problems_only(monkeypatch: pytest.MonkeyPatch, count: int, status: int) -> None:
    for options in ((), ("--json",)):
        assert run(monkeypatch, FINDINGS[:count], *options).exit_code == status


def test_each_finding_is_a_line_and_each_fix_another(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.split() for line in run(monkeypatch, FINDINGS).stdout.splitlines() if line]
    assert lines == [
        ["Topic"],
        ["ok", "all", "[is]", "well"],
        ["warning", "odd"],
        ["fix:", "look"],
        ["problem", "broken"],
        ["fix:", "mend", "it"],
        ["1", "ok,", "1", "warning,", "1", "problem"],
    ]


def test_json_for_issue_reports_hides_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run(monkeypatch, [problem(f"{tmp_path}/x, {tmp_path}2 and {tmp_path}", f"rm {tmp_path}/x")], "--json")
    report = json.loads(result.stdout)
    assert report == {
        "cryoreg": cryoreg.__version__,
        "plugin_api": cryoreg.PLUGIN_API,
        "counts": {"ok": 0, "warning": 0, "problem": 1},
        "sections": {"Topic": [{"status": "problem", "text": f"~/x, {tmp_path}2 and ~", "fix": "rm ~/x"}]},
    }


def test_a_check_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Iterable[Finding]:
        yield ok("so far")
        raise ValueError("two\nlines")

    monkeypatch.setattr(diagnosis, "TOPICS", {"A": fail, "B": lambda: [ok("fine")]})
    first, second = diagnosis.diagnose()
    assert first.findings[0] == ok("so far")
    assert first.findings[1].text == "this check failed: ValueError: two lines"
    assert second.findings == [ok("fine")]


@pytest.mark.parametrize(("options", "trained"), [((), True), (("--no-training",), False)])
def test_no_training(monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], trained: bool) -> None:
    monkeypatch.setattr(diagnosis, "TOPICS", dict.fromkeys(diagnosis.TOPICS, lambda: [ok("looked at")]))
    text = CliRunner().invoke(command, ["doctor", *options]).stdout
    assert ("Short training" in text) == trained
    assert text.count("looked at") == 6 + trained


def test_the_command_itself_imports_nothing_heavy() -> None:
    """So that it runs where torch cannot be imported."""
    code = (
        "import json, sys, cryoreg_cli.doctor; from cryoreg import diagnosis;"
        "print(json.dumps({'found': sorted({'torch', 'numpy', 'monai', 'timm', 'lightly'} & set(sys.modules))}))"
    )
    assert probe.run(code) == ({"found": []}, "")


@pytest.mark.slow
def test_on_this_machine(cryoreg_process: Callable) -> None:
    result = cryoreg_process("doctor", "--no-training", "--json")
    report = json.loads(result.stdout)
    assert result.stderr == ""
    assert result.returncode == (1 if report["counts"]["problem"] else 0)
    texts = [finding["text"] for section in report["sections"].values() for finding in section]
    assert any(text.startswith(f"Python {sys.version.split()[0]}") for text in texts)
    assert any(text.startswith(f"cryoreg {cryoreg.__version__}, plugin API") for text in texts)
    assert not any("this check failed" in text for text in texts)
