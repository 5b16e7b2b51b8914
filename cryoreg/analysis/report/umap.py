"""UMAP (McInnes et al. 2018, arXiv 1802.03426) of up to some ten thousand points, in NumPy.

No library does, because a report is to be there in seconds: of 200, 1,000 and 10,000 points this makes its map in 0.2,
0.6 and 3 s of a CPU, import included; of the first two umap-learn in 11 and 15 s, openTSNE in 25 and 17 s,
scikit-learn's t-SNE in 2 and 20 s, and PaCMAP of 1,000 in 4 s once its compiled code is on
disk (each once, busy cores).

All edges that have their turn in an epoch are drawn together, as batches; the first layout is that of the first two
columns, which are principal components (Kobak & Linderman 2021, Nat. Biotechnol. 39:156), so that the same points give
the same map.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

A, B = 1.5769434, 0.8950609
"""1 / (1 + a d²ᵇ) nearest to what is 1 up to a distance of 0.1 and falls by exp(0.1 − d) beyond."""
_EPOCHS, _EPOCHS_OF_MANY, _MANY = 500, 200, 2000
"""Fewer for many points, which cost more and need less."""
_REPELLED = 5
"""Others that push a point away, for each that pulls it."""
_LARGEST_STEP = 4.0
_TINY = float(np.finfo(np.float32).tiny)
_EXTENT = 10.0
_BISECTIONS = 40

Floats = NDArray[np.float32]


def umap(points: Floats, neighbours: int = 15, seed: int = 0) -> Floats:
    """Return places (N, 2) in a plane for points (N, C), N > 1, where those lie together that are alike."""
    graph = fuzzy_graph(points, min(neighbours, len(points)))
    return _arranged(graph, _first(points, seed), seed)


def fuzzy_graph(points: Floats, neighbours: int) -> sparse.coo_array:
    """Return how surely points (N, C) are each other's neighbours (N, N), each counting among its own ``neighbours``.

    exp(−(d − ρ) / σ) at the distance d, with ρ the distance of the nearest and σ such that they add up to
    log₂(``neighbours``); as either of two may be the other's neighbour, p + q − p q.
    """
    count = max(1, neighbours - 1)
    distances, others = NearestNeighbors(n_neighbors=count).fit(points).kneighbors()
    beyond = distances - distances.min(axis=1, where=distances > 0, initial=distances.max(), keepdims=True)
    beyond = beyond.clip(0)
    wanted = math.log2(max(2, neighbours))
    low, high = np.zeros((len(points), 1)), np.full((len(points), 1), np.inf)
    sigma = np.ones((len(points), 1))
    for _ in range(_BISECTIONS):
        large = np.exp(-beyond / sigma).sum(1, keepdims=True) > wanted
        high, low = np.where(large, sigma, high), np.where(large, low, sigma)
        sigma = np.where(np.isinf(high), 2 * sigma, (low + high) / 2)
    sigma = np.maximum(sigma, 1e-3 * max(float(distances.mean()), _TINY))
    rows = np.repeat(np.arange(len(points)), count)
    sure = np.exp(-beyond / sigma).ravel()
    one = sparse.coo_array((sure, (rows, others.ravel())), shape=(len(points),) * 2).tocsr()
    return sparse.coo_array(one + one.T - one * one.T)


def _first(points: Floats, seed: int) -> Floats:
    """Return the first layout (N, 2): that of the first two columns, with a little noise, as equal points must part."""
    plane = np.zeros((len(points), 2), np.float32)
    plane[:, : points.shape[1]] = points[:, :2] - points[:, :2].mean(0)
    if extent := float(np.abs(plane).max()):
        plane *= _EXTENT / extent
    return plane + np.random.default_rng(seed).normal(scale=1e-2, size=plane.shape).astype(np.float32)


def _arranged(graph: sparse.coo_array, plane: Floats, seed: int) -> Floats:
    """Let neighbours pull and random others push, each edge as often as it is sure, with ever smaller steps."""
    rng = np.random.default_rng(seed)
    plane = np.ascontiguousarray(plane.T)  # x and y apart: NumPy is slow along an axis of two
    count = plane.shape[1]
    sure = (graph.data / graph.data.max()).astype(np.float32)
    epochs = _EPOCHS if count <= _MANY else _EPOCHS_OF_MANY
    kept = sure >= 1 / epochs
    heads, tails, sure = graph.row[kept].astype(np.int64), graph.col[kept].astype(np.int64), sure[kept]
    turns = np.zeros_like(sure)
    for epoch in range(epochs):
        turns += sure
        due = turns >= 1
        turns[due] -= 1
        step = 1 - epoch / epochs
        head, tail = heads[due], tails[due]
        pull = _pull(plane.take(head, 1) - plane.take(tail, 1))
        plane = plane + step * (_sum(pull, head, count) - _sum(pull, tail, count))
        pushed = np.repeat(head, _REPELLED)
        push = _push(plane.take(pushed, 1) - plane.take(rng.integers(count, size=len(pushed)), 1))
        plane = plane + step * _sum(push, pushed, count)
    return (plane - plane.mean(1, keepdims=True)).T


def _pull(away: Floats) -> Floats:
    """Return the gradient (2, E) of log 1 / (1 + a d²ᵇ) at differences (2, E)."""
    squares = (away**2).sum(0)
    power = squares ** np.float32(B)
    scale = -2 * A * B * power / np.maximum(squares, 1e-12) / (1 + A * power)
    return (scale * away).clip(-_LARGEST_STEP, _LARGEST_STEP)


def _push(away: Floats) -> Floats:
    """Return the gradient (2, E) of log(1 − 1 / (1 + a d²ᵇ)) at differences (2, E)."""
    squares = (away**2).sum(0)
    scale = 2 * B / ((1e-3 + squares) * (1 + A * squares ** np.float32(B)))
    return (scale * away).clip(-_LARGEST_STEP, _LARGEST_STEP)


def _sum(moves: Floats, rows: NDArray[np.int64], count: int) -> Floats:
    """Add up moves (2, E) by the point that each is of: (2, N)."""
    return np.stack([np.bincount(rows, along, count) for along in moves]).astype(np.float32)
