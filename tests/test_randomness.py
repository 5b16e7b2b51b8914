"""Counter-based randomness: the published generator, its distributions, and that nothing but the key matters."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from cryoreg.randomness import SampleRng, mix64

GOLDEN = 0x9E3779B97F4A7C15
SAMPLES = torch.arange(2000)
ALPHA = 1e-3

# Vigna's splitmix64.c, seeded with 1234567: the vectors that other implementations publish.
SPLITMIX64 = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def signed(bits: int) -> int:
    return bits - (1 << 64) if bits >= 1 << 63 else bits


def unsigned(bits: torch.Tensor) -> list[int]:
    return [b % (1 << 64) for b in bits.flatten().tolist()]


def slow_mix64(z: int) -> int:
    """SplitMix64's finaliser on Python's unbounded integers."""
    mask = (1 << 64) - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_mix64_gives_the_published_splitmix64_vectors():
    states = [signed((1234567 + n * GOLDEN) % (1 << 64)) for n in range(1, 6)]
    assert unsigned(mix64(torch.tensor(states))) == SPLITMIX64


def test_mix64_is_a_bijection_that_flips_half_of_the_bits():
    words = torch.arange(-512, 512)
    assert len(set(unsigned(mix64(words)))) == len(words)
    flipped = [
        (a ^ b).bit_count()
        for bit in (0, 17, 63)
        for a, b in zip(unsigned(mix64(words)), unsigned(mix64(words ^ signed(1 << bit))), strict=True)
    ]
    assert np.mean(flipped) == pytest.approx(32, abs=4 * 4 / np.sqrt(len(flipped)))  # sd of binomial(64, ½) is 4


@pytest.mark.parametrize(("seed", "epoch", "view"), [(0, 0, 0), (7, 3, 1), (2**63 - 1, 10**6, 1), (2**40 + 5, 1, 3)])
def test_draws_equal_a_slow_implementation_of_the_documented_formula(seed, epoch, view):
    samples = [0, 1, 5, 10**9]
    drawn = SampleRng.for_batch(seed, epoch, torch.tensor(samples), view).bits((3,))
    for sample, row in zip(samples, drawn, strict=True):
        key = seed
        for part in (epoch, view, sample):
            key = slow_mix64((key * GOLDEN + part) % (1 << 64))
        assert unsigned(row) == [slow_mix64(key ^ slow_mix64(n * GOLDEN % (1 << 64))) for n in (1, 2, 3)]


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_narrow_sample_indices_have_the_same_streams(dtype):
    samples = torch.tensor([0, 3, 200])
    narrow = SampleRng.for_batch(1, 2, samples.to(dtype), 0)
    assert torch.equal(narrow.keys, SampleRng.for_batch(1, 2, samples, 0).keys)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-45.0, 45.0), (0.5, 1.0)])
def test_uniform_is_uniform(low, high):
    draws = SampleRng.for_batch(0, 0, SAMPLES, 0).uniform((5,), low, high).numpy()
    assert draws.dtype == np.float32
    assert draws.min() >= low
    assert draws.max() <= high
    for column in (draws.ravel(), draws[:, 0], draws[0 : len(draws) : 7, 4]):
        assert stats.kstest(column, stats.uniform(low, high - low).cdf).pvalue > ALPHA


def test_uniform_never_reaches_one():
    largest = SampleRng(torch.zeros(1, dtype=torch.int64))
    largest.bits = lambda shape: torch.full((1, *shape), -1)  # all 64 bits set
    assert largest.uniform((1,)).item() == 1 - 2.0**-24


def test_normal_is_normal():
    draws = SampleRng.for_batch(0, 0, SAMPLES, 0).normal((6,)).numpy()
    assert draws.dtype == np.float32
    assert np.isfinite(draws).all()
    assert stats.kstest(draws.ravel(), stats.norm.cdf).pvalue > ALPHA
    assert stats.kstest(np.sort(draws, axis=1)[:, -1], lambda t: stats.norm.cdf(t) ** 6).pvalue > ALPHA


def one_stream_each() -> dict[str, np.ndarray]:
    """Sequences that must be independent of each other and within themselves."""
    at = lambda seed, epoch, view: SampleRng.for_batch(seed, epoch, SAMPLES, view).uniform((2,)).numpy()  # noqa: E731
    first = at(0, 0, 0)
    return {
        "first draw": first[:, 0],
        "second draw": first[:, 1],
        "next sample": np.roll(first[:, 0], 1),
        "next epoch": at(0, 1, 0)[:, 0],
        "next view": at(0, 0, 1)[:, 0],
        "next seed": at(1, 0, 0)[:, 0],
        "next epoch, next view": at(0, 1, 1)[:, 0],
    }


@pytest.mark.parametrize(("a", "b"), itertools.combinations(one_stream_each(), 2))
def test_samples_draws_epochs_views_and_seeds_are_independent(a, b):
    streams = one_stream_each()
    counts, _, _ = np.histogram2d(streams[a], streams[b], bins=8, range=[[0, 1], [0, 1]])
    assert stats.chisquare(counts.ravel()).pvalue > ALPHA / 21  # 21 pairs


def test_keys_of_a_long_run_are_all_different():
    keys = [SampleRng.for_batch(s, e, SAMPLES, v).keys for s in (0, 1) for e in range(20) for v in (0, 1)]
    flat = torch.cat(keys)
    assert len(flat.unique()) == len(flat)


@pytest.mark.parametrize("draw", ["bits", "uniform", "normal"])
def test_a_sample_draws_the_same_in_any_batch_and_order(draw):
    samples = torch.tensor([11, 4, 900, 0, 7, 8, 3, 2, 5, 6, 1])
    whole = getattr(SampleRng.for_batch(3, 1, samples, 0), draw)((5,))
    for order in ([0], [2, 1], [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]):
        part = getattr(SampleRng.for_batch(3, 1, samples[order], 0), draw)((5,))
        assert torch.equal(part, whole[order])


@pytest.mark.parametrize("rows", [torch.tensor([True, False, True, False]), torch.tensor([0, 2])])
def test_select_goes_on_where_the_streams_stand(rows):
    rng = SampleRng.for_batch(0, 0, torch.arange(4), 0)
    rng.uniform((3,))
    chosen = rng.select(rows)
    expected = rng.uniform((2,))[[0, 2]]
    assert len(chosen) == 2
    assert torch.equal(chosen.uniform((2,)), expected)


def test_draws_do_not_depend_on_how_they_are_grouped():
    one, two = (SampleRng.for_batch(0, 0, torch.arange(3), 0) for _ in range(2))
    together = one.bits((2, 2)).flatten(1)
    apart = torch.stack([two.bits() for _ in range(4)], dim=1)
    assert torch.equal(together, apart)


def test_a_pickled_stream_goes_on_where_it_stood():
    rng = SampleRng.for_batch(0, 0, torch.arange(3), 0)
    rng.normal((4,))
    copy = pickle.loads(pickle.dumps(rng))
    assert torch.equal(copy.bits((2,)), rng.bits((2,)))
