"""`cryoreg doctor`: the machine, the libraries, storage, a short training; what it prints and returns."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

import cryoreg
from cryoreg import diagnosis
from cryoreg.diagnosis import libraries, separate_process, storage, system, training
from cryoreg.diagnosis.finding import Finding, ok, problem, warning
from cryoreg.registry import discovery
from cryoreg_cli.main import cryoreg as command

Install = Callable[..., Path]

# ---- libraries


def test_a_malicious_library_is_found_and_nothing_is_imported(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("pytorch-lightning", "", version="2.6.3")
    monkeypatch.setattr(separate_process.subprocess, "run", lambda *a, **k: pytest.fail("something was started"))
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
def test_what_cryoreg_requires(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch, requirement: str, text: str | None, fix: str | None
) -> None:
    fake_plugin("timm", "", version="0.9")
    info = fake_plugin("cryoreg", "")
    (info / "RECORD").write_text("cryoreg/__init__.py,,\n")
    monkeypatch.setattr(discovery, "RUNNING", info.parent)
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


@pytest.mark.parametrize(("loss", "status"), [(1.5, "ok"), (math.nan, "problem"), (math.inf, "problem")])
def test_the_loss_must_be_finite(monkeypatch: pytest.MonkeyPatch, loss: float, status: str) -> None:
    result = {"steps": 4, "seconds": 9.0, "device": "the CPU", "loss": loss}
    monkeypatch.setattr(
        training.separate_process, "run_python", lambda *a, **k: separate_process.ProcessResult(result, "")
    )
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
        "import json, sys, cryoreg_cli.commands.doctor; from cryoreg import diagnosis;"
        "print(json.dumps({'found': sorted({'torch', 'numpy', 'monai', 'timm', 'lightly'} & set(sys.modules))}))"
    )
    assert separate_process.run_python(code) == ({"found": []}, "")


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
