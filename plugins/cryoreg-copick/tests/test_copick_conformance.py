"""The promises that every data set makes to cryoreg, one test each."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cryoreg.testing import Check, parametrize_with_checks
from cryoreg_copick.specs import CopickSpec

pytest.importorskip("copick", reason="needs copick, which is not installed: pip install copick")

from copick_project import write_project

FOLDER = tempfile.TemporaryDirectory()


@parametrize_with_checks([CopickSpec(root=write_project(Path(FOLDER.name)), box=8)])
def test_conformance(spec: CopickSpec, check: Check) -> None:
    check(spec)
