"""UMAP (McInnes et al. 2018, arXiv 1802.03426) of up to some ten thousand points, in NumPy.

umap-learn compiles itself for twelve seconds before its first map, which is more than all else that a report of a
thousand subtomograms takes. Here all edges that have their turn in an epoch are drawn together, as batches; the first
layout is that of the first two columns, which are principal components (Kobak & Linderman 2021, Nat. Biotechnol.
39:156), so that the same points give the same map.
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
    """Return the first layout: that of the first two columns, with a little noise, as equal points must part."""
    plane = np.zeros((len(points), 2), np.float32)
    plane[:, : points.shape[1]] = points[:, :2] - points[:, :2].mean(0)
    if extent := float(np.abs(plane).max()):
        plane *= _EXTENT / extent
    return plane + np.random.default_rng(seed).normal(scale=1e-2, size=plane.shape).astype(np.float32)


def _arranged(graph: sparse.coo_array, plane: Floats, seed: int) -> Floats:
    """Let neighbours pull and random others push, each edge as often as it is sure, with ever smaller steps."""
    rng = np.random.default_rng(seed)
    sure = (graph.data / graph.data.max()).astype(np.float32)
    epochs = _EPOCHS if len(plane) <= _MANY else _EPOCHS_OF_MANY
    kept = sure >= 1 / epochs
    heads, tails, sure = graph.row[kept], graph.col[kept], sure[kept]
    turns = np.zeros_like(sure)
    for epoch in range(epochs):
        turns += sure
        due = turns >= 1
        turns[due] -= 1
        step = 1 - epoch / epochs
        head, tail = heads[due], tails[due]
        pull = _pull(plane[head] - plane[tail])
        plane = plane + step * (_sum(pull, head, len(plane)) - _sum(pull, tail, len(plane)))
        pushed = np.repeat(head, _REPELLED)
        push = _push(plane[pushed] - plane[rng.integers(len(plane), size=len(pushed))])
        plane = plane + step * _sum(push, pushed, len(plane))
    return plane - plane.mean(0)


def _pull(away: Floats) -> Floats:
    """Return the gradient (E, 2) of log 1 / (1 + a d²ᵇ) at differences (E, 2)."""
    squares = (away**2).sum(1, keepdims=True)
    power = squares ** np.float32(B)
    scale = -2 * A * B * power / np.maximum(squares, 1e-12) / (1 + A * power)
    return (scale * away).clip(-_LARGEST_STEP, _LARGEST_STEP)


def _push(away: Floats) -> Floats:
    """Return the gradient (E, 2) of log(1 − 1 / (1 + a d²ᵇ)) at differences (E, 2)."""
    squares = (away**2).sum(1, keepdims=True)
    scale = 2 * B / ((1e-3 + squares) * (1 + A * squares ** np.float32(B)))
    return (scale * away).clip(-_LARGEST_STEP, _LARGEST_STEP)


def _sum(moves: Floats, rows: NDArray[np.int64], count: int) -> Floats:
    return np.stack([np.bincount(rows, moves[:, axis], count) for axis in range(2)], axis=1).astype(np.float32)
