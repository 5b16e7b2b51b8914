"""Lists and settings that contradict themselves or their tomograms: one line each, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import support.particle_writing as lists
from support.mrc_writing import state, write_mrc
from support.particle_writing import SIZE, XYZ, coordinates, csv_of, star_of, write_star
from support.tomograms import POINTS, bright, open_list, write_tomogram

from cryoreg.errors import DataError


def text(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def ambiguous(folder: Path) -> Path:
    for ending in ("bp", "sirt"):
        write_tomogram(folder / f"TS_01_{ending}.mrc")
    (folder / "TS_01.mrc").unlink()
    return star_of(folder)


def no_size(folder: Path) -> Path:
    write_tomogram(folder / "TS_01.mrc", voxel_size=None)
    return lists.copick(folder)


def constant(folder: Path) -> Path:
    volume = bright()
    volume[:20] = 0
    write_mrc(folder / "TS_01.mrc", volume)
    return csv_of(folder, [(20, 20, 30), (20, 20, 8)])


def nan_near_the_second(folder: Path) -> Path:
    volume = bright()
    volume[10, 13, 14] = np.nan
    write_mrc(folder / "TS_01.mrc", volume)
    return csv_of(folder, XYZ)


def unknown_pixels(folder: Path) -> Path:
    """Å from half of a size that tomograms.star counts in pixels of which nobody tells."""
    sizes = {f"rlnTomoSize{axis}": [int(4 * edge)] for axis, edge in zip("XYZ", SIZE, strict=True)}
    write_star(folder / "tomograms.star", sizes | {"rlnTomoName": ["TS_01"]})
    return write_star(folder / "p.star", {"rlnTomoName": "TS_01", **coordinates(XYZ, "rlnCenteredCoordinate{}Angst")})


def two_only(folder: Path) -> Path:
    write_tomogram(folder / "TS_02.mrc")
    return csv_of(folder, XYZ)


BAD = {
    "missing list": (lambda d: d / "no.star", "does not exist"),
    "other ending": (lambda d: text(d, "list.docx", "x"), "not a particle list that can be read"),
    "empty STAR": (lambda d: text(d, "p.star", ""), "holds no STAR table"),
    "STAR without rows": (lambda d: text(d, "p.star", "data_\n\nloop_\n_rlnCoordinateX #1\n"), "lists no particles"),
    "STAR without coordinates": (
        lambda d: write_star(d / "p.star", {"rlnTomoName": ["a"]}),
        "no column rlnImageName or rlnCoo",
    ),
    "optimisation set": (
        lambda d: text(d, "p.star", "data_\n\n_rlnTomoParticlesFile   a.star\n"),
        r"it has: rlnTomoParticlesFile\); give the list of particles",
    ),
    "STAR without z": (
        lambda d: write_star(d / "p.star", {"rlnCoordinateX": [1], "rlnCoordinateY": [1]}),
        "no column rlnCoordinateZ, though",
    ),
    "ragged STAR": (
        lambda d: text(d, "p.star", "data_\nloop_\n_rlnCoordinateX #1\n_rlnTomoName #2\n1 a\n2\n3 c 4\n"),
        "line 6 has 1 values for 2 columns",
    ),
    "NaN": (lambda d: star_of(d, rlnCoordinateY=[1, 2, np.nan, 3]), "'nan' for rlnCoordinateY in row 2"),
    "text": (lambda d: csv_of(d, [(1, 2, 3), (1, "two", 3)]), "has 'two' for y in row 1, not a number"),
    "CSV without header": (lambda d: text(d, "list.csv", "1,2,3\n4,5,6\n"), "no columns x, y and z .its first line"),
    "empty CSV": (lambda d: text(d, "list.csv", ""), "is empty"),
    "CSV with a header alone": (lambda d: text(d, "list.csv", "x,y,z\n"), "lists no particles"),
    "Latin-1": (lambda d: (d / "l.csv").write_bytes(b"x,y,z,n\n1,2,3,\xe9\n") and d / "l.csv", "cannot be read"),
    "short .tbl": (lambda d: text(d, "l.tbl", "1 2 3\n"), "3 columns where a Dynamo table has at least 26"),
    "empty .tbl": (lambda d: text(d, "l.tbl", ""), "lists no particles"),
    "text in .tbl": (
        lambda d: text(d, "l.tbl", " ".join(["1"] * 25 + ["z"]) + "\n"),
        "has 'z' in row 0, column 26, not a number",
    ),
    "bad .doc": (
        lambda d: text(d, "list.doc", "one a.mrc\n") and lists.dynamo(d),
        "list.doc: has 'one a.mrc' in line 1",
    ),
    "no JSON": (lambda d: text(d, "l.json", "{"), "cannot be read"),
    "JSON of something else": (lambda d: text(d, "l.json", "{}"), "no 'points'"),
    "JSON in nm": (lambda d: text(d, "l.json", '{"points": [], "unit": "nm"}'), "in nm, not in angstrom"),
    "JSON without points": (lambda d: text(d, "l.json", '{"points": []}'), "lists no particles"),
    "no location": (lambda d: text(d, "l.ndjson", '{"location": {"x": 1, "y": 2}}\n'), "no location .* in row 0"),
    "missing tomogram": (lambda d: star_of(d, rlnTomoName="TS_99"), "names the tomogram 'TS_99', which is not in"),
    "ambiguous tomogram": (ambiguous, "may be 2 files of .*TS_01_bp.mrc, TS_01_sirt.mrc"),
    "unnamed tomograms": (two_only, "does not name its tomograms, and .* holds 2"),
    "Å without a voxel size": (no_size, "has no voxel size, which the coordinates"),
    "centred in a size of unknown pixels": (
        unknown_pixels,
        "neither it nor a tomograms.star has rlnTomoTiltSeriesPixelSize",
    ),
    "2D stacks, counted in pixels of what": (
        lambda d: star_of(d, rlnTomoSubTomosAre2DStacks=1, rlnTomoTiltSeriesPixelSize=2.5),
        r"pixels of the images \(WarpTools\) or of the tilt series \(RELION\); say --set dataset.coordinate_size",
    ),
    "one outside": (
        lambda d: csv_of(d, [*POINTS, (48, 1, 2)]),
        r"1 of 5 particles outside their tomograms, the first in row 4 at voxel \(48, 1, 2\)",
    ),
    "Å taken for voxels": (lambda d: csv_of(d, XYZ * 10), r"all fit if .* or Å \(--set dataset.coordinate_size=1\)$"),
    "before binning": (
        lambda d: csv_of(d, XYZ * 4),
        r"in voxels from before binning by 4 \(--set dataset.coordinate_size=2.5\)",
    ),
    "NaN in a box": (nan_near_the_second, r"TS_01.mrc at x 13-20.*NaN .*\(row 1 of .*list.csv\)"),
    "constant box": (constant, "the box of row 1 in .* is constant"),
    "voxel size of 0": (
        lambda d: star_of(d, rlnPixelSize=0.0),
        "has 0 for rlnPixelSize in row 0, which must be positive",
    ),
    "mixed sizes": (lambda d: star_of(d, rlnPixelSize=[5.0, 10, 5, 5]), "voxel sizes from 5 to 10 Å"),
    "unknown optics group": (
        lambda d: write_star(
            d / "p.star", {**coordinates(XYZ), "rlnOpticsGroup": [1, 1, 2, 1]}, {"rlnOpticsGroup": [1], "a": [1]}
        ),
        "names optics group 2 in row 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lists(case: str, tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    make, message = BAD[case]
    path = make(tmp_path)
    before = state(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        [sample.volume for sample in open_list(path)]
    assert path.stem in str(caught.value) or "list.doc" in message
    assert "\n" not in str(caught.value)
    assert state(tmp_path) == before


def test_bad_settings(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")
    path = csv_of(tmp_path, [(*p, f"TS_0{i}") for i, p in enumerate(POINTS)], ("x", "y", "z", "tomogram"))
    with pytest.raises(DataError, match=r"lists particles of 4 tomograms .*, but dataset.tomograms is one"):
        open_list(path, tomograms=tmp_path / "TS_01.mrc")
    with pytest.raises(DataError, match="no column 'kind' to take classes from"):
        open_list(lists.csv(tmp_path), label="kind")
    with pytest.raises(DataError, match="nowhere/x: does not exist"):
        open_list(lists.csv(tmp_path), tomograms=tmp_path / "nowhere" / "x")
    write_tomogram(tmp_path / "TS_01.mrc", voxel_size=None)
    with pytest.raises(DataError, match=r"TS_01.mrc: has no voxel size to rescale from"):
        open_list(lists.csv(tmp_path), rescale_to=5.0)
