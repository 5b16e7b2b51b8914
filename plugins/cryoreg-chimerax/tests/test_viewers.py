"""What `cryoreg open` gives to ChimeraX and ArtiaX: places, colours and sizes that are known."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from cryoreg.errors import DataError
from cryoreg.seams import Shown, misfit
from cryoreg_chimerax.viewers import ArtiaXViewer, ChimeraXViewer

SHOWN = Shown(
    name="TS_01",
    tomogram=Path("/data/my tomograms/TS_01.mrc"),
    shape=(30, 40, 50),
    voxel_size=12.5,
    ids=["TS_01/0", "TS_01/1", "TS_01/2"],
    places=[(0.0, 1.0, 2.0), (10.5, 20.0, 4.0), (49.0, 39.0, 29.0)],
    classes=["80S & co", "", "80S & co"],
    confidences=[1.0, None, 0.5],
    radii=[80.0, 80.0, 56.0],
    colours={"26S": (0, 0, 0), "80S & co": (255, 51, 0), "": (150, 150, 150)},
)


@pytest.mark.parametrize("viewer", [ChimeraXViewer, ArtiaXViewer])
def test_they_fit_the_seam(viewer: type) -> None:
    assert misfit("viewer", viewer) == ""


def test_markers(tmp_path: Path) -> None:
    assert ChimeraXViewer().prepare(SHOWN, tmp_path) == [["chimerax", str(tmp_path / "TS_01.cxc")]]
    sets = ElementTree.parse(tmp_path / "TS_01.cmm").getroot().findall("marker_set")
    assert [each.get("name") for each in sets] == ["80S & co", "no class"]
    first, second = sets[0].findall("marker")
    assert [first.get(axis) for axis in "xyz"] == ["0.00", "12.50", "25.00"]
    assert [float(first.get(part, "")) for part in "rgb"] == [1, 0.2, 0]
    assert (first.get("radius"), second.get("radius")) == ("80", "56")
    assert [float(second.get(axis, "")) for axis in "xyz"] == [612.5, 487.5, 362.5]
    assert second.get("note") == "TS_01/2"


def test_the_script_puts_tomogram_and_markers_into_one_frame(tmp_path: Path) -> None:
    ChimeraXViewer().prepare(SHOWN, tmp_path)
    assert (tmp_path / "TS_01.cxc").read_text() == (
        'open "/data/my tomograms/TS_01.mrc"\n'
        "volume #1 origin 0,0,0 voxelSize 12.5 step 1\n"
        "volume #1 colorMode l8 orthoplanes xyz positionPlanes 25,20,15 style image region all\n"
        'open "TS_01.cmm"\n'
        'mousemode right "move planes"\n'
        "view\n"
    )


def test_artiax_gets_a_list_of_each_class(tmp_path: Path) -> None:
    ArtiaXViewer().prepare(SHOWN, tmp_path)
    first, second = (pd.read_csv(tmp_path / f"TS_01_{number}.tsv", sep="\t") for number in (1, 2))
    assert first[["pos_x", "pos_y", "pos_z"]].to_numpy().tolist() == [[0, 12.5, 25], [612.5, 487.5, 362.5]]
    assert first["confidence"].tolist() == [1, 0.5]
    assert second["pos_x"].tolist() == [131.25]
    lines = (tmp_path / "TS_01_artiax.cxc").read_text().splitlines()
    assert lines[:3] == [
        *("artiax start", 'artiax open tomo "/data/my tomograms/TS_01.mrc"', 'open "TS_01_1.tsv" format generic')
    ]
    assert "artiax particles #1.2.1 color #ff3300 radius 80" in lines
    assert "volume #1.1.1 voxelSize 12.5" in lines  # whatever the header says


def test_a_name_that_chimerax_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ChimeraX would misread this name"):
        ChimeraXViewer().prepare(SHOWN._replace(tomogram=Path('/data/a"b.mrc')), tmp_path)
