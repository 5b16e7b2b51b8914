"""Particle lists in every format, for tests: each says that particles are at given voxels (x, y, z) of a tomogram."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from support.tomograms import POINTS, SHAPE

SIZE = np.array(SHAPE[::-1])
XYZ = np.array(POINTS, dtype=float)
CORNER = np.array([0.5, 0.5, 0.0])
"""The middle of the first voxel in an IMOD model."""


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
    table = np.zeros((len(XYZ), max([35, *(int(name.removeprefix("column")) for name in columns)])))
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


def stopgap(folder: Path) -> Path:
    """Voxels counted from 1, as MATLAB does; a part of each place in the shifts; tomograms by number."""
    shifts = np.array([0.5, -1.0, 0.25])
    particles = {
        "motl_idx": range(1, len(XYZ) + 1),
        "tomo_num": 1,
        "object": 1,
        "subtomo_num": range(1, len(XYZ) + 1),
        "halfset": ["A", "B", "A", "B"],
        **{f"orig_{axis}": XYZ[:, i] + 1 - shifts[i] for i, axis in enumerate("xyz")},
        "score": 0.5,
        **{f"{axis}_shift": shifts[i] for i, axis in enumerate("xyz")},
        **{"phi": 10.0, "psi": 20.0, "the": 30.0, "class": 1},
    }
    starfile.write({"stopgap_motivelist": pd.DataFrame(particles)}, folder / "list.star")
    return folder / "list.star"


def em_motive_list(folder: Path, order: str = "<", kind: int = 5) -> Path:
    """A matrix of 20 numbers for each particle, as TOM, AV3 and novaSTA have them; places as in STOPGAP."""
    rows = np.zeros((len(XYZ), 20))
    rows[:, 0], rows[:, 3], rows[:, 4], rows[:, 19] = 0.7, range(1, len(XYZ) + 1), 1, 1
    rows[:, 10:13] = shifts = np.array([0.5, -1.0, 0.25])
    rows[:, 7:10] = XYZ + 1 - shifts
    header = np.zeros(512, np.uint8)
    header[0], header[3] = (6, kind) if order == "<" else (3, kind)
    header[4:16] = np.array([20, len(XYZ), 1], order + "i4").view(np.uint8)
    path = folder / "list.em"
    path.write_bytes(header.tobytes() + rows.astype(order + {5: "f4", 9: "f8"}[kind]).tobytes())
    return path


def cryocat(folder: Path) -> Path:
    """cryoCAT's table of the same numbers."""
    columns = (
        "score geom1 geom2 subtomo_id tomo_id object_id subtomo_mean x y z shift_x shift_y shift_z geom3 geom4 geom5"
    )
    table = pd.DataFrame(0.0, range(len(XYZ)), [*columns.split(), "phi", "psi", "theta", "class"])
    table[["x", "y", "z"]], table["shift_y"], table["tomo_id"] = XYZ + np.array([1, 3, 1]), -2.0, 1.0
    table.to_csv(folder / "list.csv", index=False)
    return folder / "list.csv"


def model_bytes(
    points: np.ndarray, size: float | None = 10.0, flags: int = 0, shift=(0.0, 0.0, 0.0), names=("",)
) -> bytes:
    """An IMOD model after "IMOD Binary File Format": each point in a contour of its own, other chunks between."""
    header = struct.pack(
        ">128s3i i I 4i 6f 3i 2i f 2i 3f",
        b"model",
        *SIZE,
        len(names),
        flags,
        *[0] * 4,
        *[1.0] * 6,
        *[0] * 3,
        3,
        128,
        1.0,
        0,
        0,
        *[0.0] * 3,
    )
    assert len(header) == 232
    parts = [b"IMODV1.2", header]
    for name, own in zip(names, np.array_split(points, len(names)), strict=True):
        parts += [
            b"OBJT",
            struct.pack(">64s64x 2i 2i 3f i 8B 2i", name.encode(), len(own), 0, 0, 0, 0, 1, 0, 2, *[1] * 8, 0, 0),
        ]
        for point in own:
            parts += [b"CONT", struct.pack(">4i3f", 1, 0, 0, 0, *point)]
        parts += [b"IMAT", struct.pack(">i16x", 16), b"MESH", struct.pack(">4i3f2i", 1, 2, 0, 0, 7, 7, 7, 0, 0)]
    if size:
        origin = np.array(shift) * size
        parts += [
            b"MINX",
            struct.pack(">i", 72),
            struct.pack(">18f", *[1] * 3, *origin, *[0] * 3, *[size] * 3, *[0] * 6),
        ]
    return b"".join([*parts, b"IEOF"])


