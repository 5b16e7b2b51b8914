import itertools

import numpy as np
import pytest
import torch
from support.mrc_writing import noise, write_mrc
from support.synthetic import write_classes

from cryoreg import create_dataset
from cryoreg.config import Layer, resolve
from cryoreg.datasets.conversion.convert import convert
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import DataError
from cryoreg.training.loading import UNLABELLED, BatchOrder, VolumeLoader, _Announced, residency

CPU = torch.device("cpu")


def order_of(count=37, **changes):
    return BatchOrder(torch.arange(100, 100 + count), **({"batch_size": 8, "seed": 3} | changes))


def flat(batches):
    return torch.cat(batches).tolist()


def test_an_epoch_has_each_sample_once_in_an_order_of_its_own():
    order = order_of(drop_last=False)
    epochs = [flat(order.batches(epoch)) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(100, 137)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert flat(order_of(drop_last=False, seed=4).batches(0)) != epochs[0]
    assert flat(order_of(drop_last=False, shuffle=False).batches(0)) == list(range(100, 137))


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [8] * 4), (False, [8] * 4 + [5])])
def test_the_last_smaller_batch(drop_last, sizes):
    order = order_of(drop_last=drop_last)
    assert [len(batch) for batch in order.batches(0)] == sizes
    assert order.steps() == len(sizes)


def test_every_batch_is_shared_out_among_the_processes():
    alone = order_of().batches(5)
    for world_size in (2, 4):
        shares = [order_of(rank=rank, world_size=world_size).batches(5) for rank in range(world_size)]
        assert [flat(parts) for parts in zip(*shares, strict=True)] == [batch.tolist() for batch in alone]


@pytest.mark.parametrize("count", range(1, 20))
def test_all_processes_take_the_same_number_of_steps(count):
    for drop_last, world_size, fewest in itertools.product((True, False), (1, 2, 4), (1, 2, 3)):
        order = order_of(count, drop_last=drop_last, world_size=world_size, fewest=fewest)
        orders = [order._replace(rank=rank) for rank in range(world_size)]
        assert {len(order.batches(0)) for order in orders} == {orders[0].steps()}
        assert len({tuple(len(b) for b in order.batches(0)) for order in orders}) == 1


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_an_epoch_goes_on_after_any_batch_with_each_remaining_sample_once(world_size):
    whole = order_of().batches(2)
    for done in range(len(whole) + 1):
        shares = [order_of(rank=r, world_size=world_size).batches(2, start=8 * done) for r in range(world_size)]
        rest = sorted(itertools.chain.from_iterable(flat(share) if share else [] for share in shares))
        assert rest == sorted(flat(whole[done:]) if whole[done:] else [])


def test_normalise_against_numpy():
    volumes = torch.from_numpy(np.random.default_rng(0).normal(5, 3, (4, 1, 6, 5, 4))).float()
    expected = [(v - v.mean()) / v.std() for v in volumes.double().numpy()]
    np.testing.assert_allclose(normalise(volumes).numpy(), expected, atol=1e-6)


@pytest.fixture
def dataset(tmp_path):
    return create_dataset("mrc_folder", root=write_classes(tmp_path / "data"))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_and_resident_batches_are_the_same(dataset, workers):
    order = BatchOrder(torch.arange(len(dataset))[3:17], batch_size=4, seed=1)
    resident = list(VolumeLoader(dataset, order, CPU, resident=True).epoch(1))
    streamed = list(VolumeLoader(dataset, order, CPU, resident=False, workers=workers).epoch(1))
    assert len(resident) == len(streamed) == 3
    for one, other in zip(resident, streamed, strict=True):
        assert torch.equal(one.samples, other.samples)
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.volumes, other.volumes, rtol=0, atol=1e-6)
        for volume, label, sample in zip(*one[:3], strict=True):
            stored = dataset[int(sample)].volume
            torch.testing.assert_close(volume, normalise(stored[None])[0])
            assert dataset.labels[int(sample)] == label


def test_unlabelled_samples(tmp_path):
    for number in range(3):
        write_mrc(tmp_path / f"{number}.mrc", noise(seed=number))
    dataset = create_dataset("mrc_folder", root=tmp_path)
    (batch,) = VolumeLoader(dataset, BatchOrder(torch.arange(3), 3, seed=0), CPU).epoch()
    assert batch.labels.tolist() == [UNLABELLED] * 3


@pytest.mark.parametrize(("resident", "workers"), [(True, 0), (False, 0), (False, 2)])
def test_a_damaged_volume_is_one_clear_line_from_any_process(tmp_path, resident, workers):
    root = write_classes(tmp_path / "data")
    broken = noise((8, 8, 8))
    broken[1, 2, 3] = np.nan
    write_mrc(root / "class1" / "004.mrc", broken)
    dataset = create_dataset("mrc_folder", root=root)
    with pytest.raises(DataError, match=r"004\.mrc") as error:
        list(VolumeLoader(dataset, BatchOrder(torch.arange(20), 4, 0), CPU, resident, workers).epoch())
    assert "\n" not in str(error.value)


# ---- budgets and prefetching


def settings_of(**changes):
    return resolve("pretrain", [Layer("test", {"training": changes})]).training


@pytest.mark.parametrize(
    ("changes", "clean", "expected"),
    [
        ({}, False, None),
        ({"memory_gb": 20 * 8**3 * 4 / 1e9}, False, True),
        ({"memory_gb": (20 * 8**3 * 4 - 1) / 1e9}, False, False),
        ({"memory_gb": 0}, False, False),
        ({"memory_gb": 0, "resident": True}, False, True),
        ({"memory_gb": 9, "resident": False}, False, False),
        ({"memory_gb": 20 * 8**3 * 4 / 1e9}, True, False),
        ({"memory_gb": 40 * 8**3 * 4 / 1e9}, True, True),
    ],
)
def test_a_stated_budget_decides_what_is_held(dataset, changes, clean, expected):
    dataset.clean = dataset
    assert residency(dataset, settings_of(**changes), clean) is expected


def test_each_batch_is_announced_one_step_before():
    told = []
    batches = [torch.tensor(b) for b in ([3, 1], [4, 1], [5])]
    seen = [(batch, list(told)) for batch in _Announced(batches, told.append)]
    assert seen == [([3, 1], [[4, 1]]), ([4, 1], [[4, 1], [5]]), ([5], [[4, 1], [5]])]
    assert list(_Announced(batches, None)) == [[3, 1], [4, 1], [5]]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_is_streamed_as_it_is_held(dataset, tmp_path, workers):
    store = create_dataset("store", root=convert(dataset, tmp_path / "s.h5").path)
    order = BatchOrder(torch.arange(len(dataset)), batch_size=4, seed=1)
    held = list(VolumeLoader(dataset, order, CPU, resident=True).epoch(2))
    streamed = list(VolumeLoader(store, order, CPU, resident=False, workers=workers).epoch(2))
    for one, other in zip(held, streamed, strict=True):
        assert torch.equal(one.samples, other.samples)
        torch.testing.assert_close(one.volumes, other.volumes, rtol=0, atol=1e-6)
