"""What lists of other programs say beside coordinates, and what is refused: one line each, never a guess."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.mrc_writing import noise, write_mrc
from support.particle_writing import (
    CORNER,
    PEET_HEADER,
    XYZ,
    cbox,
    coords,
    eman2,
    emclarity,
    imod,
    imod_points,
    model_bytes,
    peet,
    pytom,
    stopgap,
    write_star,
)
from support.tomograms import write_tomogram

from cryoreg.config.sniffing import sniff
from cryoreg.datasets.list_specs import StarSpec, TomogramSpec
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.errors import DataError


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_particle_list(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path.parent))


def places(path: Path) -> np.ndarray:
    return read_particle_list(path).coordinates


def test_a_stopgap_list_with_its_tomolist(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "rec" / "lamella_b.mrc")
    (tmp_path / "tomolist.txt").write_text("1 rec/lamella_b.mrc\n2 rec/other.mrc\n")
    path = stopgap(tmp_path)
    assert TomogramSpec(root=path, box=8).build().groups == ["lamella_b"] * len(XYZ)
    path.with_suffix(".txt").write_text("picked on Monday\n")  # notes are no list of tomograms
    assert TomogramSpec(root=path, box=8).build().groups == ["lamella_b"] * len(XYZ)
    told = (tmp_path / "tomolist.txt").rename(tmp_path / "mine.txt")
    assert TomogramSpec(root=path, box=8, tomograms=told).build().groups == ["lamella_b"] * len(XYZ)


def test_a_peet_list_of_a_project(tmp_path: Path) -> None:
    """The .prm says which model and which tomogram a list is of, by its number."""
    (tmp_path / "models").mkdir()
    for number in (1, 2):
        (tmp_path / "models" / f"t{number}.mod").write_bytes(model_bytes(XYZ + CORNER + 100 * (number - 1), None))
    (tmp_path / "p.prm").write_text(
        "# fnOutput = 'other'\nfnOutput = 'run_a'\nfnVolume = {'../a.rec', ...\n  '../b.rec'}\n"
        "fnModParticle = {'models/t1.mod', 'models/t2.mod'}\n"
    )
    list_of = peet(tmp_path).rename(tmp_path / "run_a_MOTL_Tom2_Iter3.csv")
    particles = read_particle_list(list_of)
    np.testing.assert_allclose(particles.coordinates, XYZ + 100 + [1.5, -0.5, 2.0])
    assert particles.tomograms == ["../b.rec"] * len(XYZ)
    (tmp_path / "list.mod").unlink()
    refused(list_of.rename(tmp_path / "run_a_MOTL_Tom0_Iter3.csv"), "has offsets alone")  # PEET counts from 1


def test_some_of_a_models_points_by_their_index(tmp_path: Path) -> None:
    path = peet(tmp_path)
    rows = path.read_text().splitlines()
    path.write_text("\n".join([PEET_HEADER, rows[4], rows[2].replace("20,30,0", "20,30,-9999")]))
    particles = read_particle_list(path)
    np.testing.assert_allclose(particles.coordinates, XYZ[[3, 1]])
    assert particles.columns["class"].tolist() == [0, None]
    path.write_text("\n".join([PEET_HEADER, rows[2], rows[1], rows[3], rows[4]]))
    refused(path, "lists its particles in another order")
    path.write_text("\n".join([PEET_HEADER, rows[1].replace(",0,0,1,1", ",0,0,9,1")]))
    refused(path, "lists 1 particles, and .*list.mod has 4 points")
    (tmp_path / "list.mod").unlink()
    refused(path, "has offsets alone; .* name the model list.mod")


def test_a_model_of_another_binning_and_of_a_part(tmp_path: Path) -> None:
    """The model knows its image's voxels, and from where a part of it was loaded."""
    write_tomogram(tmp_path / "TS_01.mrc")
    path = tmp_path / "m.mod"
    path.write_bytes(model_bytes((XYZ + 0.5) * 4 - [0, 0, 0.5] - [3, 5, 7], 2.5, 1 << 14, (3, 5, 7)))
    dataset = TomogramSpec(root=path, box=8).build()
    np.testing.assert_allclose(dataset.positions, XYZ, atol=1e-4)
    path.write_bytes(model_bytes(XYZ + CORNER, None, names=("ribosome", "")))
    particles = read_particle_list(path)
    assert particles.label == "object"
    assert particles.columns["object"].tolist() == ["ribosome"] * 2 + ["2"] * 2
    np.testing.assert_allclose(places(path), XYZ)


def test_models_that_are_refused(tmp_path: Path) -> None:
    path = imod(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[:600])
    refused(path, "ends within its chunk|ends too early")
    path.write_bytes(model_bytes(XYZ, 10.0, 1 << 16))
    refused(path, "was saved while its image was flipped")
    path.write_bytes(b"IMODV1.2" + bytes(300))
    refused(path, "ends within its chunk|has no points|ends too early")
    text = imod_points(tmp_path)
    text.write_text("1 2\n")
    refused(text, "has 2 values in its first line, not the 3, 4 or 5 of model2point")


