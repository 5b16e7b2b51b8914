"""Particle lists as picks of a project; picks that are called as in the CZII challenge's phantom data."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from cryoreg.errors import ConfigError, DataError
from cryoreg_copick.command import copick_picks
from cryoreg_copick.specs import CopickSpec
from cryoreg_copick.writer import PlacesWriter

copick = pytest.importorskip("copick", reason="needs copick, which is not installed: pip install copick")

from copick_project import ORDER, PICKS, write_project  # noqa: E402

from cryoreg_copick.picks import Wanted, write_picks  # noqa: E402

ROWS = [("TS_1", 200, 250, 300, "ribosome", 0.9), ("TS_1", 240, 300, 200, "ferritin", 0.8)]
ROWS += [("TS_2", 330, 210, 150, "ribosome", 0.7), ("TS_2", 20, 200, 200, "none", 0.0)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def listed(folder: Path, rows=ROWS, unit: str = "_angstrom") -> Path:
    path = folder / "classes.csv"
    head = f"tomogram,x{unit},y{unit},z{unit},class,confidence"
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def stored(config: Path, run: str, name: str, session: str = "7", user: str = "cryoreg") -> list:
    (picks,) = copick.from_file(str(config)).get_run(run).get_picks(name, user, session)
    picks.refresh()
    assert picks.trust_orientation is False
    return [(point.location.x, point.location.y, point.location.z, point.score) for point in picks.points]


def test_a_list_becomes_picks_by_object(config: Path, tmp_path: Path) -> None:
    written = write_picks(listed(tmp_path), config, Wanted("7", "cryoreg"))
    assert written == {("TS_1", "ferritin"): 1, ("TS_1", "ribosome"): 1, ("TS_2", "ribosome"): 1}
    assert stored(config, "TS_1", "ribosome") == [(200, 250, 300, 0.9)]
    assert stored(config, "TS_1", "ferritin") == [(240, 300, 200, 0.8)]
    assert stored(config, "TS_2", "ribosome") == [(330, 210, 150, 0.7)]
    files = sorted(path.name for path in (config.parent / "data").rglob("cryoreg_7_*.json"))
    assert files == ["cryoreg_7_ferritin.json", "cryoreg_7_ribosome.json", "cryoreg_7_ribosome.json"]


def test_voxels_of_a_told_size_and_one_object(config: Path, tmp_path: Path) -> None:
    path = listed(tmp_path, [(f"ExperimentRuns/{run}/VoxelSpacing10.000/wbp.zarr", *row) for run, *row in ROWS], "")
    with pytest.raises(DataError, match="does not say how large the voxels of its coordinates are"):
        write_picks(path, config, Wanted("7", "cryoreg", "unpicked"))
    write_picks(path, config, Wanted("7", "cryoreg", "unpicked", voxel_size=0.5))
    assert stored(config, "TS_1", "unpicked") == [(100, 125, 150, 0.9), (120, 150, 100, 0.8)]


def test_the_unit_of_2d_stacks_is_asked_for(config: Path, tmp_path: Path) -> None:
    """WarpTools and RELION count differently in the same columns."""
    path = tmp_path / "stacks.star"
    path.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n_rlnImageDimensionality\n1 5.0 2\n\n"
        "data_particles\n\nloop_\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnOpticsGroup\n"
        "TS_1 20 25 30 1\n"
    )
    with pytest.raises(DataError, match=r"lists 2D stacks \(rlnImageDimensionality\).*say --voxel-size"):
        write_picks(path, config, Wanted("7", "cryoreg", "unpicked"))
    write_picks(path, config, Wanted("7", "cryoreg", "unpicked", voxel_size=10.0))
    assert [point[:3] for point in stored(config, "TS_1", "unpicked")] == [(200, 250, 300)]


@pytest.mark.parametrize("told", [None, 10.5])
def test_predictions_of_a_project_go_back_into_it(config: Path, tmp_path: Path, told: float | None) -> None:
    """What the writer says of places is where copick's picks are, translations included, whatever size is told."""
    dataset = CopickSpec(root=config, box=8, voxel_size=told).build()
    write = PlacesWriter().prepare(tmp_path / "out.csv", dataset, ["a", "b"])
    predicted = SimpleNamespace(
        ids=dataset.ids, classes=("a", "b"), predictions=[0, 1, 1, 1, 0], confidences=[0.5, 0.6, 0.7, 0.8, 0.9]
    )
    (tmp_path / "out.csv").write_text(write(predicted))
    names = {"a": "ferritin", "b": "ribosome"}
    write_picks(tmp_path / "out.csv", config, Wanted("9", "cryoreg", renamed=names))
    points = {
        run: np.array([place for (own, _), places in sorted(PICKS.items()) if own == run for place in places])
        for run in ("TS_1", "TS_2")
    }
    assert stored(config, "TS_1", "ferritin", "9") == [(*(10 * points["TS_1"][0]), 0.5)]
    assert [point[:3] for point in stored(config, "TS_1", "ribosome", "9")] == [
        tuple(10 * p) for p in points["TS_1"][1:]
    ]
    assert len(ORDER) == len(dataset)


