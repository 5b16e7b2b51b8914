"""From tomograms to predictions by typing what stands behind "next", as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import starfile
from support.command_line import ok
from support.mrc_writing import noise, write_mrc

from cryoreg.analysis.report.next_steps import steps
from cryoreg.labelling import opening
from cryoreg.labelling.session import Row, Session
from cryoreg_cli import next_steps

SHAPE = (28, 92, 92)
CENTRES = [(x, y, 14) for x in (14, 35, 56, 77) for y in (14, 35, 56, 77)]
"""x, y, z."""


def dark_blobs(file: Path, seed: int) -> None:
    """Dark particles, every second one twice as wide, in a tomogram that does not say its voxel size."""
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)[..., ::-1].astype(np.float32)
    volume = 0.3 * noise(SHAPE, seed)
    for number, centre in enumerate(CENTRES):
        width = 2.0 + 2 * (number % 2)
        volume -= 2 * np.exp(-np.square(grid - centre).sum(axis=-1) / (2 * width**2)).astype(np.float32)
    write_mrc(file, volume, voxel_size=None)


def typed(line: str, *more: str) -> str:
    """Run a command line; return all that it prints."""
    program, *words = shlex.split(line)
    assert program == "cryoreg"
    return ok(*words, *more)


def after(output: str) -> str:
    """Return the command behind "next"."""
    (line,) = [line for line in output.splitlines() if line.startswith("next")]
    return line.removeprefix("next").strip()


def by_size(session: Session, *_: object) -> None:
    """Label in place of a person: the row of the list says which of the two sizes it is."""
    picks = starfile.read("picks.star")["particles"]
    places = picks[["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]].to_numpy()
    numbers = [int(np.square(np.array(CENTRES) - place).sum(axis=1).argmin()) for place in places]
    session.label([Row(row, ("small", "large")[number % 2], "") for row, number in enumerate(numbers)], "person")


def test_next_lines_name_no_file_that_is_there(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_steps.after_evaluation(Path("my runs/a")) == "cryoreg predict 'my runs/a' --output classes.csv"
    for name in ("classes.csv", "clusters.png", "clusters_2.csv"):
        Path(name).touch()
    assert next_steps.after_evaluation(Path("a")) == "cryoreg predict a --output classes_2.csv"
    clusters = "cryoreg cluster a --output clusters_3.csv --montage clusters_3.png"
    assert next_steps.after_pretraining(Path("a"), labelled=False) == clusters


@pytest.mark.parametrize(
    ("classifies", "files", "named"),
    [
        (True, ["classes.star"], {"--output classes_2.star"}),
        (
            False,
            ["clusters.png", "runs/cross-validated"],
            {
                "--output clusters_2.csv --montage clusters_2.png",
                "--groups-from clusters_2.csv",
                "--run-dir runs/cross-validated_2",
            },
        ),
    ],
)
def test_a_report_s_next_commands_name_no_file_that_is_there(classifies, files, named, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"root": "picks.star"}
    config = SimpleNamespace(to_dict=lambda: {"dataset": data}, spec=lambda kind: SimpleNamespace(**data))
    trained: Any = SimpleNamespace(classifies=classifies, card={"config": {"dataset": data}}, config=config)
    said = " ".join(step.command for step in steps(trained, ["runs/a"], "yes", labelled=True))
    assert not any(words in said for words in named)
    for name in files:
        Path(name).mkdir(parents=True)
    said = " ".join(step.command for step in steps(trained, ["runs/a"], "yes", labelled=True))
    assert [words for words in named if words not in said] == []


@pytest.mark.slow
def test_every_next_line_works_as_typed(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        dark_blobs(tmp_path / "tomograms" / f"TS_0{number}.mrc", number)
    said = typed("cryoreg pick tomograms --diameter 100 --voxel-size 10 --threshold 8 --margin 8")
    assert said.count("16 picks") == 2
    assert after(said) == "cryoreg extract picks.star --output particles.h5"
    said = typed(after(said))
    assert "density is dark in the tomograms, as " in said
    assert after(said).startswith("cryoreg cluster --from rb3d_universe --data particles.h5 ")
    said = typed(after(said), "--clusters", "2")
    assert after(said) == "cryoreg label particles.h5 --groups-from clusters.csv"
    monkeypatch.setattr(opening, "serve", by_size)
    said = typed(after(said), "--no-browser")
    assert after(said) == "cryoreg finetune --data particles.h5 --recipe best --labels-from labels.csv"
    said = typed(after(said))
    assert after(said).startswith("cryoreg evaluate runs/")
    said = typed(after(said))
    assert after(said).endswith("--output classes.csv")
    said = typed(after(said))
    assert after(said).startswith("cryoreg report runs/")
    (run,) = Path("runs").iterdir()
    typed(f"cryoreg predict {run} --data picks.star --output classes.star")
    found = starfile.read("classes.star")["particles"]
    assert len(found) == 2 * len(CENTRES)
    assert set(found["cryoregTomogramFile"]) == {"tomograms/TS_01.mrc", "tomograms/TS_02.mrc"}
