"""`cryoreg pick`: lists, summary, picture, and one clear line for each mistake."""

from __future__ import annotations

import csv
import itertools
import json
import shlex
import shutil
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
import scipy.spatial
import starfile
from PIL import Image
from support.coded import centres, write_coded
from support.command_line import cli, ok
from support.mrc_writing import noise, state, write_mrc

from cryoreg.config.project import Project
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.readers.tomogram import TomogramParticles
from cryoreg.picking.contrast import Verdict
from cryoreg.picking.pick_lists import write_lists
from cryoreg.picking.picks import Picks

pytestmark = pytest.mark.filterwarnings("ignore:Data array contains NaN")  # mrcfile, of what tests write

SHAPE = (30, 40, 50)
CENTRES = [(x, y, z) for z, y, x in itertools.product((9, 21), (9, 20, 31), (10, 24, 38))]
RADIUS = 30.0


def blobs(width=2.0, sign=1, shape=SHAPE) -> np.ndarray:
    """Particles of about 30 Å, at 10 Å per voxel, in faint noise."""
    grid = np.moveaxis(np.indices(shape), 0, -1)[..., ::-1]
    volume = noise(shape) * 0.05
    for centre in CENTRES:
        volume += sign * np.exp(-np.square(grid - centre).sum(axis=-1) / (2 * width**2)).astype(np.float32)
    return volume


@pytest.fixture
def tomogram(tmp_path: Path) -> Path:
    return write_mrc(tmp_path / "in" / "one.mrc", blobs())


