"""NRCL: noisy queries against clean keys, in loops; its denoising against scipy's Gaussian filter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from support.methods import adam, build, some_batch, train, unit

from cryoreg.methods.specs import NRCLSpec


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.3])
@pytest.mark.parametrize("box", [(8, 8, 8), (5, 9, 12)], ids=str)
def test_denoising_is_scipy_s_gaussian_filter(sigma, box):
    x = torch.randn(3, 1, *box, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    denoised = build("nrcl", denoise_sigma=sigma).denoise(x)
    expected = [gaussian_filter(volume.double().numpy(), sigma, mode="nearest") for volume in x[:, 0]]
    np.testing.assert_allclose(denoised[:, 0].numpy(), expected, atol=1e-6)
    assert torch.equal(x, before)


def test_without_blur_nothing_changes():
    x = torch.randn(2, 1, 4, 4, 4)
    assert torch.equal(build("nrcl", denoise_sigma=0).denoise(x), x)


def test_loss_is_info_nce_of_noisy_queries_and_clean_keys():
    method = build("nrcl", queue_size=10, momentum=0.5, temperature=0.3)
    train(method, adam(method), "nrcl", range(2))
    [[noisy, clean]] = some_batch("nrcl", 2)
    queries = unit(method.head(method.encoder(noisy)))
    keys = unit(method.key_head(method.key_encoder(clean)))
    negatives = unit(method.queue.keys)
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp(float(query @ key) / 0.3)
        total -= math.log(positive / (positive + sum(math.exp(float(query @ n) / 0.3) for n in negatives)))
    assert method([noisy, clean]).loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_only_clean_keys_enter_the_queue():
    method = build("nrcl", queue_size=6)
    [[noisy, clean]] = some_batch("nrcl")
    keys = unit(method.key_head(method.key_encoder(clean)))
    method([noisy, clean])
    method.after_step(0, 1)
    torch.testing.assert_close(method.queue.keys, keys.float())


def test_gradients_reach_the_noisy_side_only():
    method = build("nrcl")
    noisy, clean = (view.requires_grad_() for view in some_batch("nrcl")[0])
    method([noisy, clean]).loss.backward()
    assert noisy.grad.any()
    assert clean.grad is None


def test_second_view_is_the_clean_one():
    assert NRCLSpec().view_plan() == (2, 1, 0, 1.0)
