"""Particle series of Warp 1 and M 1, a row for each tilt image: a known density comes back, and no other way."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from click.testing import CliRunner
from support.tilt_stacks import DECAY, EDGE, PIXEL, TILTS, Made, write_rows

from cryoreg.analysis.averaging.class_average import members
from cryoreg.config.sniffing import choose
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.label_lists import with_labels
from cryoreg.datasets.list_specs import TiltStackSpec
from cryoreg.datasets.readers.tilt_images import TiltImages
from cryoreg.errors import DataError
from cryoreg.inference.given_classes import as_predictions
from cryoreg.inference.writers import prepare_writer
from cryoreg.predictions import Predictions
from cryoreg_cli.main import cryoreg

ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_rows(tmp_path_factory.mktemp("series"), particles=3)


def changed(made: Made, folder: Path, change: Callable[[pd.DataFrame], object]) -> Path:
    """Return a list beside another folder, changed, of the same images."""
    table = starfile.read(made.path)
    change(table)
    table["rlnImageName"] = table["rlnImageName"].str.replace("@", f"@{made.path.parent}/")
    starfile.write({"": table}, folder / "changed.star", float_format="%.5f")
    return folder / "changed.star"


def likeness(path: Path, density: np.ndarray, index: int = 0) -> float:
    """Return how far a reconstruction agrees with what of the density its own weight lets pass."""
    sample = TiltImages(path, wiener=0.01)[index]
    assert sample.weight is not None
    expected = np.fft.irfftn(np.fft.rfftn(density) * sample.weight[0].numpy(), s=(EDGE,) * 3)
    inside = (slice(6, 26),) * 3
    return float(np.corrcoef(sample.volume[0].numpy()[inside].ravel(), expected[inside].ravel())[0, 1])


def test_density_comes_back_in_the_frame_of_the_tomogram(series: Made) -> None:
    """Whatever the particle's pose, which angles hold together with the tilts."""
    assert [likeness(series.path, series.density, index) > 0.97 for index in range(3)] == [True] * 3


def test_without_cosines_the_beam_is_in_the_middle(tmp_path: Path) -> None:
    made = write_rows(tmp_path / "set", weighted=False)
    assert likeness(made.path, made.density) > 0.97
    assert "rlnCtfScalefactor is no cosine" in TiltImages(made.path).notes[0]


def negated(table: pd.DataFrame, columns: list[str]) -> None:
    table[columns] = -table[columns]


def opposite_tilts(table: pd.DataFrame) -> None:
    """Give the image at each tilt the angles of the one at the opposite tilt."""
    for _, rows in table.groupby("rlnGroupName"):
        seen = {name: row for row, name in zip(rows.index, rows["rlnMicrographName"], strict=True)}
        last = len(TILTS) - 1
        other = [seen[f"TS_01_{last - int(name[6:9]):03d}.mrc"] for name in rows["rlnMicrographName"]]
        table.loc[rows.index, ANGLES] = rows.loc[other, ANGLES].to_numpy()


MUTATIONS: dict[str, Callable[[pd.DataFrame], object]] = {
    "transposed": lambda table: table.__setitem__(
        ANGLES, np.stack([-table[ANGLES[2]], -table[ANGLES[1]], -table[ANGLES[0]]], axis=1)
    ),
    "order of axes": lambda table: table.__setitem__(ANGLES, table[ANGLES[::-1]].to_numpy()),
    "sign of the tilt": opposite_tilts,
    "hand": lambda table: negated(table, [ANGLES[0], ANGLES[2]]),
    "sign of psi": lambda table: negated(table, [ANGLES[2]]),
    "order of images": lambda table: table.__setitem__("rlnImageName", table["rlnImageName"].to_numpy()[::-1]),
    "defocus": lambda table: table.__setitem__(["rlnDefocusU", "rlnDefocusV"], 12500.0),
    "phase shift": lambda table: table.__setitem__("rlnPhaseShift", 90.0),
    "astigmatism": lambda table: table.__setitem__("rlnDefocusV", table["rlnDefocusV"] + 2500.0),
    "multiplied": lambda table: table.__setitem__("rlnCtfDataAreCtfPremultiplied", 1),
}


