"""Folders of particle lists of three tomograms, of formats that name the tomogram and of some that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cryoreg.datasets.readers.tomogram import TomogramParticles
from support.coded import write_coded
from support.particle_writing import CORNER, SIZE, coordinates, model_bytes, write_star
from support.tomograms import SHAPE

PLACES = {1: [[20, 11, 12], [21, 9, 10]], 2: [[18, 12, 9]], 3: [[22, 13, 14], [19, 10, 11], [17, 12, 13]]}
"""x, y, z of the particles of each tomogram."""
Write = Callable[[Path, np.ndarray], object]


def make_project(folder: Path) -> Path:
    """Write coded tomograms, and an empty folder for their lists."""
    for number in PLACES:
        write_coded(folder / "tomograms" / f"TS_0{number}.mrc", number, shape=SHAPE)
    (folder / "lists").mkdir()
    return folder


def coords(path: Path, places: np.ndarray) -> None:
    np.savetxt(path.with_suffix(".coords"), places)


def boxes(path: Path, places: np.ndarray) -> None:
    corners = dict(zip(["CoordinateX", "CoordinateY", "CoordinateZ"], (places - [4, 4, 0]).T, strict=True))
    star = write_star(path.with_suffix(".star"), {}, cryolo=corners | {"Width": 8.0, "Height": 8.0})
    star.rename(path.with_suffix(".cbox"))


def models(path: Path, places: np.ndarray) -> None:
    path.with_suffix(".mod").write_bytes(model_bytes(places + CORNER, 10.0))


def table(path: Path, places: np.ndarray) -> None:
    np.savetxt(path.with_suffix(".csv"), places, delimiter=",", header="x,y,z", comments="")


def star(path: Path, places: np.ndarray) -> None:
    write_star(path.with_suffix(".star"), {"rlnMicrographName": f"{path.name}.mrc", **coordinates(places)})


def eman2(path: Path, places: np.ndarray) -> None:
    rows = [[*place, "manual", 0.5, 0] for place in (places - SIZE // 2).tolist()]
    content = {"apix_unbin": 10.0, "boxes_3d": rows, "class_list": {"0": {"name": "ribosome", "boxsize": 8}}}
    path.with_name(f"{path.name}_info.json").write_text(json.dumps(content))


def write_all(folder: Path, write: Write) -> None:
    for number, places in PLACES.items():
        write(folder / f"TS_0{number}", np.array(places, float))


def opened(project: Path) -> TomogramParticles:
    return TomogramParticles(project / "lists", project / "tomograms", box=4)
