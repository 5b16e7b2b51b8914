"""The promises that every learner makes to cryoreg, one test each."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from cryoreg.testing import Check, parametrize_with_checks
from cryoreg_yu2020.specs import FewShotAdaptationSpec

FOLDER = Path(tempfile.gettempdir()) / "cryoreg-yu2020-source"
"""The same for the processes that some checks start."""
SPEC = FewShotAdaptationSpec(source_data={"name": "npy_folder", "root": str(FOLDER)}, source_batch=8)


@pytest.fixture(scope="module", autouse=True)
def _source() -> None:
    """Write the kit's two classes with other noise, as a simulation of them might be."""
    rng = np.random.default_rng(0)
    for number, name in enumerate("ab"):
        x = rng.normal(size=(12, 16, 16, 16)).astype("f4")
        x[:, :8] += 2 * number
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
        np.save(FOLDER / name / "stack.npy", x)


@parametrize_with_checks([SPEC])
def test_conformance(spec: FewShotAdaptationSpec, check: Check) -> None:
    check(spec)