REFUSED = {
    "class": ([("TS_1", 1, 2, 3, "virus", 1)], {}, DataError, r"has the class 'virus', which is no object of .*--map"),
    "run": ([("TS_9", 1, 2, 3, "ribosome", 1)], {}, DataError, "lists the tomogram 'TS_9', which is no run of"),
    "outside": ([("TS_1", 1, 2, 3000, "ribosome", 1)], {}, DataError, "1 of 1 particles outside run 'TS_1'"),
    "nothing": (ROWS[3:], {}, DataError, "has no particle of a class that is to be written"),
    "there": (ROWS, {"session": "1", "user": "curator"}, ConfigError, "by curator in session 1 already"),
    "score": ([("TS_1", 1, 2, 3, "ribosome", "nan")], {}, DataError, "confidence that is no number in row 0"),
    "nobody": (ROWS, {"user": None}, ConfigError, "names no user; say --user"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_is_written_where_something_does_not_fit(case: str, config: Path, tmp_path: Path) -> None:
    rows, told, kind, message = REFUSED[case]
    before = sorted((config.parent / "data").rglob("*.json"))
    with pytest.raises(kind, match=message) as caught:
        write_picks(listed(tmp_path, rows), config, Wanted(**{"session": "7", "user": "cryoreg"} | told))
    assert "\n" not in str(caught.value)
    assert sorted((config.parent / "data").rglob("*.json")) == before


def test_overwriting_replaces_all_points(config: Path, tmp_path: Path) -> None:
    for rows in (ROWS[:2], [("TS_1", 100, 100, 100, "ribosome", 0.5)]):
        write_picks(listed(tmp_path, rows), config, Wanted("7", "cryoreg", overwrite=True))
    assert stored(config, "TS_1", "ribosome") == [(100, 100, 100, 0.5)]


def test_the_command(config: Path, tmp_path: Path) -> None:
    told = [str(listed(tmp_path)), "--project", str(config), "--session", "3", "--user", "me"]
    done = CliRunner().invoke(copick_picks, [*told, "--leave-out", "ferritin"], catch_exceptions=False)
    assert done.output.split("\n")[:2] == ["        1  ribosome in TS_1", "        1  ribosome in TS_2"]
    with pytest.raises(ConfigError, match="--map ribosome: is no CLASS=OBJECT"):
        CliRunner().invoke(copick_picks, [*told, "--map", "ribosome"], catch_exceptions=False)


def phantom(folder: Path) -> Path:
    """The layout of the challenge: images in static, picks of a run in overlay, called after their objects alone."""
    config = write_project(folder)
    content = json.loads(config.read_text())
    (folder / "data").rename(folder / "static")
    for file in (folder / "static").rglob("Picks/*.json"):
        plain = folder / "overlay" / file.relative_to(folder / "static").parent / f"{file.stem.split('_')[-1]}.json"
        plain.parent.mkdir(parents=True, exist_ok=True)
        file.rename(plain)
    content |= {f"{kind}_root": f"local://{folder}/{kind}" for kind in ("static", "overlay")} | {"static_fs_args": {}}
    config.write_text(json.dumps(content))
    return config


def test_phantom_layout(tmp_path: Path) -> None:
    config = phantom(tmp_path / "czii")
    dataset = CopickSpec(root=config, box=8).build()
    assert dataset.classes == ["ferritin", "ribosome"]
    assert dataset.groups == ["TS_1"] * 3 + ["TS_2"] * 2
    for i, (x, _, _) in enumerate(ORDER):
        assert float(dataset[i].volume[0, 4, 4, 4]) == 100 + x
    assert len(CopickSpec(root=config, box=8, objects=["ferritin"]).build()) == 1
    with pytest.raises(ConfigError, match=r"is called after its object alone, .*; rename it USER_SESSION_OBJECT\.json"):
        write_picks(listed(tmp_path), config, Wanted("7", "cryoreg"))
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"overlay_root": f"local://{tmp_path}/mine"}))
    write_picks(listed(tmp_path), config, Wanted("7", "cryoreg"))
    assert stored(config, "TS_1", "ribosome") == [(200, 250, 300, 0.9)]
