"""docs/your-data.md, typed from top to bottom; docs/files.md, against what that leaves behind."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from pathlib import Path

import pytest
from support.console_blocks import run_page

from cryoreg.api import create_dataset
from cryoreg.inference.subtomogram_table import COLUMNS

DOCS = Path(__file__).parents[1] / "docs"
SECTIONS = {
    heading.strip("` "): re.findall(r"`([\w./<>]+)`", text)
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (DOCS / "files.md").read_text("utf-8"), re.M | re.S)
}
"""Heading -> whatever stands in backquotes below it."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    run_page(DOCS / "your-data.md", folder)
    return folder


def test_the_page_says_the_truth_and_files_stay_as_they_were(project):
    stored, simulated = (create_dataset("store", root=project / f"{name}.h5") for name in ("particles", "simulated"))
    assert stored.voxel_size == simulated.voxel_size == 12
    assert (stored.tilt_range, stored.tilt_axis, stored.contrast) == ((-60, 60), "y", "bright")
    made, converted = (sorted(float(each[i].volume.sum()) for i in range(120)) for each in (simulated, stored))
    assert converted == pytest.approx(made, abs=1e-2)  # twice inverted
    assert (project / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((project / "from_elsewhere").iterdir())) == 120


@pytest.mark.parametrize("run", ["pre", "fine"])
def test_every_file_of_a_run_is_documented(project, run):
    folder = project / "runs" / run
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    files = {
        "tensorboard/" if name.startswith("tensorboard/") else name.replace("_test.", "_<part>.") for name in files
    }
    assert files <= set(SECTIONS["A run folder"])


@pytest.mark.parametrize("run", ["pre", "fine"])
@pytest.mark.parametrize("name", ["metrics.csv", "steps.csv"])
def test_every_column_is_documented(project, run, name):
    with (project / "runs" / run / name).open(encoding="utf-8") as table:
        assert set(next(csv.reader(table))) <= set(SECTIONS[name])


@pytest.mark.parametrize("run", ["pre", "fine"])
def test_every_key_of_a_card_is_documented(project, run):
    assert json.loads((project / "runs" / run / "card.json").read_text("utf-8")).keys() <= set(SECTIONS["card.json"])


def test_predictions_have_the_columns_that_are_documented(project):
    with (project / "runs" / "fine" / "predictions_test.csv").open(encoding="utf-8") as table:
        of_no_list = [column for column in COLUMNS if column != "list_rows"]
        assert next(csv.reader(table)) == [*of_no_list[:7], "confidence"]
    assert set(COLUMNS) <= set(SECTIONS["Tables of subtomograms"])


@pytest.mark.parametrize("run", ["pre", "fine"])
def test_every_part_of_a_checkpoint_is_documented(project, run):
    from cryoreg.runs.checkpoint import load_checkpoint

    path = project / "runs" / run / "checkpoints" / "last.ckpt"
    assert load_checkpoint(path).keys() <= {*SECTIONS["Checkpoints"], *SECTIONS["card.json"]}
    assert zipfile.is_zipfile(path)
