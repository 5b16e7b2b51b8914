"""Python processes that this one starts: none of them takes a file of the current folder for a module."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""The environment in which Python leaves the current folder out of its path, as does whatever it starts."""


@contextmanager
def safe_path() -> Iterator[None]:
    """Start processes meanwhile with `SAFE_PATH`: ``python -c`` and ``python -m`` would look beside the user's data."""
    before = {name: os.environ.get(name) for name in SAFE_PATH}
    os.environ.update(SAFE_PATH)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
