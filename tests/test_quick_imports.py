"""Imports without the search for garbage: it is off meanwhile, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from cryoreg.quick_imports import quick_imports


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_looked_for_afterwards_as_before(collects: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with quick_imports():
            assert not gc.isenabled()
        assert gc.isenabled() is collects
        with pytest.raises(ImportError), quick_imports():
            raise ImportError
        assert gc.isenabled() is collects
    finally:
        (gc.enable if was else gc.disable)()
