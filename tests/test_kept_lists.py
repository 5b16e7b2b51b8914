"""Lists of other programs with classes written into them: the class changes, nothing else."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import starfile
from support.particle_writing import FORMATS, em_motive_list, eman2, emclarity, peet, pytom, stopgap
from support.tomograms import write_tomogram

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.errors import DataError
from cryoreg.inference.given_classes import as_predictions
from cryoreg.inference.writers import prepare_writer
from cryoreg.predictions import Predictions

CLASSES = ("ribosome", "proteasome")
PREDICTED = {0: 1, 2: 0, 3: 1}
"""The class of each row; row 1 is not classified."""
NUMBERS = [2, 0, 1, 2]


def opened(path: Path) -> Subtomograms:
    return TomogramSpec(root=path, box=8).build()


def predictions(dataset: Subtomograms) -> Predictions:
    return as_predictions(dataset, [*PREDICTED], CLASSES, [*PREDICTED.values()])


def write(path: Path, name: str | None = "list") -> Path:
    """Write the classes with a writer; return the file, which lies where the list did."""
    dataset, output = opened(path), path.with_name(f"out_{path.name}")
    output.write_bytes(prepare_writer(output, name, dataset, CLASSES)(predictions(dataset)))
    return output


def tokens(path: Path, pattern: str) -> list[str]:
    return re.findall(pattern, path.read_text())


@pytest.fixture(autouse=True)
def tomogram(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "TS_01.mrc")


def test_stopgap(tmp_path: Path) -> None:
    path = stopgap(tmp_path)
    new = write(path)
    assert starfile.read(new)["class"].tolist() == NUMBERS
    old, now = (tokens(each, r"\S+|\s+") for each in (path, new))
    changed = [place for place, (a, b) in enumerate(zip(old, now, strict=True)) if a != b]
    assert [now[place] for place in changed] == ["2", "0", "2"]  # row 2 had class 1 before
    np.testing.assert_array_equal(read_particle_list(new).coordinates, read_particle_list(path).coordinates)


def test_peet(tmp_path: Path) -> None:
    path = peet(tmp_path)
    new = write(path)
    before, after = (list(csv.reader(each.read_text().splitlines())) for each in (path, new))
    assert [row[19] for row in after[1:]] == list(map(str, NUMBERS))
    assert [row[:19] for row in after] == [row[:19] for row in before]
    new.rename(path)
    assert read_particle_list(path).columns["class"].tolist() == NUMBERS


def test_emclarity(tmp_path: Path) -> None:
    path = emclarity(tmp_path)
    new = write(path)
    old, now = (np.loadtxt(each) for each in (path, new))
    assert now[:, 25].tolist() == NUMBERS
    np.testing.assert_array_equal(now[:, :25], old[:, :25])
    assert [line[-2:] for line in new.read_text().splitlines()] == ["2 ", "0 ", "1 ", "2 "]


@pytest.mark.parametrize(("order", "kind"), [("<", 5), (">", 9)])
def test_em(order: str, kind: int, tmp_path: Path) -> None:
    path = em_motive_list(tmp_path, order, kind)
    new = write(path)
    dtype = order + {5: "f4", 9: "f8"}[kind]
    old, now = (np.frombuffer(each.read_bytes()[512:], dtype).reshape(-1, 20) for each in (path, new))
    assert now[:, 19].tolist() == NUMBERS
    np.testing.assert_array_equal(now[:, :19], old[:, :19])
    assert new.read_bytes()[:512] == path.read_bytes()[:512]
    np.testing.assert_array_equal(read_particle_list(new).coordinates, read_particle_list(path).coordinates)


def test_pytom(tmp_path: Path) -> None:
    path = pytom(tmp_path)
    path.write_text(path.read_text().replace('<Class Name="0"/></Particle>\n</', "</Particle>\n</"))
    new = write(path)
    root = ElementTree.parse(new).getroot()
    assert [each.find("Class").get("Name") for each in root] == list(map(str, NUMBERS))
    assert re.sub(r'<Class Name="\d"/>', "", new.read_text()) == re.sub(r'<Class Name="\d"/>', "", path.read_text())


def test_eman2(tmp_path: Path) -> None:
    path = eman2(tmp_path)
    new = write(path)
    old, now = (json.loads(each.read_text()) for each in (path, new))
    assert now["class_list"] == old["class_list"] | {"1": {"name": "proteasome", "boxsize": 32}}
    assert [box[5] for box in now["boxes_3d"]] == [1, 0, 0, 1]
    assert [box[:5] for box in now["boxes_3d"]] == [box[:5] for box in old["boxes_3d"]]
    assert now["apix_unbin"] == 2.5
    new.rename(path)
    assert read_particle_list(path).columns["class"].tolist() == ["proteasome", "ribosome", "ribosome", "proteasome"]


@pytest.mark.parametrize("kind", ["csv", "imod", "copick", "ndjson"])
def test_a_list_without_a_place_for_classes_is_refused(kind: str, tmp_path: Path) -> None:
    path = FORMATS[kind](tmp_path)
    with pytest.raises(DataError, match="has no place of its own for classes; write CSV") as caught:
        prepare_writer(path.with_name(f"out{path.suffix}"), "list", opened(path), CLASSES)
    assert "\n" not in str(caught.value)


def test_the_output_is_named_as_the_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is to be as .*list\.csv is; name it \.csv"):
        prepare_writer(tmp_path / "out.xml", "list", opened(peet(tmp_path)), CLASSES)


@pytest.mark.parametrize("kind", ["dynamo", "stopgap"])
def test_lists_with_a_format_of_their_own_are_written_in_it(kind: str, tmp_path: Path) -> None:
    path = FORMATS[kind](tmp_path)
    assert write(path).read_bytes() == write(path, None).read_bytes()


def test_a_list_that_lost_rows_is_refused(tmp_path: Path) -> None:
    path = peet(tmp_path)
    dataset = opened(path)
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    with pytest.raises(DataError, match="lists other particles than when these were cut out"):
        prepare_writer(tmp_path / "o.csv", "list", dataset, CLASSES)