def imod(folder: Path) -> Path:
    """x and y from the corner of the first voxel, z 0 the middle of the first slice."""
    (folder / "list.mod").write_bytes(model_bytes(XYZ + CORNER))
    return folder / "list.mod"


def imod_points(folder: Path) -> Path:
    """What ``model2point -object`` writes of it."""
    rows = [f"     1     {i}   {x + 0.5:.2f}   {y + 0.5:.2f}   {z:.2f}" for i, (x, y, z) in enumerate(XYZ, 1)]
    (folder / "list.pt").write_text("\n".join(rows) + "\n")
    return folder / "list.pt"


PEET_HEADER = (
    "CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,zOffset,NA,NA,reserved,"
    "EulerZ(1),EulerZ(3),EulerX(2),reserved"
)


def peet(folder: Path) -> Path:
    """Offsets from the points of the model beside it."""
    offset = np.array([1.5, -0.5, 2.0])
    (folder / "list.mod").write_bytes(model_bytes(XYZ + CORNER - offset, None))
    rows = [f"0.5,0,0,{i},1,0,0,0,0,0,1.5,-0.5,2.0,0,0,0,10,20,30,0" for i in range(1, len(XYZ) + 1)]
    (folder / "list.csv").write_text("\n".join([PEET_HEADER, *rows]) + "\n")
    return folder / "list.csv"


def emclarity(folder: Path) -> Path:
    """Index in the searched tomogram, from 1, times its binning."""
    rows = [
        f"5.31 4 0 {i} 1 1 1 1 1 0 {x:f} {y:f} {z:f} 10 20 30 1 0 0 0 1 0 0 0 1 1 "
        for i, (x, y, z) in enumerate((XYZ + 1) * 4, 1)
    ]
    (folder / "TS_01.csv").write_text("\n".join(rows) + "\n")
    return folder / "TS_01.csv"


def pytom(folder: Path) -> Path:
    """Voxels from 0, shifts added."""
    parts = [
        f'<Particle Filename="Subtomograms/p_{i}.em"><Rotation Z1="1" Z2="2" X="3"/><Shift X="0.5" Y="-1.0" Z="2"/>'
        f'<PickPosition Origin="tomograms/TS_01.em" X="{x - 0.5}" Y="{y + 1}" Z="{z - 2}"/>'
        f'<Wedge><SingleTiltWedge Angle1="30.0" Angle2="35.0" CutoffRadius="0"/></Wedge><Class Name="0"/></Particle>'
        for i, (x, y, z) in enumerate(XYZ)
    ]
    (folder / "list.xml").write_text("<ParticleList>\n" + "\n".join(parts) + "\n</ParticleList>\n")
    return folder / "list.xml"


def eman2(folder: Path) -> Path:
    """Pixels of the tilt series from the tomogram's middle."""
    boxes = [[*place, "manual", 0.5, 0] for place in ((XYZ - SIZE // 2) * 4).tolist()]
    content = {"apix_unbin": 2.5, "boxes_3d": boxes, "class_list": {"0": {"name": "ribosome", "boxsize": 32}}}
    (folder / "TS_01_info.json").write_text(json.dumps(content))
    return folder / "TS_01_info.json"


def cbox(folder: Path) -> Path:
    """Corners of boxes in x and y, their middle in z, and the slices that were looked at."""
    boxes = np.concatenate([XYZ - [5.5, 5.5, 0], np.full((len(XYZ), 3), 11.0)], axis=1)
    names = ["CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height", "Depth"]
    table = pd.DataFrame(boxes, columns=names).assign(EstWidth="<NA>", Confidence=0.5)
    blocks = {
        "global": {"cbox_format_version": "1.0"},
        "cryolo": table,
        "cryolo_include": pd.DataFrame({"slice_index": sorted({*XYZ[:, 2]})}),
    }
    starfile.write(blocks, folder / "list.star")
    return (folder / "list.star").rename(folder / "list.cbox")


def coords(folder: Path) -> Path:
    np.savetxt(folder / "list.coords", XYZ, fmt="%.2f")
    return folder / "list.coords"


FORMATS = {
    f.__name__: f
    for f in (relion3, relion31, relion4, relion5, warp, dynamo, csv, csv_spaces, csv_angstrom, csv_voxel_size, ndjson)
} | {
    f.__name__: f
    for f in (copick, stopgap, em_motive_list, cryocat, imod, imod_points, peet, emclarity, pytom, eman2, cbox, coords)
}


def csv_of(folder: Path, rows, columns=("x", "y", "z"), name: str = "list.csv") -> Path:
    pd.DataFrame(rows, columns=list(columns)).to_csv(folder / name, index=False)
    return folder / name


def star_of(folder: Path, **columns) -> Path:
    return write_star(folder / "p.star", {"rlnTomoName": "TS_01", **coordinates(XYZ)} | columns)
