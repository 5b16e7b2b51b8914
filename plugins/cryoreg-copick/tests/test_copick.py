"""Picks of a copick project with bright voxels under them; what all data sets promise is in test_conformance.py."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from cryoreg.contracts import SubtomogramDataset
from cryoreg.errors import DataError
from cryoreg_copick.specs import CopickSpec

copick = pytest.importorskip("copick", reason="needs copick, which is not installed: pip install copick")

from copick_project import ORDER, PLACE, SPACINGS, volume, write_binnings, write_project  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


def build(config: Path, **settings: object) -> SubtomogramDataset:
    return CopickSpec(root=config, **{"box": 8} | settings).build()


@pytest.mark.parametrize("box", [8, 9])
def test_the_bright_voxel_is_in_the_middle(config: Path, box: int) -> None:
    dataset = build(config, box=box)
    assert len(dataset) == len(ORDER)
    for i, (x, _, _) in enumerate(ORDER):
        voxels = dataset[i].volume[0].numpy()
        assert np.unravel_index(voxels.argmax(), voxels.shape) == (box // 2,) * 3
        assert voxels.max() == 100 + x


def test_classes_groups_and_sizes(config: Path) -> None:
    dataset = build(config)
    assert dataset.classes == ["ferritin", "ribosome"]
    assert dataset.labels == [0, 1, 1, 1, 1]
    assert dataset.groups == ["TS_1"] * 3 + ["TS_2"] * 2
    assert dataset.ids == ["TS_1/0", "TS_1/1", "TS_1/2", "TS_2/3", "TS_2/4"]
    assert (dataset.voxel_size, dataset.box) == (10.0, (8, 8, 8))
    assert dataset.notes == [
        "1 of 5 boxes reach beyond their tomograms (the first: TS_2/4); the outermost voxels are repeated there; "
        "these are many: do unit, tomograms and box fit?"
    ]
    assert isinstance(dataset, SubtomogramDataset)


def test_filters(config: Path) -> None:
    assert len(build(config, objects=["ribosome"])) == 4
    assert len(build(config, runs=["TS_2"])) == 2
    assert len(build(config, users=["curator"], sessions=["1"])) == 5


@pytest.fixture(scope="module")
def binnings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_binnings(tmp_path_factory.mktemp("binnings"))


@pytest.mark.parametrize("told", [None, 1.05])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_pick_is_in_its_voxel_of_every_binning(binnings: Path, spacing: float, told: float | None) -> None:
    """Also where another size is told of the voxels: copick places picks by the spacing."""
    size = None if told is None else told * spacing
    dataset = build(binnings, box=4, voxel_spacing=spacing, voxel_size=size)
    x, y, z = (value / spacing for value in PLACE)
    assert float(dataset[0].volume[0, 2, 2, 2]) == pytest.approx(x + 100 * y + 10_000 * z, rel=1e-6)
    assert dataset.voxel_size == pytest.approx(size or spacing)


def test_rescaling(config: Path) -> None:
    dataset = build(config, rescale_to=20.0)
    assert dataset.voxel_size == 20.0
    voxels = dataset[0].volume[0].numpy()
    assert voxels.shape == (8, 8, 8)
    assert np.unravel_index(voxels.argmax(), voxels.shape) == (4, 4, 4)


def read(dataset: SubtomogramDataset) -> np.ndarray:
    return dataset[0].volume.numpy()


def test_another_process_reads_the_same(config: Path) -> None:
    dataset = build(config)
    here = read(dataset)
    np.testing.assert_array_equal(read(pickle.loads(pickle.dumps(dataset))), here)
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        np.testing.assert_array_equal(pool.submit(read, dataset).result(timeout=60), here)


def test_picks_of_two_users_are_noted(config: Path) -> None:
    run = copick.from_file(str(config)).get_run("TS_3")
    for user in ("a", "b"):
        run.new_picks("ribosome", session_id="1", user_id=user, exist_ok=True).from_numpy(np.full((1, 3), 200.0))
    try:
        assert "2 sets of picks of 'ribosome' in run 'TS_3' are read together" in build(config).notes[-1]
        assert build(config, users=["a"]).notes == []
    finally:
        for picks in list(run.get_picks()):
            picks.delete()


BAD = {
    "missing": (lambda c: {"root": c.with_name("no.json")}, "does not exist"),
    "object": ({"objects": ["virus"]}, r"has no object 'virus' \(it has: ferritin, ribosome, unpicked\)"),
    "run": ({"runs": ["TS_9"]}, "has no run 'TS_9'"),
    "no picks": ({"objects": ["unpicked"]}, "has no picks of these"),
    "user": ({"users": ["nobody"]}, "has no picks of these"),
    "spacing": ({"voxel_spacing": 5.0}, r"no tomogram that fits \(of wbp at 10 Å\)"),
    "type": ({"tomogram_type": "denoised"}, r"no tomogram that fits \(of wbp at 10 Å\)"),
    "outside": ({"voxel_size": 20.0, "objects": ["nothing"]}, "has no object"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings(case: str, config: Path) -> None:
    given, message = BAD[case]
    settings = {"root": config} | (given(config) if callable(given) else given)
    with pytest.raises(DataError, match=message) as caught:
        CopickSpec(**settings).build()
    assert str(settings["root"]) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config_type": "filesystem"}', '{"config_type": "odd"}'])
def test_bad_configurations(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"config\.json: (is not the configuration|cannot be read)") as caught:
        CopickSpec(root=path).build()
    assert "\n" not in str(caught.value)


def test_picks_outside_are_refused(tmp_path: Path) -> None:
    config = write_project(tmp_path)
    picks = copick.from_file(str(config)).get_run("TS_1").new_picks("ribosome", session_id="8", user_id="far")
    picks.from_numpy(np.array([[50.0, 50.0, 9990.0]]), np.eye(4)[None])
    with pytest.raises(DataError, match=r"1 of \d+ particles outside their tomograms, the first in row"):
        build(config)


def test_two_kinds_of_tomograms_must_be_told_apart(config: Path) -> None:
    spacing = copick.from_file(str(config)).get_run("TS_1").get_voxel_spacing(10.0)
    spacing.new_tomogram("denoised").from_numpy(volume("TS_1") * 2, levels=1)
    try:
        with pytest.raises(DataError, match=r"several tomograms that fit \(of denoised at 10 Å, wbp at 10 Å\)"):
            build(config)
        assert build(config, tomogram_type="denoised", runs=["TS_1"])[0].volume.max() == 2 * (100 + ORDER[0][0])
        with pytest.raises(DataError, match=r"no tomogram 'denoised' at 10 Å in run 'TS_2'"):
            build(config, tomogram_type="denoised")
    finally:
        spacing.get_tomograms("denoised")[0].delete()
