"""What the conformance kit, which every augmentation passes (test_kit_builtins.py), does not look at."""

from __future__ import annotations

import torch
from support.augmenting import batch, create, streams


def test_none_returns_what_it_gets():
    assert torch.equal(create("none")(batch(), streams(torch.arange(8))), batch())
