"""Make small stores for tests, and processes that die while they write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cryoreg.contracts import Origin
from cryoreg.datasets.store.writer import StoreLayout, StoreWriter

BOX = (4, 5, 6)


def layout(count: int = 6, **changes) -> StoreLayout:
    known = {
        "ids": [f"s{i}" for i in range(count)],
        "labels": [i % 2 for i in range(count)],
        "groups": [None] * count,
        "classes": ["a", "b"],
        "box": BOX,
        "voxel_size": 10.0,
    }
    return StoreLayout(**(known | changes))


def rich_layout() -> StoreLayout:
    """A layout in which everything is known, and some of it unknown in some rows."""
    return layout(
        4,
        ids=["tomo 1/α", "b\udcff", "c", "d"],
        labels=[1, None, 0, 1],
        groups=["t2", None, "", "t2"],
        classes=["Ribosom", "プロテアソーム"],
        contrast="bright",
        tilt_range=(-60.0, 50.0),
        tilt_axis="x",
        origins=[
            Origin("list.star", 7, 5.0, (-60.0, 50.0)),
            Origin("list.star", None, None, None),
            Origin("ö.mrc", 0, 2.5, None, (-1.5, 0.0, 2.0)),
            Origin("list.star", 9, 5.0, (-40.0, 40.0)),
        ],
        columns={"rotation": ("f8", (3, 3)), "chosen": ("bool", ()), "rank": ("i4", ())},
        settings={"snr": 0.05, "who": "ß", "path": Path("x"), "range": (1, 2)},
        clean=True,
    )


def volume(row: int, box=BOX) -> np.ndarray:
    """One bright voxel on noise of its own."""
    voxels = np.random.default_rng(row).standard_normal(box).astype(np.float32)
    voxels[row % box[0], row % box[1], row % box[2]] = 100 + row
    return voxels


def rich_columns(row: int) -> dict:
    return {"rotation": np.eye(3) * row, "chosen": row % 2 == 0, "rank": -row}


def write_store(path: Path, plan: StoreLayout | None = None, **options) -> Path:
    plan = plan or layout()
    with StoreWriter(path, plan, **options) as writer:
        for row in writer.missing():
            copy = volume(row, plan.box) / 2 if plan.clean else None
            writer.put(row, volume(row, plan.box), copy, rich_columns(row) if plan.columns else {})
        writer.finish()
    return path


def dies(work: Callable[[], object]) -> bool:
    """Do ``work`` in a forked process; tell whether it was killed, by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