def xyz(file: Path) -> np.ndarray:
    if file.suffix == ".csv":
        return pd.read_csv(file)[["x", "y", "z"]].to_numpy()
    particles = starfile.read(file)["particles"]
    return particles[["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]].to_numpy()


@pytest.mark.parametrize("size", [("--radius", 30), ("--diameter", 60)])
def test_every_particle_and_nothing_else(tomogram, tmp_path, size) -> None:
    before = state(tomogram.parent)
    output = ok("pick", tomogram, *size, "--output", tmp_path / "picks.star")
    assert f"{len(CENTRES)} picks" in output
    assert "density bright" in output
    for ending in ("star", "csv"):
        found = xyz(tmp_path / f"picks.{ending}")
        assert sorted(map(tuple, found.astype(int).tolist())) == sorted(CENTRES)
    assert state(tomogram.parent) == before


def test_star_tells_tomogram_voxel_size_and_merit_best_first(tomogram, tmp_path) -> None:
    ok("pick", tomogram, "--radius", RADIUS, "--output", tmp_path / "picks.star")
    content = starfile.read(tmp_path / "picks.star", always_dict=True)
    optics, particles = content["optics"], content["particles"]
    assert optics["rlnImagePixelSize"].tolist() == [10.0]
    assert set(particles["rlnMicrographName"]) == {"one.mrc"}
    assert set(particles["rlnTomoName"]) == {"one"}
    assert set(particles["rlnOpticsGroup"]) == set(optics["rlnOpticsGroup"]) == {1}
    assert particles["rlnAutopickFigureOfMerit"].is_monotonic_decreasing
    table = pd.read_csv(tmp_path / "picks.csv")
    assert list(table) == ["tomogram", "x", "y", "z", "score", "dog", "cc", "voxel_size", "contrast"]
    assert table["score"].equals(table["dog"])
    assert table["cc"].isna().all()


@pytest.mark.parametrize(("sign", "contrast"), [(1, "bright"), (-1, "dark")])
@pytest.mark.parametrize("said", [False, True])
def test_contrast_found_out_or_said(tmp_path, sign, contrast, said) -> None:
    file = write_mrc(tmp_path / "t.mrc", blobs(sign=sign))
    output = ok(
        "pick", file, "--radius", RADIUS, "--output", tmp_path / "p.star", *(["--contrast", contrast] if said else [])
    )
    assert f"density {contrast}" in output
    assert "warning" not in output
    assert sorted(map(tuple, xyz(tmp_path / "p.star").astype(int).tolist())) == sorted(CENTRES)


def test_what_the_user_says_of_contrast_is_taken(tomogram, tmp_path) -> None:
    """Bright blobs have dark rings; looked for as dark particles, those are what is found."""
    ok("pick", tomogram, "--radius", RADIUS, "--contrast", "dark", "--output", tmp_path / "p.star")
    distances = np.linalg.norm(xyz(tmp_path / "p.star")[:, None] - np.array(CENTRES), axis=-1).min(axis=1)
    assert distances.min() > 2


def test_noise_is_not_certain(tmp_path) -> None:
    file = write_mrc(tmp_path / "noise.mrc", noise((40, 60, 60)))
    output = ok("pick", file, "--radius", 20, "--output", tmp_path / "p.star")
    assert "warning   noise.mrc: whether density is bright or dark is not certain" in output
    assert "--contrast" in output


def test_threshold_top_margin_and_distance(tomogram, tmp_path) -> None:
    def picked(*options) -> pd.DataFrame:
        ok("pick", tomogram, "--radius", RADIUS, "--output", tmp_path / "p.star", "--overwrite", *options)
        return pd.read_csv(tmp_path / "p.csv")

    everything = picked()
    assert picked("--top", 5).equals(everything.head(5))
    assert len(picked("--threshold", -1)) > len(everything)
    assert picked("--threshold", everything["dog"].iloc[9])["dog"].min() >= everything["dog"].iloc[9]
    assert len(picked("--margin", 8)) == len(CENTRES)
    inside = picked("--margin", 9)  # the faces are at 0 and 29 (z), 39 (y), 49 (x)
    assert (set(inside["z"]), set(inside["y"]), len(inside)) == ({9}, {9, 20}, 6)
    apart = picked("--distance", 130)[["x", "y", "z"]].to_numpy()
    assert 2 <= len(apart) < len(CENTRES)
    assert scipy.spatial.distance.pdist(apart).min() >= 13


def test_voxel_size_of_the_user_overrules_the_file(tmp_path) -> None:
    file = write_mrc(tmp_path / "t.mrc", blobs(), voxel_size=None)
    ok("pick", file, "--radius", RADIUS / 2, "--voxel-size", 5, "--output", tmp_path / "p.star")
    assert sorted(map(tuple, xyz(tmp_path / "p.star").astype(int).tolist())) == sorted(CENTRES)
    assert starfile.read(tmp_path / "p.star")["optics"]["rlnImagePixelSize"].tolist() == [5.0]


TABLE = '[tomograms]\npath = "in"\n'


@pytest.mark.parametrize(
    ("before", "options"),
    [
        ("", []),
        (TABLE, []),
        (TABLE + "voxel_size = 5", []),
        (TABLE + "voxel_size = 10", ["voxel_size=5.0"]),
        (TABLE + "voxel_size = 5\noverrule = false", ["voxel_size=5.0"]),
        (TABLE + 'contrast = "dark"\ntilt_axis = "x"', ["contrast=bright", "tilt_axis=y", "voxel_size=5.0"]),
    ],
)
def test_the_next_line_goes_on_with_what_was_told_against_files_and_project(
    tomogram, tmp_path, monkeypatch, before, options
) -> None:
    monkeypatch.chdir(tmp_path)
    if before:
        Path("cryoreg.toml").write_text(before)
    told = ("--radius", RADIUS / 2, "--voxel-size", 5, "--contrast", "bright", "--tilt-axis", "y")
    picked = ok("pick", "in", *told)
    facts = Project.read(Path("cryoreg.toml")).tomograms
    assert facts.overrule == (not options)
    following = shlex.split(next(line for line in picked.splitlines() if line.startswith("next ")))[2:]
    assert [word.removeprefix("dataset.") for word in following if word.startswith("dataset.")] == options
    extracted = ok(*following)
    seen = json.loads(cli("inspect", "particles.h5", "--json").stdout)
    assert (seen["voxel_size"], seen["contrast"], seen["tilt_axis"]) == (5.0, "bright", "y")
    if not options:
        assert "voxel size 5 Å, density bright, tilt axis y from cryoreg.toml" in extracted
        assert json.loads(cli("inspect", "picks.star", "--json").stdout)["voxel_size"] == 5


def test_headers_that_agree_are_not_overruled(tomogram, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    picked = ok("pick", "in", "--radius", RADIUS, "--voxel-size", 10)
    facts = Project.read(Path("cryoreg.toml")).tomograms
    assert (facts.voxel_size, facts.overrule) == (10.0, False)
    assert "--set" not in picked


def test_subvoxel(tmp_path) -> None:
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)[..., ::-1]
    centre = (20.3, 19.8, 14.4)
    volume = noise(SHAPE) * 1e-3 + np.exp(-np.square(grid - centre).sum(axis=-1) / 18).astype(np.float32)
    file = write_mrc(tmp_path / "t.mrc", volume)
    ok("pick", file, "--radius", 50, "--top", 1, "--subvoxel", "--output", tmp_path / "p.star")
    np.testing.assert_allclose(xyz(tmp_path / "p.star"), [centre], atol=0.05)


def test_several_tomograms_make_one_list(tmp_path) -> None:
    write_mrc(tmp_path / "in" / "b.mrc", blobs(), voxel_size=10)
    write_mrc(tmp_path / "in" / "a b é.rec", blobs(sign=-1), voxel_size=12)
    write_mrc(tmp_path / "in" / "notes.txt", noise())
    output = ok(
        "pick", tmp_path / "in", "--radius", RADIUS, "--output", tmp_path / "p.star", "--picture", tmp_path / "p.png"
    )
    assert "a b é.rec" in output
    assert f"total     {2 * len(CENTRES)} picks in 2 tomograms" in output
    content = starfile.read(tmp_path / "p.star")
    per_group = content["particles"].groupby("rlnMicrographName")["rlnOpticsGroup"].unique()
    assert per_group.index.tolist() == ["a b é.rec", "b.mrc"]
    sizes = content["optics"].set_index("rlnOpticsGroup")["rlnImagePixelSize"]
    assert [sizes[group[0]] for group in per_group] == [12.0, 10.0]
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > picture.height


def test_titles_of_the_picture_are_not_cut(tmp_path) -> None:
    files = [write_mrc(tmp_path / f"{name}.mrc", blobs(shape=(30, 50, 50)), voxel_size=10) for name in "ab"]
    ok("pick", *files, "--radius", RADIUS, "--output", tmp_path / "p.star", "--picture", tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert np.asarray(picture.convert("L"))[:4].min() == 255


def test_an_empty_tomogram_among_others_is_no_error(tmp_path) -> None:
    files = [write_mrc(tmp_path / "full.mrc", blobs()), write_mrc(tmp_path / "noise.mrc", noise(SHAPE))]
    output = ok(
        "pick", *files, "--radius", RADIUS, "--threshold", 5, "--contrast", "bright", "--output", tmp_path / "p.star"
    )
    assert "noise.mrc  0 picks" in output
    assert "total" in output


@pytest.fixture
def template(tmp_path) -> Path:
    """A blob of the same size in half the voxel size, on a background that is not 0."""
    grid = np.square(np.indices((24, 24, 24)) - 12).sum(axis=0)
    return write_mrc(tmp_path / "map.mrc", 5 + np.exp(-grid / (2 * 4.0**2)).astype(np.float32), voxel_size=5)


@pytest.mark.parametrize("sign", [1, -1])
def test_template_ranks_by_correlation(tmp_path, template, sign) -> None:
    """Spikes stand higher than particles in the filter, but do not look like them."""
    volume = blobs(sign=sign)
    spikes = [(17, 15, 15), (31, 26, 15), (17, 26, 15)]
    for x, y, z in spikes:
        volume[z, y, x] += sign * 60
    file = write_mrc(tmp_path / "in" / "t.mrc", volume)
    options = (file, "--radius", RADIUS, "--margin", 4, "--overwrite", "--output", tmp_path / "p.star")
    ok("pick", *options, "--top", 3)
    assert sorted(map(tuple, xyz(tmp_path / "p.star").astype(int).tolist())) == sorted(spikes)
    output = ok("pick", *options, "--template", template, "--rotations", 5, "--top", len(CENTRES))
    assert "correlation" in output
    assert sorted(map(tuple, xyz(tmp_path / "p.star").astype(int).tolist())) == sorted(CENTRES)
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["cc"].min() > 0.8
    assert table["score"].equals(table["cc"])
    assert pd.read_csv(tmp_path / "p.csv")["cc"].is_monotonic_decreasing
    ok("pick", *options, "--template", template, "--rotations", 5, "--min-cc", 0.8)
    assert len(xyz(tmp_path / "p.csv")) == len(CENTRES)


@pytest.mark.slow
def test_ome_zarr_is_picked_as_mrc_is(tomogram, tmp_path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "in" / "one_as.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=blobs(), chunks=(8, 8, 8))
    scale = [{"type": "scale", "scale": [10.0, 10.0, 10.0]}]
    axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]
    ok("pick", tomogram.parent, "--radius", RADIUS, "--output", tmp_path / "p.star")
    rows = pd.read_csv(tmp_path / "p.csv")
    mrc, ome = (rows[rows["tomogram"] == name].drop(columns="tomogram") for name in ("in/one.mrc", "in/one_as.zarr"))
    assert len(mrc) == len(CENTRES)
    ok("pick", tomogram.parent / "one_as.zarr" / "0", "--radius", RADIUS, "--output", tmp_path / "level.star")
    assert set(starfile.read(tmp_path / "level.star")["particles"]["rlnMicrographName"]) == {"one_as.zarr/0"}
    output = ("--output", tmp_path / "set.h5", "--box", 8, "--tomograms", tomogram.parent)
    assert cli("extract", "--data", tmp_path / "level.star", *output).exit_code == 0
    assert set(pd.read_csv(tmp_path / "level.csv")["tomogram"]) == {"in/one_as.zarr/0"}
    ok("pick", tomogram.parent / "one_as.zarr" / "0", "--radius", RADIUS, "--output", tomogram.parent / "beside.star")
    assert set(pd.read_csv(tomogram.parent / "beside.csv")["tomogram"]) == {f"{tomogram.parent}/one_as.zarr/0"}
    for listed in (tmp_path / "level.csv", tomogram.parent / "beside.csv"):
        assert len(TomogramParticles(listed, box=8)) == len(CENTRES)
    pd.testing.assert_frame_equal(mrc.reset_index(drop=True), ome.reset_index(drop=True))


BAD = {
    "no size": (["one.mrc"], "give the size of the particles"),
    "both sizes": (["one.mrc", "--radius", "30", "--diameter", "60"], "give the size of the particles"),
    "radius 0": (["one.mrc", "--radius", "0"], "--radius"),
    "radius nan": (["one.mrc", "--radius", "nan"], "one.mrc: a radius of nan Å is less than one voxel"),
    "radius tiny": (["one.mrc", "--radius", "9"], "one.mrc: a radius of 9 Å is less than one voxel of 10 Å"),
    "radius huge": (["one.mrc", "--radius", "151"], "one.mrc: particles of radius 151 Å are 30.2 voxels wide"),
    "no voxel size": (["unknown.mrc", "--radius", "30"], "unknown.mrc: has no voxel size; say --voxel-size"),
    "voxels no cubes": (["oblong.mrc", "--radius", "30"], "or overrule with --voxel-size <Å>"),
    "constant": (["constant.mrc", "--radius", "30"], "constant.mrc: is constant (every voxel is 7)"),
    "nan": (["nan.mrc", "--radius", "30"], "nan.mrc"),
    "missing": (["nowhere.mrc", "--radius", "30"], "nowhere.mrc: does not exist"),
    "empty folder": (["empty", "--radius", "30"], "empty: holds no tomogram"),
    "one name": (["one.mrc", "copy/one.mrc", "--radius", "30"], "are both called 'one'"),
    "no peaks": (["one.mrc", "--radius", "30", "--threshold", "99"], "one.mrc: no peaks above threshold 99"),
    "min cc": (
        ["one.mrc", "--radius", "30", "--template", "map.mrc", "--rotations", "2", "--min-cc", "1"],
        "one.mrc: no picks correlate with the template by 1; lower --min-cc",
    ),
    "no template": (["one.mrc", "--radius", "30", "--template", "gone.mrc"], "gone.mrc: does not exist"),
    "big template": (["one.mrc", "--radius", "30", "--template", "big.mrc"], "big.mrc: the template is 40×40×40"),
    "sizeless template": (["one.mrc", "--radius", "30", "--template", "unknown.mrc"], "unknown.mrc: the template has"),
    "tilt range": (["one.mrc", "--radius", "30", "--tilt-range", "60", "-60"], "--tilt-range 60 -60"),
    "list exists": (
        ["one.mrc", "--radius", "30", "--output", "old.star"],
        "old.star: exists already; choose another name",
    ),
    "csv exists": (
        ["one.mrc", "--radius", "30", "--output", "lone.star"],
        "lone.csv: exists already; choose another name",
    ),
    "picture exists": (
        ["one.mrc", "--radius", "30", "--picture", "old.star"],
        "old.star: exists already; choose another name",
    ),
    "output ending": (["one.mrc", "--radius", "30", "--output", "picks.txt"], "picks.txt: must end in .star"),
    "no folder": (["one.mrc", "--radius", "30", "--output", "no/picks.star"], "there is no folder"),
}


@pytest.fixture
def workplace(tmp_path, tomogram, template, monkeypatch) -> Path:
    folder = tmp_path / "in"
    shutil.move(template, folder / "map.mrc")
    (folder / "copy").mkdir()
    shutil.copy(tomogram, folder / "copy")
    (folder / "empty").mkdir()
    write_mrc(folder / "unknown.mrc", blobs(), voxel_size=None)
    write_mrc(folder / "constant.mrc", np.full(SHAPE, 7, np.float32))
    write_mrc(folder / "big.mrc", noise((40, 40, 40)))
    write_mrc(folder / "oblong.mrc", blobs(), voxel_size=(10.0, 10.0, 20.0))
    broken = blobs()
    broken[20, 20, 20] = np.nan
    write_mrc(folder / "nan.mrc", broken)
    (folder / "old.star").write_text("precious")
    (folder / "lone.csv").write_text("precious")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(workplace, name) -> None:
    arguments, message = BAD[name]
    before = state(workplace)
    result = cli("pick", *arguments)
    assert result.exit_code in (1, 2), result.output
    assert message in result.output
    if result.exit_code == 1:
        assert len(result.output.strip().splitlines()) == 1
    assert state(workplace) == before


def test_overwrite_replaces_the_lists(workplace) -> None:
    ok("pick", "one.mrc", "--radius", RADIUS, "--output", "old.star", "--overwrite")
    assert len(xyz(workplace / "old.star")) == len(CENTRES)


def test_a_full_disk_leaves_the_old_list(workplace, small_files_only) -> None:
    small_files_only(100)
    result = cli("pick", "one.mrc", "--radius", RADIUS, "--output", "old.star", "--overwrite")
    small_files_only(None)
    assert result.exit_code == 1
    assert "cannot write old.star" in result.output
    assert (workplace / "old.star").read_text() == "precious"


def test_microtubule(shared_data, tmp_path) -> None:
    """The wall of a 13-protofilament microtubule: a tube of radius 109 Å whose axis was fitted to the density."""
    output = ok(
        "pick", shared_data / "real" / "13pf_MT.tif", "--voxel-size", 10.52, "--radius", 25, "--margin", 2,
        "--top", 200, "--output", tmp_path / "p.star",
    )  # fmt: skip
    assert "density bright (skewness +" in output
    assert "warning" not in output
    along = np.array([-0.3187, 1, 0.0062]) / np.linalg.norm([-0.3187, 1, 0.0062])
    from_axis = xyz(tmp_path / "p.csv") - [84.5, 0, 16.7]
    distance = np.linalg.norm(from_axis - np.outer(from_axis @ along, along), axis=1)
    on_wall = np.abs(distance - 10.4) < 2.5
    assert len(on_wall) == 200
    assert on_wall.mean() > 0.6  # the wall takes 10 % of the volume


@pytest.mark.parametrize("name", ["O'Brien #1.mrc", "=cmd (1).mrc", "-x.mrc", "two words.mrc", "'=x.mrc", "a#b.mrc"])
def test_a_strange_name_comes_back_from_both_lists(tmp_path, tomogram, monkeypatch, name) -> None:
    """In the CSV file it is no formula for a spreadsheet, as its folder stands before it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strange").mkdir()
    shutil.copy(tomogram, tmp_path / "strange" / name)
    ok("pick", "strange", "--radius", RADIUS, "--output", "picks.star")
    with open("picks.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["tomogram"] for row in rows} == {f"strange/{name}"}
    particles = gemmi.cif.read("picks.star")["particles"]
    assert {row.str(0) for row in particles.find(["_rlnMicrographName"])} == {name}
    assert set(read_particle_list("picks.star").tomograms) == {name.removesuffix(".mrc")}
    assert set(read_particle_list("picks.csv").tomograms) == {f"strange/{name}"}
    for listed in ("picks.star", "picks.csv"):
        words = ("--data", listed, "--tomograms", "strange", "--box", 8, "--output", f"{listed}.h5")
        result = cli("extract", *words)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("ending", ["star", "csv"])
@pytest.mark.parametrize("place", ["a", "lists", "."])
def test_lists_lead_to_their_tomograms_from_any_folder(tmp_path, monkeypatch, place, ending) -> None:
    """Of two tomograms of one name, each list has its own, and both have both once they are merged."""
    monkeypatch.chdir(tmp_path)
    Path(place).mkdir(exist_ok=True)
    lists = [Path(place, f"{folder}.{ending}") for folder in "ab"]
    for number, path in enumerate(lists):
        image = write_coded(Path(path.stem, "TS_01.mrc"), number)
        places, ones = np.array([[10.0 + number, 12, 14]]), np.ones(1, dtype=np.float32)
        picks = Picks(image, SHAPE, 10.0, Verdict("bright", True, 9.0), places, ones, None, 1.0)
        write_lists([picks], path.with_suffix(".star"), path.with_suffix(".csv"))
    both = Path(place, f"both.{ending}")
    ok("select", lists[0], "--merge", lists[1], "--output", both)
    monkeypatch.chdir("/")
    expected = [(0, (10, 12, 14)), (1, (11, 12, 14))]
    assert [centres(tmp_path / path) for path in lists] == [[each] for each in expected]
    assert centres(tmp_path / both) == expected
    moved = tmp_path / "elsewhere" / f"kept.{ending}"
    moved.parent.mkdir()
    ok("select", tmp_path / lists[1], "--output", moved)
    if place != "." or ending == "star":
        assert centres(moved) == expected[1:]


def test_a_name_that_no_list_can_hold_is_refused_before_the_work(tmp_path, tomogram, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strange").mkdir()
    shutil.copy(tomogram, tmp_path / "strange" / "two\nlines.mrc")
    result = cli("pick", "strange", "--radius", RADIUS, "--output", "picks.star")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "STAR file cannot hold" in result.output
    assert not list(tmp_path.glob("picks*"))
