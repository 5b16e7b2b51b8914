"""A picker of a package: what it proposes is thinned, listed and drawn as the filter's peaks are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from support.mrc_writing import noise, write_mrc

from cryoreg_cli.main import cryoreg

Install = Callable[..., Path]
CENTRES = [(10, 10, 9), (24, 10, 9), (38, 20, 21), (10, 31, 21)]
"""x, y, z of bright voxels in faint noise, the brighter the later."""
MODULE = '''
"""A picker of the brightest voxels, one that proposes nothing, and one that is wrong. Imports no NumPy."""


def voxels(tomogram, radius, contrast):
    """Every voxel above a half."""
    import numpy as np

    from cryoreg.picking.proposals import Peaks, Proposal, Verdict

    sign = -1 if contrast == "dark" else 1
    volume = sign * tomogram.read((slice(None),) * 3)
    found = np.argwhere(volume > 0.5)
    peaks = Peaks(found, np.full(found.shape, 0.25), volume[tuple(found.T)])
    return Proposal(peaks, Verdict("dark" if sign < 0 else "bright", True, float("nan")))


def none(tomogram, radius, contrast):
    """Nothing."""
    proposal = voxels(tomogram, radius, contrast)
    return proposal._replace(peaks=type(proposal.peaks)(*(each[:0] for each in proposal.peaks)))


def wrong(tomogram, radius, contrast):
    """A height too few."""
    proposal = voxels(tomogram, radius, contrast)
    return proposal._replace(peaks=proposal.peaks._replace(heights=proposal.peaks.heights[1:]))


def silent(tomogram, radius, contrast):
    """Returns nothing."""


def raising(tomogram, radius, contrast):
    """Raises."""
    raise KeyError("oh")
'''


@pytest.fixture(autouse=True)
def picker(fake_plugin: Install) -> None:
    lines = "".join(f"{name} = mine_specs:{name}\n" for name in ("voxels", "none", "wrong", "silent", "raising"))
    fake_plugin("mine", f"[cryoreg.pickers]\n{lines}", module=MODULE)


@pytest.fixture
def tomogram(tmp_path: Path) -> Path:
    volume = noise((30, 40, 50)) * 0.05
    for number, (x, y, z) in enumerate(CENTRES):
        volume[z, y, x] = 1 + number
    volume[21, 31, 11] = 2.5  # beside the best one
    volume[0, 0, 0] = 9  # at a face
    return write_mrc(tmp_path / "one.mrc", volume)


def pick(tomogram: Path, *arguments: str) -> Result:
    output = str(tomogram.with_name("picks.star"))
    return CliRunner().invoke(cryoreg, ["pick", str(tomogram), "--radius", "30", "--output", output, *arguments])


def rows(tomogram: Path) -> pd.DataFrame:
    return pd.read_csv(tomogram.with_name("picks.csv"))


def test_its_places_are_thinned_and_listed_best_first(tomogram: Path) -> None:
    result = pick(tomogram, "--picker", "voxels")
    assert result.exit_code == 0, result.output
    assert "4 picks, voxels 1.00 to 4.00 (median 2.50); density bright\n" in result.output
    found = rows(tomogram)
    assert found[["x", "y", "z"]].to_numpy().tolist() == [list(centre) for centre in reversed(CENTRES)]
    assert found["score"].tolist() == [4, 3, 2, 1]
    assert found["dog"].isna().all()


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        (["--threshold", "1.5"], [4, 3, 2]),
        (["--top", "1"], [4]),
        (["--distance", "5", "--margin", "1"], [4, 3, 2.5, 2, 1]),
    ],
)
def test_our_options_hold_for_it(tomogram: Path, options: list[str], scores: list[float]) -> None:
    assert pick(tomogram, "--picker", "mine:voxels", *options).exit_code == 0
    assert rows(tomogram)["score"].tolist() == scores


def test_between_voxels_only_where_asked_for(tomogram: Path) -> None:
    pick(tomogram, "--picker", "voxels", "--subvoxel", "--top", "1")
    np.testing.assert_allclose(rows(tomogram)[["x", "y", "z"]], [np.array(CENTRES[-1]) + 0.25])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "one.mrc: picker 'none' proposes nothing away from the faces"),
        ("wrong", "picker 'wrong' of mine 1.0 returns places, offsets and finite heights that do not belong together"),
        ("silent", "picker 'silent' of mine 1.0 returns no Proposal, but a NoneType; update or uninstall mine"),
        ("raising", "picker 'raising' of mine 1.0 fails with KeyError: 'oh'; update or uninstall mine"),
        ("dgo", "unknown picker 'dgo'; did you mean 'dog'"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(tomogram: Path, name: str, message: str) -> None:
    before = sorted(tomogram.parent.iterdir())
    result = pick(tomogram, "--picker", name)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tomogram.parent.iterdir()) == before
