"""A list that is written into another folder leads to the same files, or it is said: by whatever writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import starfile
from support import eman2_writing
from support.mrc_writing import noise, write_mrc
from support.particle_writing import dynamo, pytom, relion3, write_star
from support.tomograms import write_tomogram

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.list_specs import StarSpec, TomogramSpec
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.specs import Eman2Spec
from cryoreg.errors import DataError
from cryoreg.inference.writers import notes_on_files
from cryoreg.labelling.opening import export
from cryoreg.selection.rules import Rules
from cryoreg.selection.select import run_select

Notes = Callable[[Path, Path], list[str]]
"""From a list and where it is to be written."""


def dataset_of(path: Path) -> Subtomograms:
    images = path.suffix == ".star" and "rlnImageName" in path.read_text()
    spec = StarSpec(root=path) if images else TomogramSpec(root=path, box=8, tomograms=path.parent / "tomograms")
    return spec.build()


def of_predict(path: Path, output: Path) -> list[str]:
    return notes_on_files(output, "list", dataset_of(path))


def of_select(path: Path, output: Path) -> list[str]:
    said: list[str] = []
    run_select([path], Rules(), output, say=said.append)
    return [line for line in said if "names" in line]


def of_label(path: Path, output: Path) -> list[str]:
    dataset, labels, said = dataset_of(path), path.with_name("labels.csv"), []
    labels.write_text(f"id,class\n{dataset.ids[0]},ring\n")
    export(SimpleNamespace(dataset=dataset, inputs=set), labels, output, overwrite=True, say=said.append)
    return said


ALL = pytest.mark.parametrize("notes", [of_predict, of_select, of_label])
KINDS = [(of_predict, relion3), (of_predict, pytom), (of_select, relion3), (of_select, pytom), (of_label, relion3)]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The folder of another project."""
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


def tomograms(folder: Path, name: str = "TS_01.mrc") -> Path:
    (folder / "tomograms").mkdir(parents=True)
    return write_tomogram(folder / "tomograms" / name)


def images(folder: Path) -> Path:
    (folder / "Extract").mkdir(parents=True)
    for number in range(2):
        write_mrc(folder / f"Extract/{number}.mrc", noise((8, 8, 8), number))
    return write_star(folder / "list.star", {"rlnImageName": ["Extract/0.mrc", "Extract/1.mrc"]})


@ALL
@pytest.mark.parametrize("place", ["out.star", "../project/out.star", "deeper/out.star"])
def test_nothing_is_said_where_names_lead_to_the_same_files(notes: Notes, place: str, tmp_path: Path) -> None:
    path = images(tmp_path / "project")
    (path.parent / "deeper").mkdir()
    assert notes(path, path.parent / place) == []


@ALL
def test_images_that_are_lost_are_told_of(notes: Notes, tmp_path: Path, other: Path) -> None:
    path = images(tmp_path / "project")
    assert notes(path, other / "out.star") == [
        f"note: 'Extract/0.mrc' (rlnImageName), which {path} names, is not found from {other}: keep the list in its "
        "project, or say where files are when you use it"
    ]


@ALL
def test_images_of_another_project_are_refused(notes: Notes, tmp_path: Path, other: Path) -> None:
    path = images(tmp_path / "project")
    images(other)
    with pytest.raises(DataError, match=r"'Extract/0\.mrc' \(rlnImageName\), which would be .*other/Extract/0\.mrc"):
        notes(path, other / "out.star")
    assert not (other / "out.star").exists()


@pytest.mark.parametrize(("notes", "kind"), KINDS)
def test_tomograms_named_by_path(notes: Notes, kind: Callable[[Path], Path], tmp_path: Path, other: Path) -> None:
    tomograms(tmp_path / "project")
    path = kind(tmp_path / "project")
    path.write_text(path.read_text().replace("TS_01.em", "TS_01.mrc"))
    output = other / f"out{path.suffix}"
    assert "TS_01" in str(notes(path, output))
    output.unlink(missing_ok=True)
    tomograms(other)
    with pytest.raises(DataError, match=r"which would be .*other/tomograms/TS_01\.mrc for a list in .*other; write it"):
        notes(path, output)


@ALL
def test_tomograms_beside_the_list_named_without_a_path(notes: Notes, tmp_path: Path, other: Path) -> None:
    (tmp_path / "project" / "tomograms").mkdir(parents=True)
    write_tomogram(tmp_path / "project" / "tomograms" / "TS_01.mrc")
    path = relion3(tmp_path / "project" / "tomograms")
    path.write_text(path.read_text().replace("tomograms/TS_01.mrc", "TS_01"))
    (path.parent / "tomograms").symlink_to(".")
    assert [line[:25] for line in notes(path, other / "out.star")] == ["note: the tomogram 'TS_01"]
    write_tomogram(other / "TS_01_10.00Apx.mrc")
    with pytest.raises(DataError, match=r"the tomogram 'TS_01', which would be .*other/TS_01_10\.00Apx\.mrc"):
        notes(path, other / "again.star")


def test_numbers_of_a_dynamo_table_name_no_file(tmp_path: Path, other: Path) -> None:
    tomograms(tmp_path, "1.mrc")
    assert of_select(dynamo(tmp_path), other / "out.tbl") == []


def test_stacks_of_eman2(tmp_path: Path, other: Path) -> None:
    (tmp_path / "project" / "particles3d").mkdir(parents=True)
    eman2_writing.write_stack(tmp_path / "project" / "particles3d" / "a.hdf", [noise((8, 8, 8))])
    path = eman2_writing.write_list(tmp_path / "project" / "a.lst", [(0, "particles3d/a.hdf", None)])
    dataset = Eman2Spec(root=path).build()
    assert notes_on_files(path.with_name("b.lst"), "list", dataset) == []
    [note] = notes_on_files(other / "b.lst", "list", dataset)
    assert note.startswith(f"note: 'particles3d/a.hdf' (file), which {path} names, is not found from {other}")


def test_select_rewrites_the_files_that_cryoreg_named(tmp_path: Path, other: Path) -> None:
    file = tomograms(tmp_path / "project")
    path = relion3(tmp_path / "project")
    table = starfile.read(path).assign(cryoregTomogramFile="tomograms/TS_01.mrc", rlnMicrographName="TS_01")
    starfile.write(table, path)
    tomograms(other)
    assert of_select(path, other / "out.star") == []
    found = starfile.read(other / "out.star")
    assert set(found["cryoregTomogramFile"]) == {str(file)}
    assert len(read_particle_list(other / "out.star").coordinates) == len(table)
    run_select([path], Rules(), path.with_name("out.star"))
    assert set(starfile.read(path.with_name("out.star"))["cryoregTomogramFile"]) == {"tomograms/TS_01.mrc"}
