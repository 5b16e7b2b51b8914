"""What the spec promises where copick is not installed, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryoreg.testing import Check, checks_for
from cryoreg_copick.specs import CopickSpec

SPEC = CopickSpec(root=Path("project.json"))
OF_ALL_SPECS = [check for check in checks_for(SPEC) if check.function.__module__.endswith(".spec_checks")]


@pytest.mark.parametrize("check", [c for c in OF_ALL_SPECS if c.name != "check_defaults_build"], ids=lambda c: c.name)
def test_spec_keeps_what_all_specs_promise(check: Check) -> None:
    check(SPEC)
