"""Imports of large libraries without looking for garbage meanwhile, or while something else works."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import what stands below without Python's search for garbage, a quarter of what torch and its like take.

    They make half a million objects which stay, and which it would go through again and again.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def import_quickly(*modules: str) -> None:
    """Import modules likewise."""
    with quick_imports():
        for module in modules:
            importlib.import_module(module)


@contextmanager
def imported_meanwhile(*modules: str) -> Iterator[None]:
    """Import modules in a thread while what stands below works, which is quicker where that seldom holds Python's lock.

    It gets the lock back ten times as soon as usual: it needs it more often than the imports. What is wrong with a
    module is left to the import that follows.
    """

    def import_all() -> None:
        with suppress(ImportError):
            import_quickly(*modules)

    thread = threading.Thread(target=import_all, daemon=True)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 10)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        sys.setswitchinterval(usual)
