"""The embedded data set: contract, cache, damage, several processes."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from cryoreg.contracts import SubtomogramDataset
from cryoreg.datasets.made_specs import DemoSpec
from cryoreg.datasets.readers import demo
from cryoreg.datasets.readers.demo import Demo, DemoSettings, cache_file, load_demo
from cryoreg.errors import DataError
from cryoreg.simulation.assemblies import make_assemblies
from cryoreg.simulation.simulator import SceneSettings, Simulator
from cryoreg.simulation.symmetry import POINT_GROUPS

SPEC = DemoSettings(per_class=2, box=16, voxel_size=14.0, snr=2.0, seed=0)


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The cache file of SPEC, simulated once for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(demo.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        load_demo(SPEC)
        return cache_file(SPEC).read_bytes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound_file: bytes) -> Path:
    """A cache folder that holds the file of SPEC; returns the file."""
    monkeypatch.setenv(demo.CACHE_VARIABLE, str(tmp_path / "cache"))
    file = cache_file(SPEC)
    file.parent.mkdir()
    file.write_bytes(sound_file)
    return file


@pytest.fixture
def count_simulations(monkeypatch: pytest.MonkeyPatch) -> list[DemoSettings]:
    calls: list[DemoSettings] = []
    real = demo.simulate_demo
    monkeypatch.setattr(demo, "simulate_demo", lambda spec: calls.append(spec) or real(spec))
    return calls


def volumes(dataset: Demo) -> torch.Tensor:
    return torch.stack([dataset[i].volume for i in range(len(dataset))])


def test_contract(cache: Path) -> None:
    dataset = DemoSpec(**SPEC._asdict()).build()
    assert isinstance(dataset, SubtomogramDataset)
    assert tuple(dataset.classes) == ("C1", "C2", "C3", "C4", "C6", "D2", "D3", "D7", "T", "O")
    assert len(dataset) == len(dataset.labels) == len(set(dataset.ids)) == len(dataset.groups) == 20
    assert (dataset.voxel_size, dataset.box) == (14.0, (16, 16, 16))
    sample = dataset[13]
    assert (sample.volume.shape, sample.volume.dtype) == ((1, 16, 16, 16), torch.float32)
    assert (sample.label, sample.id, sample.group) == (3, "demo-00013", "tomo-001")
    assert (dataset.labels[13], dataset.ids[13], dataset.groups[13]) == (3, "demo-00013", "tomo-001")


def test_each_class_once_in_each_tomogram(cache: Path) -> None:
    dataset = load_demo(SPEC)
    for group in set(dataset.groups):
        labels = [dataset.labels[i] for i in range(len(dataset)) if dataset.groups[i] == group]
        assert sorted(labels) == list(range(10))


def test_volumes_are_the_simulators_scenes_of_their_class(cache: Path) -> None:
    dataset = load_demo(SPEC)
    settings = SceneSettings(box=16, voxel_size=14.0, snr=2.0)
    for index in (0, 7, 19):
        one_by_one = Simulator(make_assemblies(SPEC.seed), settings, SPEC.seed).scene(index)
        np.testing.assert_array_equal(dataset[index].volume[0], one_by_one.volume)
        assert POINT_GROUPS[one_by_one.label] == dataset.classes[dataset.labels[index]]


def test_a_sample_is_a_copy(cache: Path) -> None:
    dataset = load_demo(SPEC)
    before = dataset[0].volume.clone()
    dataset[0].volume.zero_()
    assert torch.equal(dataset[0].volume, before)


def test_simulated_once(cache: Path, sound_file: bytes, count_simulations: list[DemoSettings]) -> None:
    load_demo(SPEC)
    assert not count_simulations
    cache.unlink()
    fresh = load_demo(SPEC)
    assert len(count_simulations) == 1
    assert torch.equal(volumes(fresh), volumes(load_demo(SPEC)))
    assert len(count_simulations) == 1
    assert not list(cache.parent.glob("*.tmp")) + list(cache.parent.glob(".*.tmp"))


def test_the_file_records_how_each_scene_was_made(cache: Path) -> None:
    with np.load(cache, allow_pickle=False) as archive:
        np.testing.assert_allclose(archive["snr_crop"], 2.0)
        assert (archive["snr_box"] < 2.0).all()
        assert archive["rotation"].shape == (20, 3, 3)


@pytest.mark.parametrize("change", [{"seed": 1}, {"snr": 2.5}, {"box": 18}, {"per_class": 3}, {"voxel_size": 14.5}])
def test_another_spec_has_another_file(cache: Path, change: dict[str, float]) -> None:
    assert cache_file(SPEC._replace(**change)) != cache


def test_another_generator_has_another_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "GENERATOR_VERSION", demo.GENERATOR_VERSION + 1)
    assert cache_file(SPEC) != cache


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(demo.CACHE_VARIABLE, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    assert cache_file(SPEC).parent == tmp_path / "cryoreg"


def damage(data: bytes, kind: str) -> bytes:
    middle = len(data) // 2
    return {
        "truncated": data[:middle],
        "empty": b"",
        "text": b"not an archive",
        "one bit flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "no directory": data[:-22],
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "one bit flipped", "no directory"])
def test_damage_is_noticed_and_mended(
    cache: Path, sound_file: bytes, kind: str, caplog: pytest.LogCaptureFixture, count_simulations: list[DemoSettings]
) -> None:
    expected = volumes(load_demo(SPEC))
    cache.write_bytes(damage(sound_file, kind))
    with caplog.at_level(logging.WARNING):
        mended = load_demo(SPEC)
    assert len(count_simulations) == 1
    (notice,) = caplog.messages
    assert str(cache) in notice
    assert "damaged" in notice
    assert "\n" not in notice
    assert torch.equal(volumes(mended), expected)
    assert torch.equal(volumes(load_demo(SPEC)), expected)


def test_no_flipped_bit_changes_a_voxel_unnoticed(cache: Path, sound_file: bytes) -> None:
    expected = demo._read(cache, SPEC)
    rng = np.random.default_rng(0)
    for place in rng.integers(len(sound_file), size=60):
        flipped = bytearray(sound_file)
        flipped[place] ^= 1 << rng.integers(8)
        cache.write_bytes(bytes(flipped))
        read = demo._read(cache, SPEC)
        assert read is None or np.array_equal(read, expected)


def test_pickling_carries_the_spec_alone(cache: Path) -> None:
    dataset = load_demo(SPEC)
    data = pickle.dumps(dataset)
    assert len(data) < 2000
    assert torch.equal(volumes(pickle.loads(data)), volumes(dataset))


def _load_and_sum(_: int) -> float:
    return float(volumes(load_demo(SPEC)).double().abs().sum())


@pytest.mark.slow
def test_two_processes_at_once(cache: Path) -> None:
    expected = _load_and_sum(0)
    cache.unlink()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_load_and_sum, range(2)) == [expected, expected]
    assert _load_and_sum(0) == expected


def test_unusable_cache_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("in the way")
    monkeypatch.setenv(demo.CACHE_VARIABLE, str(occupied))
    with pytest.raises(DataError, match="CRYOREG_CACHE") as caught:
        load_demo(SPEC)
    assert "\n" not in str(caught.value)
    assert occupied.read_text() == "in the way"


def test_a_full_disk_is_one_clear_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.unlink()

    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo.np, "savez", no_room)
    with pytest.raises(DataError, match="No space left"):
        load_demo(SPEC)
    assert not cache.exists()


def test_the_cache_is_readable_without_write_permission(cache: Path) -> None:
    cache.chmod(stat.S_IRUSR)
    cache.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(load_demo(SPEC)) == 20
    finally:
        cache.parent.chmod(stat.S_IRWXU)
