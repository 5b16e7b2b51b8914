"""Particle lists in every format, for tests: each says that particles are at given voxels (x, y, z) of a tomogram."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from support.tomograms import POINTS, SHAPE

SIZE = np.array(SHAPE[::-1])
XYZ = np.array(POINTS, dtype=float)


def coordinates(xyz: np.ndarray, pattern: str = "rlnCoordinate{}") -> dict[str, np.ndarray]:
    return {pattern.format(axis): xyz[:, i] for i, axis in enumerate("XYZ")}


def write_star(path: Path, particles: dict, optics: dict | None = None, **blocks: dict) -> Path:
    frame = pd.DataFrame(particles)
    content: dict = {"particles": frame} if optics is None else {"optics": pd.DataFrame(optics), "particles": frame}
    starfile.write(content | {name: pd.DataFrame(block) for name, block in blocks.items()}, path)
    return path


def relion3(folder: Path) -> Path:
    """One block, without a name."""
    path = folder / "list.star"
    starfile.write(pd.DataFrame({"rlnMicrographName": "tomograms/TS_01.mrc", **coordinates(XYZ)}), path)
    return path


def relion31(folder: Path) -> Path:
    """Optics groups; coordinates in voxels of the tomogram; origins in Å, to be subtracted."""
    origins = np.array([[20.0, -10.0, 30.0]] * len(XYZ))
    particles = {"rlnTomoName": "TS_01", **coordinates(XYZ + origins / 10), **coordinates(origins, "rlnOrigin{}Angst")}
    optics = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [20.0], "rlnVoltage": [300.0]}
    return write_star(folder / "list.star", particles | {"rlnOpticsGroup": 1}, optics)


def relion4(folder: Path) -> Path:
    """Coordinates in pixels of the tilt series, a quarter of the tomogram's voxels."""
    particles = {"rlnTomoName": "TS_01", **coordinates(XYZ * 4), "rlnOpticsGroup": 1}
    return write_star(folder / "list.star", particles, {"rlnOpticsGroup": [1], "rlnTomoTiltSeriesPixelSize": [2.5]})


def relion5(folder: Path, unbinned: np.ndarray | None = SIZE * 4, binning: float | None = 4.0) -> Path:
    """Å from the centre; sizes in tomograms.star."""
    size = SIZE * 4 if unbinned is None else unbinned
    angst = 2.5 * (XYZ * 4 - size / 2)
    write_tomograms_star(folder / "tomograms.star", unbinned, binning)
    particles = {"rlnTomoName": "TS_01", **coordinates(angst, "rlnCenteredCoordinate{}Angst"), "rlnOpticsGroup": 1}
    return write_star(folder / "list.star", particles, {"rlnOpticsGroup": [1], "rlnTomoTiltSeriesPixelSize": [2.5]})


def write_tomograms_star(path: Path, unbinned: np.ndarray | None, binning: float | None, **more) -> Path:
    table: dict = {"rlnTomoName": ["TS_01"], "rlnTomoTiltSeriesPixelSize": [2.5], **more}
    if unbinned is not None:
        table |= {f"rlnTomoSize{axis}": [int(unbinned[i])] for i, axis in enumerate("XYZ")}
    if binning is not None:
        table["rlnTomoTomogramBinning"] = [binning]
    starfile.write({"global": pd.DataFrame(table)}, path)
    return path


def warp(folder: Path) -> Path:
    """Warp's export of 3D subtomograms: detector pixel size and magnification, .tomostar names."""
    particles = {
        **coordinates(XYZ),
        "rlnMicrographName": "TS_01.tomostar",
        "rlnMagnification": 10000.0,
        "rlnDetectorPixelSize": 10.0,
    }
    return write_star(folder / "list.star", particles)


def dynamo(folder: Path, **columns) -> Path:
    """Coordinates from the corner of the first voxel; a fraction of each in the shifts."""
    table = np.zeros((len(XYZ), 35))
    table[:, 0] = np.arange(1, len(XYZ) + 1)
    table[:, 3:6] = [0.25, -0.5, 1.0]
    table[:, 12] = 1
    table[:, 13:15] = [-60, 55]
    table[:, 19] = 1
    table[:, 23:26] = XYZ + 0.5 - table[:, 3:6]
    for name, value in columns.items():
        table[:, int(name.removeprefix("column")) - 1] = value
    np.savetxt(folder / "list.tbl", table, fmt="%.5g")
    return folder / "list.tbl"


def csv(folder: Path) -> Path:
    frame = pd.DataFrame(XYZ, columns=["X", "Y", "Z"]).assign(Tomogram="TS_01.mrc")
    frame.to_csv(folder / "list.csv", index=False)
    return folder / "list.csv"


def csv_spaces(folder: Path) -> Path:
    pd.DataFrame(XYZ, columns=["x", "y", "z"]).to_csv(folder / "list.txt", index=False, sep=" ")
    return folder / "list.txt"


def csv_angstrom(folder: Path) -> Path:
    frame = pd.DataFrame(XYZ * 10, columns=["x [Å]", "y [Å]", "z [Å]"])
    frame.to_csv(folder / "list.csv", index=False, sep=";")
    return folder / "list.csv"


def csv_voxel_size(folder: Path) -> Path:
    frame = pd.DataFrame(XYZ * 2, columns=["x", "y", "z"]).assign(voxel_size=5.0, tomogram="TS_01")
    frame.to_csv(folder / "list.tsv", index=False, sep="\t")
    return folder / "list.tsv"


def ndjson(folder: Path) -> Path:
    lines = [{"type": "orientedPoint", "location": dict(zip("xyz", point, strict=True))} for point in XYZ.tolist()]
    (folder / "list.ndjson").write_text("\n".join(map(json.dumps, lines)))
    return folder / "list.ndjson"


def copick(folder: Path) -> Path:
    """Å; a part of each place in the translation of its matrix."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift = np.array([30.0, -20.0, 10.0])
    places = [dict(zip("xyz", point, strict=True)) for point in (XYZ * 10 - shift).tolist()]
    content = {
        "pickable_object_name": "ribosome",
        "user_id": "someone",
        "session_id": "0",
        "run_name": "TS_01",
        "voxel_spacing": 10.0,
        "unit": "angstrom",
        "points": [{"location": place, "transformation_": matrix.tolist()} for place in places],
    }
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


FORMATS = {
    f.__name__: f
    for f in (relion3, relion31, relion4, relion5, warp, dynamo, csv, csv_spaces, csv_angstrom, csv_voxel_size, ndjson)
} | {"copick": copick}
