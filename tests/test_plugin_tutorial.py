"""docs/your-own-plugin.md, typed from top to bottom in a clean environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.building import ROOT, CleanEnvironment
from support.console_blocks import run_page

PAGE = ROOT / "docs" / "your-own-plugin.md"
PIP = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""Everything is here already, and nothing is fetched. Isolation is what the variable says: 0 is none."""


@pytest.mark.slow
def test_a_method_is_written_checked_and_used(core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = CleanEnvironment(tmp_path / "clean", core)
    for name, value in PIP.items():
        monkeypatch.setenv(name, value)
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    run_page(PAGE, folder, programs=environment.bin)
    assert (folder / "runs" / "tico" / "encoder.safetensors").is_file()
