"""The cache folder and the room on the disks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryoreg.diagnosis.finding import Finding, ok, problem, warning
from cryoreg.files import CACHE_VARIABLE, cache_folder

_GB = 10**9
LITTLE, TOO_LITTLE = 5.0, 0.5
"""GB. A checkpoint of a 3D ResNet takes 0.5 GB, and saving needs room for two."""


def check() -> Iterator[Finding]:
    """Yield where the cache is, how large, whether it can be written, and the room there and in the current folder."""
    yield from _cache(cache_folder())
    yield from _room("the cache folder", cache_folder(), f"empty it, or set {CACHE_VARIABLE} to a folder with room")
    yield from _room("the current folder", Path.cwd(), "delete old runs, or give --run-dir on another disk")


def _cache(folder: Path) -> Iterator[Finding]:
    elsewhere = f"set {CACHE_VARIABLE} to a folder that you may write"
    if os.path.lexists(folder) and not folder.is_dir():
        yield problem(f"the cache folder {folder} is a file", elsewhere)
    elif reason := _refusal(folder):
        yield problem(f"the cache folder {folder} cannot be written: {reason}", elsewhere)
    elif folder.is_dir():
        yield ok(f"cache folder {folder}: {_size(folder) / _GB:.2f} GB")
    else:
        yield ok(f"cache folder {folder}: not there yet")


def _refusal(folder: Path) -> str:
    """Return why no file can be made in a folder, or in the nearest that exists above it; empty where one can."""
    existing = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder; those that vanish meanwhile count for nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total


def _room(what: str, folder: Path, fix: str) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(folder)).free / _GB
    text = f"{free:.1f} GB free in {what}"
    if free < TOO_LITTLE:
        yield problem(text, fix)
    elif free < LITTLE:
        yield warning(text, fix)
    else:
        yield ok(text)
