"""Of which data the places are known that are written for copick."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest

from cryoreg.datasets.list_specs import StarSpec, TomogramSpec
from cryoreg.errors import DataError
from cryoreg_copick.writer import PlacesWriter


@pytest.fixture
def particles(tmp_path: Path) -> Path:
    """A particle at voxel 20, 25, 30 of a tomogram, told in pixels of the tilt series; and its volume, cut out."""
    random = np.random.default_rng(0)
    for name, edge in (("a", 8), ("TS_1", 40)):
        with mrcfile.new(tmp_path / f"{name}.mrc", random.standard_normal((edge,) * 3).astype("f4")) as file:
            file.voxel_size = 10.0
    (tmp_path / "p.star").write_text(
        "data_\nloop_\n_rlnImageName\n_rlnTomoName\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
        "_rlnTomoTiltSeriesPixelSize\n_rlnImagePixelSize\na.mrc TS_1 80 100 120 2.5 10\n"
    )
    return tmp_path / "p.star"


def test_volumes_that_were_cut_out_elsewhere(particles: Path) -> None:
    """Their coordinates count pixels of the tilt series, not voxels of the volumes."""
    dataset = StarSpec(root=particles).load()
    assert dataset.positions is not None
    with pytest.raises(DataError, match=r"are not cut from tomograms of a known voxel size; write CSV or STAR"):
        PlacesWriter().prepare(particles.with_name("out.csv"), dataset, ["a", "b"])


def test_boxes_that_are_cut_from_tomograms(particles: Path) -> None:
    dataset = TomogramSpec(root=particles, box=8).load()
    write = PlacesWriter().prepare(particles.with_name("out.csv"), dataset, ["a", "b"])
    said = SimpleNamespace(ids=dataset.ids, classes=("a", "b"), predictions=[1], confidences=[0.5])
    assert write(said).splitlines()[1] == "TS_1,200.000,250.000,300.000,b,0.5000"
