"""What lists that `pick` writes say of tomograms: of all of them, of some, or of each another thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.particle_writing import XYZ, coordinates, write_star
from support.tomograms import write_tomogram

from cryoreg.analysis.averaging.class_average import _tilts
from cryoreg.datasets.inspection import inspect
from cryoreg.datasets.list_specs import TomogramSpec
from cryoreg.errors import DataError


def picks(folder: Path, tomograms: str = "tomograms", **said: list[str]) -> TomogramSpec:
    """Two particles in each of two tomograms, of which a column says one thing each."""
    for number in (1, 2):
        write_tomogram(folder / "tomograms" / f"TS_0{number}.mrc")
        write_tomogram(folder / "denoised" / f"TS_0{number}.mrc")
    names = ["TS_01", "TS_01", "TS_02", "TS_02"]
    files = [f"tomograms/{name}.mrc" for name in names]
    columns = {column: [values[0], values[0], values[1], values[1]] for column, values in said.items()}
    known = {"rlnTomoName": names, "cryoregTomogramFile": files}
    path = write_star(folder / "picks.star", {**known, **coordinates(XYZ), **columns})
    return TomogramSpec(root=path, box=8, tomograms=folder / tomograms)


@pytest.mark.parametrize(
    ("column", "values", "setting", "one", "words"),
    [
        ("cryoregTiltAxis", ["x", "y"], "tilt_axis", "x", "tilts are about x in some tomograms and about y in others"),
        ("cryoregContrast", ["dark", "bright"], "contrast", "dark", "density is bright in some tomograms and dark in"),
    ],
)
def test_what_differs_between_tomograms_is_asked_for(column, values, setting, one, words, tmp_path: Path) -> None:
    spec = picks(tmp_path, **{column: values}).model_copy(update={"tomograms": None})
    with pytest.raises(DataError, match=f"{words}.*--set dataset.{setting}=<.*select --split tomogram"):
        spec.load()
    served = spec.model_copy(update={setting: one}).load()
    assert served.tilt_axis == (one if setting == "tilt_axis" else None)
    some = picks(tmp_path, **{column: [one, "unknown"]}).model_copy(update={"tomograms": None}).load()
    assert (some.tilt_axis, some.contrast) == (None, None)
    [note] = [note for note in some.notes if "in some of the tomograms" in note]
    assert note.endswith(f"and not known of others; where it is so in all, say --set dataset.{setting}={one}")


def test_of_other_files_the_tilts_are_those_of_the_list_and_the_contrast_is_not(tmp_path: Path) -> None:
    said = {"cryoregTiltAxis": ["x", "x"], "cryoregContrast": ["dark", "dark"]}
    tilts = {"cryoregTiltMin": [-50.0, -50.0], "cryoregTiltMax": [60.0, 60.0]}
    served = picks(tmp_path, "denoised", **said, **tilts).load()
    assert (served.tilt_axis, served.tilt_range, served.contrast) == ("x", (-50, 60), None)
    assert any("density is dark in the tomograms that it names, which is not taken" in note for note in served.notes)


def test_a_tilt_range_that_is_said_against_those_of_some_tomograms_is_told(tmp_path: Path) -> None:
    spec = picks(tmp_path, cryoregTiltMin=[-50.0, -60.0], cryoregTiltMax=[60.0, 60.0])
    assert [spec.load().origin(row).tilt_range for row in (0, 3)] == [(-50, 60), (-60, 60)]
    told = spec.model_copy(update={"tilt_range": (-60.0, 60.0)}).load()
    [note] = [note for note in told.notes if "overrules" in note]
    assert note == (
        "the data say that tilts of some subtomograms are from -50° to 60°, and dataset.tilt_range overrules it "
        "(-60° to 60°)"
    )
    assert told.origin(0).tilt_range == (-60, 60)


def test_inspect_says_the_tilt_ranges_of_each(tmp_path: Path) -> None:
    tilts = {"cryoregTiltMin": [-50.0, -60.0], "cryoregTiltMax": [60.0, 60.0], "cryoregTiltAxis": ["x", "x"]}
    found = inspect(picks(tmp_path, **tilts).load())
    assert found.facts()["tilts"] == "-60° to 60°, -50° to 60°, axis x"
    assert (found.tilt_range, found.tilt_ranges) == (None, {"-60° to 60°": 2, "-50° to 60°": 2})
    assert inspect(picks(tmp_path).load()).facts()["tilts"] == "range not known, axis not known"


@pytest.mark.parametrize("axis", [None, "y"])
def test_average_says_which_axis_it_takes_and_that_a_tilt_has_a_sign(axis: str | None, tmp_path: Path) -> None:
    spec = picks(tmp_path, cryoregTiltMin=[-50.0, -60.0], cryoregTiltMax=[60.0, 60.0])
    said: list[str] = []
    found = _tilts(spec.model_copy(update={"tilt_axis": axis}).load(), [0, 3], said.append)
    assert found.tolist() == [[-50, 60], [-60, 60]]
    assert ["the tilt axis is not known, and taken to be y" in line for line in said] == [True] * (not axis) + [False]
    assert said[-1].startswith("note: tilts from -50° to 60° are of one side more than of the other")
    assert said[-1].endswith("if it is the other, say --set dataset.tilt_range=[-60,50]")
