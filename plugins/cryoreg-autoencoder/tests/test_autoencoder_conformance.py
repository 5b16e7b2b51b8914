"""The promises that every method makes to cryoreg, one test each."""

from __future__ import annotations

import pytest

from cryoreg.testing import Check, parametrize_with_checks
from cryoreg_autoencoder.specs import AutoencoderSpec


@pytest.mark.slow
@parametrize_with_checks([AutoencoderSpec(width=8)])
def test_conformance(spec: AutoencoderSpec, check: Check) -> None:
    check(spec)
