"""README.md: its path from tomograms to classes connects, typed from top to bottom; every other line parses."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import click
import mrcfile
import numpy as np
import pytest
import starfile
from click.core import ParameterSource
from support.console_blocks import Command, check, steps_of
from support.mrc_writing import write_mrc

from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.tomogram import simulate_tomogram
from cryoreg_cli.main import cryoreg

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
SECTIONS = {
    heading: [step for step in steps_of(text, heading) if isinstance(step, Command)]
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, flags=re.MULTILINE | re.DOTALL)
}
PATH = SECTIONS["From tomograms to classes"]
TYPED = PATH[1 : 1 + next(place for place, step in enumerate(PATH[1:]) if "preview" in step.text)]
"""From `pick` to `average`; before it stands the installation, behind it an encoder of one's own, which takes long."""
CLASSES = ("ribosome", "proteasome")
NEAR = 4
"""Voxels of 20 Å."""


Truth = tuple[np.ndarray, np.ndarray]
"""Where the particles of a tomogram are, x, y, z in voxels, and which they are."""


def words_of(step: Command) -> list[str]:
    return shlex.split(step.text, comments=True)


LINES = [step for steps in SECTIONS.values() for step in steps if words_of(step)[0] == "cryoreg" and words_of(step)[2:]]


@pytest.mark.parametrize("step", LINES, ids=lambda step: step.text.partition(" #")[0])
def test_every_line_parses(step: Command) -> None:
    """Every option is one of its command, by its name of today."""
    command: click.Command = cryoreg
    _, *words = words_of(step)
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0)) or pytest.fail(step.text)
    context = command.make_context(str(command.name), list(words))
    told = [p for p in command.params if context.get_parameter_source(str(p.name)) is ParameterSource.COMMANDLINE]
    assert told
    assert {word for word in words if word.startswith("--")} <= {name for p in told for name in p.opts}


def test_the_path_names_what_an_earlier_line_has_written() -> None:
    """Files and runs, in the order of the lines; tomograms are the reader's, and labels.csv is what `label` writes."""
    there = {"tomograms/", "rb3d_universe"}
    for step in PATH[1:]:
        _, name, *words = words_of(step)
        read = {word for word in words if re.search(r"[/.]", word) and not re.fullmatch(r"[\d.]+", word)}
        made = {words[words.index(option) + 1] for option in ("--output", "--montage", "--run-dir") if option in words}
        assert read - made <= there, step.text
        there |= made | ({"labels.csv"} if name == "label" else set())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    """Return a folder in which every line of the path has been typed, the page of labels excepted, and the truth."""
    folder = tmp_path_factory.mktemp("project")
    truth = [tomogram(folder / "tomograms" / f"TS_0{seed + 1}.mrc", seed) for seed in range(2)]
    for step in TYPED:
        if step.text.startswith("cryoreg label "):
            label(folder, truth)
        else:
            check(step, folder)
    return folder, truth


def tomogram(path: Path, seed: int) -> Truth:
    """Write a tomogram of two structures; return where they are, x, y, z in voxels, and which."""
    scene = SceneSettings(box=16, voxel_size=20, snr=2)
    bodies = [make_assemblies(0)[index] for index in (0, 9)]
    volume, positions, labels, _ = simulate_tomogram(bodies, (28, 96, 96), 26, scene, seed)
    write_mrc(path, volume, voxel_size=20)
    return positions, labels


def nearest(row: object, truth: Truth) -> str | None:
    """Return the class of the particle at a row's coordinates, if one is there."""
    away = np.linalg.norm(truth[0] - [getattr(row, f"rlnCoordinate{axis}") for axis in "XYZ"], axis=1)
    return CLASSES[truth[1][away.argmin()]] if away.min() < NEAR else None


def label(folder: Path, truth: list[Truth]) -> None:
    """Write what the page writes as a person labels every second particle."""
    rows = list(starfile.read(folder / "picks.star")["particles"].itertuples())
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "class", "when", "source"])
        for place, row in enumerate(rows[::2]):
            said = nearest(row, truth[int(row.rlnTomoName[-1]) - 1])
            if said:
                table.writerow([f"{row.rlnTomoName}/{2 * place}", said, "2026-01-01T00:00:00Z", "one by one"])


@pytest.mark.slow
def test_the_path_leads_from_tomograms_to_classes(project: tuple[Path, list[Truth]]) -> None:
    """Two structures of 452 and 610 kDa, nearly without noise, half of them labelled.

    By chance half of about 40 would be right, with a standard deviation of 8 %.
    """
    folder, truth = project
    found = starfile.read(folder / "classes.star")["particles"]
    meant = [nearest(row, truth[int(row.rlnTomoName[-1]) - 1]) for row in found.itertuples()]
    right = [said == known for said, known in zip(found["cryoregClassName"], meant, strict=True) if known]
    assert len(right) > 0.8 * len(found)
    assert np.mean(right) > 0.74
    chosen = starfile.read(folder / "ribosomes.star")["particles"]
    assert set(chosen["cryoregClassName"]) == {"ribosome"}
    with mrcfile.open(folder / "ribosome.mrc") as file:
        assert float(file.voxel_size.x) == 20
    for name in ("clusters.png", "ribosome.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (folder / "runs" / "few" / "report.html").read_text("utf-8")