def test_boxes_of_crYOLO_that_are_refused(tmp_path: Path) -> None:
    path = cbox(tmp_path)
    whole = path.read_text()
    path.write_text(whole.replace("_Width", "_Breadth"))
    refused(path, "has no column Width, without which the middle of a box is not known")
    path.write_text(re.sub(r"^(\S+\t\S+\t)\S+\t", "\\1<NA>\t", whole, flags=re.MULTILINE))
    refused(path, "has boxes in 2D images")
    path.write_text("10 20 30 30 0.5\n")  # of before crYOLO 1.8
    refused(path, "holds no STAR table")
    text = coords(tmp_path)
    text.write_text("350\n420\n")  # emClarity's recon.coords
    refused(text, "has 1 values in its first line, not x, y and z")
    text.write_text("10 20 30\n40 50 ?\n")
    refused(text, "line 2 has no numbers for x, y, z")


def test_boxes_of_eman2_that_are_refused(tmp_path: Path) -> None:
    path = eman2(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"boxes_3d": [[1, 2, "x", "manual", 0, 0]]}))
    refused(path, "has no box with numbers x, y and z in row 0")
    path.write_text(json.dumps({"boxes_3d": content["boxes_3d"]}))
    refused(path, "has no apix_unbin")


def test_tables_that_are_refused(tmp_path: Path) -> None:
    path = emclarity(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace(" 4 0 ", " 6 0 ", 1)]))
    refused(path, "has binnings from 4 to 6")
    path.write_text("\n".join([lines[0], lines[1] + "1"]))
    refused(path, "line 2 has 27 values where the first has 26")
    xml = pytom(tmp_path)
    whole = xml.read_text()
    xml.write_text('<!DOCTYPE a [<!ENTITY b "c">]>' + whole)
    refused(xml, "has a document type of its own")
    xml.write_text(whole.replace('X="0.5"', 'X="half"', 1))
    refused(xml, "has no Shift with numbers X, Y and Z in row 0")
    xml.write_text(whole[:-10])
    refused(xml, "is no XML as PyTom writes it")


def test_tilts_and_origins_of_pytom(tmp_path: Path) -> None:
    particles = read_particle_list(pytom(tmp_path))
    assert particles.tilt_ranges == [(-60.0, 55.0)] * len(XYZ)


def csparc2star(folder: Path, **places: list[float]) -> Path:
    """What csparc2star.py writes of 2D particles: optics groups, images in a stack, at most x and y."""
    write_mrc(folder / "J1" / "stack.mrcs", noise((20, 8, 8)), ispg=0, mz=1)
    images = [f"{slot:06d}@J1/stack.mrcs" for slot in (1, 2)]
    particles = {"ucsfUid": [1, 2], "rlnImageName": images, "rlnMicrographName": "a.mrc", **places}
    poses = {"rlnAngleRot": 1.0, "rlnOriginXAngst": 0.5, "rlnOriginYAngst": 0.5, "rlnClassNumber": [1, 2]}
    optics = {"rlnOpticsGroup": [1], "rlnImageSize": [8], "rlnImagePixelSize": [1.1]}
    return write_star(folder / "particles.star", particles | poses | {"rlnOpticsGroup": 1}, optics)


def test_particles_of_cryosparc_are_2d(tmp_path: Path) -> None:
    """A line says so, for its own tables and for what csparc2star.py makes of them."""
    table = tmp_path / "particles.cs"
    with table.open("wb") as stream:
        np.save(stream, np.zeros(2, [("uid", "u8"), ("blob/path", "S20"), ("location/center_x_frac", "f4")]))
    for use in (read_particle_list, sniff):
        with pytest.raises(
            DataError, match=r"is a table of cryoSPARC, whose particles are 2D.*csparc2star\.py"
        ) as caught:
            use(table)
        assert len(str(caught.value).splitlines()) == 1
    path = csparc2star(tmp_path, rlnCoordinateX=[10, 20], rlnCoordinateY=[30, 40])
    for use in (read_particle_list, sniff, lambda root: StarSpec(root=root).build()):
        with pytest.raises(DataError, match=r"which are 2D \(rlnCoordinateY without rlnCoordinateZ\)"):
            use(path)
    with pytest.raises(DataError, match="no whole number of 8³ boxes; check the box, and whether these are 2D images"):
        StarSpec(root=csparc2star(tmp_path)).build()


def test_words_of_pytom_match_pick_are_told_to_be_relions(tmp_path: Path) -> None:
    """With RELION's prefix the list is read, places as they are: its program writes indices of voxels, from 0."""
    write_tomogram(tmp_path / "TS_01.mrc")
    columns = {f"ptmCoordinate{axis}": XYZ[:, place] for place, axis in enumerate("XYZ")}
    more = {"ptmLCCmax": 0.3, "ptmDetectorPixelSize": 10.0, "ptmMicrographName": "TS_01"}
    path = write_star(tmp_path / "extracted.star", columns | more)
    for use in (read_particle_list, sniff):
        with pytest.raises(DataError, match=r"columns of pytom-match-pick.*sed s/\^_ptm/_rln/"):
            use(path)
    path.write_text(re.sub("^_ptm", "_rln", path.read_text(), flags=re.MULTILINE))
    np.testing.assert_array_equal(TomogramSpec(root=path, box=8).open().places, XYZ)
