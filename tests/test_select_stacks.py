"""`cryoreg select` on optimisation sets of 2D tilt stacks: a subset of the list, and a set that names it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import starfile
from click.testing import CliRunner
from support.tilt_stacks import PIXEL, write_set

from cryoreg.config.sniffing import choose
from cryoreg.datasets.list_specs import TiltStackSpec
from cryoreg.datasets.tilt_stacks.files import find_files
from cryoreg_cli.main import cryoreg


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Six particles of two tomograms; classes 1, 2, 1, ... in a column, a comment and a column that nobody knows."""
    root = write_set(tmp_path / "set", "warp", particles=6, tomograms=2).path.parent
    blocks = starfile.read(root / "particles.star", always_dict=True)
    blocks["particles"]["rlnClassNumber"] = [1, 2, 1, 2, 1, 2]
    blocks["particles"]["rlnOurs"] = "a"
    blocks["particles"]["rlnCoordinateX"] += np.arange(6) * 10.0 / PIXEL
    starfile.write(blocks, root / "particles.star", overwrite=True)
    text = (root / "particles.star").read_text().replace("data_particles", "# ours\ndata_particles  # these")
    (root / "particles.star").write_text(text)
    return root


def select(*words: object) -> str:
    result = CliRunner().invoke(cryoreg, ["select", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output if result.exit_code == 0 else f"refused: {result.output}"


def rows_of(root: Path, kept: set[int]) -> str:
    """Return the list with some of its rows, cut out of its text by what each row names."""
    lines = (root / "particles.star").read_text().splitlines(keepends=True)
    number = [re.search(r"stacks/(\d+)_", line) for line in lines]
    return "".join(line for line, found in zip(lines, number, strict=True) if not found or int(found[1]) in kept)


def test_rows_go_and_a_set_names_what_is_left(project: Path) -> None:
    output = project / "chosen.star"
    told = select(project / "optimisation_set.star", "--class", "2", "--output", output)
    assert output.read_text() == rows_of(project, {1, 3, 5})
    before, after = (project / name for name in ("optimisation_set.star", "chosen_optimisation_set.star"))
    assert after.read_text() == before.read_text().replace("particles.star", "chosen.star")
    assert str(after) in told
    dataset = TiltStackSpec(root=after).load()
    assert list(dataset.ids) == [f"stacks/{number}_stack2d.mrcs" for number in (1, 3, 5)]


def test_all_of_a_set_is_the_set(project: Path) -> None:
    select(project / "optimisation_set.star", "--output", project / "all.star")
    assert (project / "all.star").read_bytes() == (project / "particles.star").read_bytes()


def test_each_part_of_a_split_is_a_set(project: Path) -> None:
    select(project / "optimisation_set.star", "--split", "tomogram", "--output", project / "of.star")
    for name, rows in (("TS_01", {0, 2, 4}), ("TS_02", {1, 3, 5})):
        made = project / f"of_{name}_optimisation_set.star"
        assert choose(made).name == "tilt_stack"
        assert Path(find_files(made).particles).read_text() == rows_of(project, rows)


def test_a_set_that_exists_is_spared(project: Path) -> None:
    (project / "new_optimisation_set.star").write_text("mine")
    words = (project / "optimisation_set.star", "--output", project / "new.star")
    assert "new_optimisation_set.star: exists already" in select(*words)
    assert not (project / "new.star").exists()


@pytest.mark.parametrize("given", ["optimisation_set.star", "particles.star"])
def test_distances_count_as_warp_counts(given: str, project: Path) -> None:
    """Neighbours of one tomogram are 20 Å apart, in pixels of the images; the tilt series' would make it 10 Å."""
    for name, distance, kept in (("a", "15A", {0, 1, 2, 3, 4, 5}), ("b", "25A", {0, 1, 4, 5})):
        select(project / given, "--distance", distance, "--output", project / f"{name}.star")
        assert (project / f"{name}.star").read_text() == rows_of(project, kept)


def test_sets_of_one_tomograms_file_merge(project: Path) -> None:
    for number in (1, 2):
        select(project / "optimisation_set.star", "--class", number, "--output", project / f"{number}.star")
    one, two = (project / f"{number}_optimisation_set.star" for number in (1, 2))
    select(one, "--merge", two, "--output", project / "both.star")
    assert len(TiltStackSpec(root=project / "both_optimisation_set.star").load()) == 6
    (project / "others.star").write_bytes((project / "tomograms.star").read_bytes())
    two.write_text(two.read_text().replace("tomograms.star", "others.star"))
    told = select(one, "--merge", two, "--output", project / "never.star")
    assert "rlnTomoTomogramsFile" in told
    assert "refused" in told
    assert not (project / "never.star").exists()
