"""Every registered augmentation keeps the contract."""

from __future__ import annotations

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from augmenting import batch, create, streams

from cryoreg.registry import components

NAMES = [component.qualified for component in components("augmentations")]
RANDOM = [name for name in NAMES if name != "cryoreg:none"]


def apply_elsewhere(pickled: bytes) -> torch.Tensor:
    augmentation, x, rng = pickle.loads(pickled)
    return augmentation(x, rng).numpy()


# ---- the contract, for every registered augmentation ----


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_shape_and_dtype_and_leaves_the_input_alone(name):
    x = batch().clone()
    y = create(name)(x, streams(torch.arange(8)))
    assert torch.equal(x, batch())
    assert type(y) is torch.Tensor
    assert (y.shape, y.dtype, y.device) == (x.shape, torch.float32, x.device)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_looks_the_same_in_any_batch_and_order(name):
    augmentation, samples = create(name), torch.tensor([31, 4, 15, 92, 65, 35, 89, 7])
    whole = augmentation(batch(), streams(samples))
    for rows in ([0], [3], [7, 6, 5, 4, 3, 2, 1, 0], [2, 5, 1]):
        assert torch.equal(augmentation(batch()[rows], streams(samples[rows])), whole[rows])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_streams_give_the_same_views(name):
    augmentation, samples = create(name), torch.arange(8)
    assert torch.equal(augmentation(batch(), streams(samples)), augmentation(batch(), streams(samples)))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"view": 1}])
@pytest.mark.parametrize("name", RANDOM)
def test_other_streams_give_other_views(name, change):
    augmentation, samples = create(name), torch.arange(8)
    assert not torch.equal(augmentation(batch(), streams(samples)), augmentation(batch(), streams(samples, **change)))


@pytest.mark.parametrize("name", NAMES)
def test_global_generators_neither_matter_nor_move(name):
    augmentation, samples = create(name), torch.arange(8)
    torch.manual_seed(1)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = augmentation(batch(), streams(samples))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    torch.manual_seed(2)
    assert torch.equal(augmentation(batch(), streams(samples)), first)


def test_every_augmentation_works_in_a_spawned_process():
    jobs = [pickle.dumps((create(name), batch(4), streams(torch.arange(4)))) for name in NAMES]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.map(apply_elsewhere, jobs)
    for name, result in zip(NAMES, elsewhere, strict=True):
        np.testing.assert_array_equal(result, create(name)(batch(4), streams(torch.arange(4))).numpy(), err_msg=name)


def test_none_returns_what_it_gets():
    assert torch.equal(create("none")(batch(), streams(torch.arange(8))), batch())