UNTRUE = ("transposed", "order of axes")
"""Angles that no tilt series has: these are refused."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_convention_does_not_pass(name: str, series: Made, tmp_path: Path) -> None:
    path = changed(series, tmp_path, MUTATIONS[name])
    if name in UNTRUE:
        with pytest.raises(DataError, match="no tilt series"):
            TiltImages(path)
    else:
        assert likeness(path, series.density) < likeness(series.path, series.density) - 0.03


def test_decay_is_heeded_whatever_its_sign(series: Made, tmp_path: Path) -> None:
    """Warp writes it with a minus, RELION without: images lose what they lose."""

    def turn(table: pd.DataFrame) -> None:
        table["rlnCtfBfactor"] = -table["rlnCtfBfactor"]

    one, other = (TiltImages(path)[0].weight for path in (series.path, changed(series, tmp_path, turn)))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.numpy(), other.numpy())
    most = 2.0 * (len(TILTS) - 1) * DECAY
    assert TiltImages(series.path)._known.series(0).b_factor.max() == most


def test_what_is_known_of_it(series: Made) -> None:
    dataset = TiltStackSpec(root=series.path, label="rlnRandomSubset").load()
    assert choose(series.path).name == "tilt_stack"
    assert (len(dataset), dataset.box, dataset.voxel_size) == (3, (EDGE,) * 3, PIXEL)
    assert [*dataset.ids] == [f"TS_01_{number:07d}" for number in range(3)]
    assert [*dataset.groups] == ["TS_01"] * 3
    assert (dataset.tilt_axis, dataset.tilt_range, dataset.contrast) == ("y", (-60.0, 60.0), "bright")
    assert [dataset.classes[label] for label in dataset.labels if label is not None] == ["1", "2", "1"]
    assert [dataset.origin(index).row for index in range(3)] == [0, 31, 62]
    inner = TiltImages(series.path)
    assert len(set(inner._known.geometries)) == 1, "one tilt series has one geometry"
    again = pickle.loads(pickle.dumps(inner))
    np.testing.assert_array_equal(again[2].volume.numpy(), inner[2].volume.numpy())


def drop(column: str) -> Callable[[pd.DataFrame], object]:
    return lambda table: table.drop(columns=column, inplace=True)


def put(column: str, value: object, rows: slice = slice(None)) -> Callable[[pd.DataFrame], object]:
    def act(table: pd.DataFrame) -> None:
        if column not in table:
            table[column] = 0.0
        table.loc[table.index[rows], column] = value

    return act


FAULTS: dict[str, tuple[Callable[[pd.DataFrame], object], str]] = {
    "microscope": (drop("rlnVoltage"), "has no column rlnVoltage"),
    "few": (put("rlnGroupName", "TS_01_0000009", slice(0, 2)), r"2 images of 'TS_01_0000009' \(rlnGroupName\), not 3"),
    "turns": (put("rlnAngleRot", 17.0, slice(0, 60, 2)), r"'TS_01_0000000' \(rlnGroupName\) that are no tilt series"),
    "origin": (put("rlnOriginX", 3.0, slice(4, 5)), r"shifts tilt images \(rlnOriginX\)"),
    "growth": (put("rlnCtfBfactor", 5.0, slice(4, 5)), "rlnCtfBfactor from -240 to 5"),
    "class": (put("rlnRandomSubset", 2, slice(4, 5)), "different classes in the rows of 'TS_01_0000000'"),
    "stack": (
        put("rlnImageName", "001@particleseries/TS_01_0000001_4.00A.mrcs.other", slice(4, 5)),
        "which is neither in its folder|no file|images of",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_line_names_file_and_column(name: str, series: Made, tmp_path: Path) -> None:
    change, message = FAULTS[name]
    path = changed(series, tmp_path, change)
    with pytest.raises(DataError, match=message) as caught:
        TiltStackSpec(root=path, label="rlnRandomSubset").load()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_settings_of_other_dialects_are_refused(series: Made) -> None:
    with pytest.raises(DataError, match=r"leave out dataset\.coordinate_size"):
        TiltStackSpec(root=series.path, coordinate_size=2.0).load()


# ---- back into Warp and M ----


def classified(dataset: Subtomograms, classes: list[int]) -> Predictions:
    return as_predictions(dataset, range(len(dataset)), ("26S", "80S"), classes)


@pytest.fixture(scope="module")
def listed(series: Made) -> Path:
    """The series with classes, as `predict` writes it."""
    path = series.path.with_name("listed.star")
    dataset = TiltStackSpec(root=series.path).load()
    path.write_bytes(prepare_writer(path, None, dataset, ("26S", "80S"))(classified(dataset, [1, 0, 1])))
    return path


def test_all_rows_of_a_particle_get_its_class(series: Made, listed: Path) -> None:
    before, after = starfile.read(series.path), starfile.read(listed)
    pd.testing.assert_frame_equal(after[list(before.columns)], before)
    names = after.groupby("rlnGroupName")["cryoregClassName"].agg(["unique", "size"])
    assert [list(each) for each in names["unique"]] == [["80S"], ["26S"], ["80S"]]
    assert [*names["size"]] == [len(TILTS)] * 3


def select(*words: object) -> str:
    result = CliRunner().invoke(cryoreg, ["select", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def test_particles_are_chosen_with_all_their_rows(listed: Path, tmp_path: Path) -> None:
    output = tmp_path / "chosen.star"
    told = select(listed, "--class", "80S", "--output", output)
    lines = listed.read_text().splitlines(keepends=True)
    assert output.read_text() == "".join(line for line in lines if "TS_01_0000001" not in line)
    assert re.search(r"80S\W+2\W+2\b", told), "particles are counted, not images"
    for words, left in ((["--ids", "TS_01_0000001"], 1), (["--per-tomogram", "2"], 2), (["--tomogram", "TS_01"], 3)):
        select(listed, *words, "--overwrite", "--output", output)
        assert starfile.read(output)["rlnGroupName"].nunique() == left


def test_labels_of_a_series_are_those_of_its_particles(series: Made, listed: Path) -> None:
    dataset = TiltStackSpec(root=series.path).load()
    labelled = with_labels(dataset, listed)
    assert [labelled.classes[label] for label in labelled.labels if label is not None] == ["80S", "26S", "80S"]
    assert members(dataset, "80S", listed) == [0, 2]
    assert members(TiltStackSpec(root=listed).load(), "26S", listed) == [1]
