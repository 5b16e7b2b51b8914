"""`cryoreg label` of lists and stores: sources, what they show of tomograms, lists with classes."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from support.labelling import ALONE, TOKEN, client_of, label_run
from support.mrc_writing import write_mrc
from support.particle_writing import write_star
from support.tomograms import bright, write_tomogram

from cryoreg import extract
from cryoreg.config import Layer
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.specs import StoreSpec
from cryoreg.errors import CryoregError
from cryoreg.labelling.opening import export, grouped_by, numbered, open_session, open_source, prepare, shown
from cryoreg.labelling.session import Row
from cryoreg.labelling.whereabouts import whereabouts_of

pytest.importorskip("starlette", reason="needs cryoreg[label]")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return label_run(tmp_path_factory.mktemp("label"))


@pytest.fixture
def picks(tmp_path):
    """Nine particles in two tomograms, in a STAR file."""
    for name in ("TS_01", "TS_02"):
        write_tomogram(tmp_path / f"{name}.mrc")
    places = {f"rlnCoordinate{axis}": [12 + 3 * (row % 5) for row in range(9)] for axis in "XYZ"}
    places["rlnCoordinateZ"] = [10] * 9
    names = [f"TS_0{1 + row % 2}.mrc" for row in range(9)]
    return write_star(tmp_path / "picks.star", {"rlnMicrographName": names, **places})


def test_a_list_comes_back_with_classes(run, picks, tmp_path):
    data = Layer("test", {"dataset": {"tomograms": str(tmp_path), "voxel_size": 10.0}})
    trained = open_source(picks, str(run / "encoder.safetensors"), [*ALONE, data])
    session = open_session(trained, tmp_path / "labels.csv", "picks")
    session.label([Row(2, "ring", ""), Row(5, "rod", "")], "one by one")
    assert export(trained, tmp_path / "labels.csv", tmp_path / "out.star", overwrite=False) == 2
    assert numbered(tmp_path / "labels.csv") == ["ring", "rod"]
    table = relion_tables.read_particles(tmp_path / "out.star")
    assert table["cryoregClassName"].tolist() == ["none"] * 2 + ["ring"] + ["none"] * 2 + ["rod"] + ["none"] * 3
    assert table[relion.CLASS_NUMBER].astype(int).tolist() == [0, 0, 1, 0, 0, 2, 0, 0, 0]
    assert table["rlnCoordinateX"].astype(float).tolist() == [12 + 3 * (row % 5) for row in range(9)]
    client = client_of(session)
    assert client.get(f"/{TOKEN}/export/star").content == (tmp_path / "out.star").read_bytes()
    assert client.get(f"/{TOKEN}/export/tbl").status_code == 409, "it is no Dynamo table"
    rows = list(csv.DictReader(io.StringIO(client.get(f"/{TOKEN}/export/csv").text)))
    assert [(row["id"], row["class"]) for row in rows] == [("TS_01/2", "ring"), ("TS_02/5", "rod")]


def test_a_table_of_clusters_is_a_source(run, picks, tmp_path):
    """It names the data that it is of; its labels are not taken for its clusters."""
    table = tmp_path / "clusters.csv"
    table.write_text(f"id,file,row,label,cluster\nTS_01/0,{picks},0,ring,2\nTS_02/1,{picks},1,,1\n")
    assert grouped_by(table) == (picks, table)
    assert grouped_by(picks) == (picks, None)
    assert grouped_by(tmp_path / "labels.csv") == (tmp_path / "labels.csv", None)
    data = Layer("test", {"dataset": {"tomograms": str(tmp_path), "voxel_size": 10.0}})
    trained = open_source(picks, str(run / "encoder.safetensors"), [*ALONE, data])
    picked = open_session(trained, tmp_path / "labels.csv", "picks")
    prepare(picked, None, table, data_classes=False)
    assert picked.said == {0: "2", 1: "1"}
    table.write_text("id,file,cluster\na,nowhere.star,1\n")
    with pytest.raises(CryoregError, match=r"nowhere.star', which is not there.*--groups-from clusters.csv"):
        grouped_by(table)
    table.write_text("id,file,cluster\na,a.mrc,1\nb,b.mrc,1\n")
    with pytest.raises(CryoregError, match="2 files"):
        grouped_by(table)


def test_tomograms_are_shown_where_particles_know_them(run, picks, tmp_path):
    data = Layer("test", {"dataset": {"tomograms": str(tmp_path), "voxel_size": 10.0}})
    dataset = shown(open_source(picks, str(run / "encoder.safetensors"), [*ALONE, data]))
    assert dataset.box == (24, 24, 24), "boxes for people, not for the network"
    where = whereabouts_of(dataset)
    assert where.names == ["TS_01", "TS_02"]
    assert where.which.tolist() == [row % 2 for row in range(9)]
    np.testing.assert_allclose(where.places[1], [15 - 1, 15 - 1, 10 - 1], atol=1.01)
    section = Image.open(io.BytesIO(where.section(0, 24)))
    assert section.size == (48, 44)
    plane = where.tomograms[0].read((slice(22, 27), slice(None), slice(None))).mean(axis=0)[::-1]
    assert np.corrcoef(np.asarray(section, float).ravel(), plane.ravel())[0, 1] > 0.9


@pytest.fixture
def store(picks, tmp_path):
    """Boxes around the picks but those of row 3, which lies in padding."""
    volume = bright()
    volume[:20, :30, 14:30] = 1
    write_mrc(tmp_path / "TS_02.mrc", volume, 10.0)
    extract(picks, tmp_path / "particles.h5", box=12, skip_bad=True)
    return tmp_path / "particles.h5"


def where_in(run, source):
    return whereabouts_of(shown(open_source(source, str(run / "encoder.safetensors"), ALONE)))


def test_a_store_shows_where_its_particles_are(run, picks, store):
    where, boxes = where_in(run, store), TomogramSpec(root=picks, box=12).open()
    left = [row for row in range(9) if row != 3]
    assert [name.rpartition("/")[2] for name in StoreSpec(root=store).build().ids] == list(map(str, left))
    assert where.names == ["TS_01", "TS_02"]
    np.testing.assert_array_equal(where.places, boxes.places[left])
    np.testing.assert_array_equal(where.which, boxes.which[left])


@pytest.mark.parametrize("change", ["other places", "other rows", "other tomograms", "no list"])
def test_a_store_does_not_show_what_it_was_not_cut_out_of(run, picks, store, change):
    assert where_in(run, store)
    text = picks.read_text()
    if change == "other tomograms":
        write_tomogram(picks.with_name("TS_01.mrc"), seed=5)
    elif change == "no list":
        picks.unlink()
    else:
        lines = text.splitlines(keepends=True)
        rows = [number for number, line in enumerate(lines) if line.startswith("TS_0")]
        changed = text.replace("\t12\t12", "\t13\t12") if change == "other places" else "".join(lines[: rows[-1]])
        assert changed != text
        picks.write_text(changed)
    assert where_in(run, store) is None


@pytest.fixture
def elsewhere(run, tmp_path):
    """A session of a list that names tomograms and images relative to its folder, in which nobody works."""
    for name in ("TS_01", "TS_02"):
        write_tomogram(tmp_path / "project" / f"{name}.mrc")
    names = [f"TS_0{1 + row % 2}" for row in range(4)]
    files = {"rlnTomoName": names, relion.FILE: [f"{name}.mrc" for name in names], "rlnImageName": ["a/1.mrc"] * 4}
    path = write_star(
        tmp_path / "project" / "l.star", {**files, **{f"rlnCoordinate{axis}": [15] * 4 for axis in "XYZ"}}
    )
    (path.parent / "a").mkdir()
    (path.parent / "a" / "1.mrc").touch()
    data = Layer("test", {"dataset": {"name": "tomogram"}})
    trained = open_source(path, str(run / "encoder.safetensors"), [*ALONE, data])
    session = open_session(trained, tmp_path / "labels.csv", "l")
    session.label([Row(2, "ring", "")], "one by one")
    return session


def test_a_list_that_the_page_gives_leads_to_its_tomograms_wherever_it_is_saved(elsewhere, tmp_path, monkeypatch):
    """The page does not know where. What only the list's own folder leads to is told of."""
    monkeypatch.chdir(tmp_path / "project")
    answer = client_of(elsewhere).get(f"/{TOKEN}/export/star")
    (tmp_path / "downloads").mkdir()
    saved = tmp_path / "downloads" / "labels.star"
    saved.write_bytes(answer.content)
    assert TomogramSpec(root=saved, box=8).open().tomograms[1].path == str(tmp_path / "project" / "TS_02.mrc")
    [note] = json.loads(answer.headers["x-cryoreg-notes"])
    assert note.startswith("note: 'a/1.mrc' (rlnImageName), which ")
    assert "is not found from another folder" in note
    assert "x-cryoreg-notes" not in client_of(elsewhere).get(f"/{TOKEN}/export/csv").headers
