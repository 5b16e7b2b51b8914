"""A copick project with bright voxels under its picks, as copick itself writes it."""

from __future__ import annotations

import json
from pathlib import Path

import copick
import numpy as np

SHAPE = (40, 44, 48)
PICKS = {
    ("TS_1", "ribosome"): [(20, 25, 30), (30, 12, 9)],
    ("TS_1", "ferritin"): [(24, 30, 20)],
    ("TS_2", "ribosome"): [(33, 21, 15), (2, 20, 20)],
}
"""x, y, z in voxels."""
ORDER = [*PICKS["TS_1", "ferritin"], *PICKS["TS_1", "ribosome"], *PICKS["TS_2", "ribosome"]]


def volume(run: str) -> np.ndarray:
    """Faint noise, and a bright voxel under each pick."""
    data = np.random.default_rng(len(run)).normal(0, 0.1, SHAPE).astype(np.float32)
    for (name, _), points in PICKS.items():
        for x, y, z in points if name == run else ():
            data[z, y, x] = 100 + x
    return data


def write_project(folder: Path) -> Path:
    """Write three runs, two of them with picks; return the configuration."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    names = ("ribosome", "ferritin", "unpicked")
    objects = [{"name": name, "is_particle": True, "label": i + 1, "radius": 60} for i, name in enumerate(names)]
    storage = {"overlay_root": f"local://{folder}/data", "overlay_fs_args": {"auto_mkdir": True}}
    path.write_text(json.dumps({"config_type": "filesystem", "pickable_objects": objects} | storage))
    project = copick.from_file(str(path))
    for run in ("TS_1", "TS_2", "TS_3"):
        made = project.new_run(run)
        made.new_voxel_spacing(10.0).new_tomogram("wbp").from_numpy(volume(run), levels=2)
        for (name, what), points in PICKS.items():
            if name == run:
                picks = made.new_picks(what, session_id="1", user_id="curator")
                shift = np.array([5.0, -10.0, 20.0])
                matrix = np.eye(4)
                matrix[:3, 3] = shift
                picks.from_numpy(np.array(points) * 10.0 - shift, np.stack([matrix] * len(points)))
    return path


SPACINGS = (2.5, 4.0, 5.0, 10.0, 20.0)
PLACE = (80.0, 100.0, 60.0)
"""x, y, z in Å: another voxel in a tomogram of each spacing."""


def write_binnings(folder: Path) -> Path:
    """Write a run with a pick and a tomogram of each spacing, whose voxels say x + 100 y + 10000 z of themselves."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    storage = {"overlay_root": f"local://{folder}/data", "overlay_fs_args": {"auto_mkdir": True}}
    objects = [{"name": "ribosome", "is_particle": True, "label": 1, "radius": 60}]
    path.write_text(json.dumps({"config_type": "filesystem", "pickable_objects": objects} | storage))
    run = copick.from_file(str(path)).new_run("TS_1")
    z, y, x = np.indices(SHAPE, dtype=np.float32)
    for spacing in SPACINGS:
        run.new_voxel_spacing(spacing).new_tomogram("wbp").from_numpy(x + 100 * y + 10_000 * z, levels=1)
    run.new_picks("ribosome", session_id="1", user_id="curator").from_numpy(np.array([PLACE]), np.eye(4)[None])
    return path
