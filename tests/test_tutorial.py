"""docs/tutorial.md, typed from top to bottom: what it promises is true, and the list comes back whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import starfile
from support.console_blocks import run_page

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
ADDED = ["rlnClassNumber", "cryoregClassName", "cryoregConfidence", "cryoregUnsure"]
DOUBTS = ["cryoregFamiliarity", "cryoregNoneOfThese"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    run_page(PAGE, folder)
    return folder


@pytest.mark.parametrize(("name", "added"), [("classes.star", [*ADDED, *DOUBTS]), ("clusters.star", ADDED)])
def test_the_list_comes_back_with_classes_and_all_that_it_had(project, name, added):
    old, new = starfile.read(project / "particles.star"), starfile.read(project / name)
    assert list(new) == list(old) == ["optics", "particles"]
    pd.testing.assert_frame_equal(new["optics"], old["optics"])
    pd.testing.assert_frame_equal(new["particles"][list(old["particles"])], old["particles"])
    assert list(new["particles"].columns) == [*old["particles"].columns, *added]
    assert new["particles"]["rlnClassNumber"].isin([1, 2, 3]).all()
    assert new["particles"]["cryoregConfidence"].between(0, 1).all()


def test_most_classes_are_right(project):
    """Three classes: by chance a third would be, with a standard deviation of √(2/9 / 450) = 2.2 %."""
    predicted = starfile.read(project / "classes.star")["particles"]
    truth = pd.read_csv(project / "truth.csv", header=None)[0]
    right = predicted["rlnClassNumber"] == truth
    assert right.mean() > 0.5
    assert right[predicted["cryoregUnsure"] == 0].mean() > right[predicted["cryoregUnsure"] == 1].mean()


def test_pictures_and_report_are_there(project):
    for name in ("preview.png", "clusters.png"):
        assert (project / name).read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (project / "runs" / "fine" / "report.html").read_text("utf-8")
