"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from support.building import install_core
from support.programs import Program

from cryoreg import registry
from cryoreg.testing.fixtures import write_plugin

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

SPEC_MODULE = '''
from pathlib import Path
from typing import Literal

from pydantic import Field

from cryoreg.specs import AugmentationSpec, EncoderSpec, MethodSpec


class Tiny(EncoderSpec):
    """A tiny encoder.

    Nobody et al. 2026.
    """

    width: int = Field(8, ge=1, lt=99, description="filters")
    weights: Path = Field(description="a file")
    norm: Literal["none", "batch"] = "none"

    def build(self):
        return "tiny"


class Method(MethodSpec):
    """A method from elsewhere."""

    def build(self, encoder):
        return encoder


class Shift(AugmentationSpec):
    """Shifts."""

    def build(self):
        return "shift"


SPEC_TYPES = {}


class Unfinished(EncoderSpec):
    """Has no build."""
'''


SLOW_CHECKS = {
    *("check_compiles", "check_fits_imports_no_torch", "check_it_survives_spawn"),
    "check_two_processes_keep_one_state",
}
"""What the kit does to each component in processes of their own, or through torch's compiler."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files most of whose tests are slow, and end with those that hold few tests.

    `make test` gives each file to one process, which makes what its tests share once.
    """
    for item in items:
        if _check_of_the_kit(item) in SLOW_CHECKS:
            item.add_marker(pytest.mark.slow)
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    order = sorted(files.values(), key=_share_that_is_slow_and_number, reverse=True)
    items[:] = [item for tests in order for item in tests]


def _check_of_the_kit(item: pytest.Item) -> str | None:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return getattr(parameters.get("check"), "name", None)


def _share_that_is_slow_and_number(tests: list[pytest.Item]) -> tuple[float, int]:
    return sum(test.get_closest_marker("slow") is not None for test in tests) / len(tests), len(tests)


@pytest.fixture
def shared_data() -> Path:
    """The real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data in ../shared/data, which is not here")
    return SHARED


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cryoreg as its wheel installs it, made once for all processes; `CleanEnvironment` takes it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "core"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            install_core(folder)
    return folder


@pytest.fixture
def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports draw two components in UMAP's place, which takes a second of each."""
    monkeypatch.setattr("cryoreg.analysis.report.umap.umap", lambda components: components[:, :2])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder at the front of ``sys.path`` into which `fake_plugin` installs; forgotten at the end."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv(registry.ALLOW_LIST_VARIABLE, raising=False)
    registry.refresh()
    yield folder
    registry.refresh()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def fake_plugin(site: Path) -> Callable[..., Path]:
    """Install a package as pip would: a ``.dist-info`` folder and a module ``<name>_specs``; returns the former."""

    def install(dist: str, entry_points: str | bytes, *, version: str = "1.0", module: str = SPEC_MODULE) -> Path:
        modules = {f"{dist.replace('-', '_').replace('.', '_').lower()}_specs": module}
        info = write_plugin(site, dist, version=version, entry_points=entry_points, modules=modules)
        registry.refresh()
        return info

    return install


@pytest.fixture
def cryoreg_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``cryoreg ARGUMENTS`` in a process of its own, optionally with another ``PYTHONPATH``."""

    def run(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in (registry.ALLOW_LIST_VARIABLE, "PYTHONPATH")}
        search = [str(p) for p in (path, ROOT / "cli", ROOT) if p]
        if path is None and not any(name.startswith("PYTHON") for name in environment):
            return Program(*arguments, environment=env | {"COLUMNS": "60"} | environment).finish()
        return subprocess.run(
            [sys.executable, "-m", "cryoreg_cli", *arguments],
            env=env | {"PYTHONPATH": os.pathsep.join(search), "COLUMNS": "60"} | environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def small_files_only() -> Iterator[Callable[[int | None], None]]:
    """Let files grow to so many bytes and no further, as on a full disk; None lifts the limit."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)
