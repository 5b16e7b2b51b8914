"""Clusters of subtomograms by an encoder's features, with no labels: k-means, Gaussian mixtures, Leiden communities."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, euclidean_distances, normalized_mutual_info_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize
from threadpoolctl import threadpool_limits

from cryoreg.analysis.clusters import STABILITY_RUNS, Agreement, Clustering, ClusterSettings, Floats, Integers, Method
from cryoreg.errors import ConfigError, DataError

_RESTARTS = 10
_ALONE = 5000
"""Up to so many points, one thread is faster at k-means than several, which wait for each other (0.8 s against 1.7)."""
_SILHOUETTE_SAMPLE = 2000
"""Its cost grows with the square of the number."""


class _Fit(NamedTuple):
    clusters: Integers
    confidence: Floats


class _Plan(NamedTuple):
    fit: Callable[[int], _Fit]
    """Clusters from a seed."""
    curve: dict[int, float]
    wanted: int | None


def cluster(features: NDArray[np.floating], settings: ClusterSettings) -> Clustering:
    """Cluster features (N, C): standardised, scaled to length 1, reduced to principal components.

    Raises `DataError` for features that do not differ or are too few, `ConfigError` where Leiden is not installed.
    """
    _check(settings)
    points = principal_components(features, settings.components)
    plan = _METHODS[settings.method](points, settings)
    first, *others = (plan.fit(settings.seed + run) for run in range(STABILITY_RUNS))
    clusters = _by_size(first.clusters)
    return Clustering(
        clusters,
        first.confidence,
        _distances(points, clusters),
        plan.curve,
        plan.wanted,
        stability([clusters, *(other.clusters for other in others)]),
    )


def _check(settings: ClusterSettings) -> None:
    if settings.method not in _METHODS:
        raise ConfigError(f"method '{settings.method}' is none of {', '.join(_METHODS)}")
    for name, least in (("resolution", 1e-9), ("neighbours", 1), ("components", 1), ("seed", 0)):
        value = getattr(settings, name)
        if not value >= least:
            raise ConfigError(f"{name} is {value}, but should be {'more than 0' if least < 1 else f'{least} or more'}")


def principal_components(features: NDArray[np.floating], components: int) -> Floats:
    """Return standardised features, each vector scaled to length 1, in their first principal components (N, ≤ C)."""
    _require(len(features) > 2, f"{len(features)} subtomograms", "clusters")
    if not np.isfinite(features).all():
        raise DataError("the encoder's features are not finite; train it again")
    spread = features.std(axis=0)
    kept = features[:, spread > 1e-6 * max(1e-12, float(np.abs(features).max()))]
    if not kept.shape[1]:
        raise DataError("the encoder gives all subtomograms the same features: it has collapsed; train it again")
    scaled = normalize(StandardScaler().fit_transform(kept.astype(np.float64)))
    return PCA(min(components, *scaled.shape), svd_solver="covariance_eigh").fit_transform(scaled)


def agreement(clusters: Integers, labels: Sequence[int | None], classes: int) -> Agreement | None:
    """Compare clusters (N,) with labels, None being unknown; None where fewer than two are known."""
    known = np.array([label is not None for label in labels], dtype=bool)
    if known.sum() < 2:
        return None
    true = np.array([label for label in labels if label is not None], dtype=np.int64)
    found = clusters[known]
    table = np.zeros((int(clusters.max()) + 1, classes), dtype=np.int64)
    np.add.at(table, (found, true), 1)
    matched = table[linear_sum_assignment(table, maximize=True)].sum()
    return Agreement(
        float(adjusted_rand_score(true, found)),
        float(normalized_mutual_info_score(true, found)),
        float(table.max(axis=1).sum() / len(true)),
        float(matched / len(true)),
        table,
    )


def stability(runs: Sequence[Integers]) -> float:
    """Return the mean adjusted Rand index of all pairs of partitions."""
    return float(np.mean([adjusted_rand_score(a, b) for a, b in combinations(runs, 2)]))


def _kmeans(points: Floats, settings: ClusterSettings) -> _Plan:
    threads = 1 if len(points) <= _ALONE else None
    sample = np.random.default_rng(settings.seed).permutation(len(points))[:_SILHOUETTE_SAMPLE]
    distances = euclidean_distances(points[sample])

    def run(count: int, seed: int) -> KMeans:
        with _converged_or_not(), threadpool_limits(threads, "openmp"):
            return KMeans(count, n_init=_RESTARTS, random_state=seed).fit(points)

    def score(count: int) -> float:
        return silhouette(distances, run(count, settings.seed).labels_[sample])

    count, curve = _best(points, settings.clusters, score, max)

    def fit(seed: int) -> _Fit:
        model = run(count, seed)
        near, next_ = np.sort(model.transform(points), axis=1)[:, :2].T
        return _Fit(model.labels_.astype(np.int64), 1 - near / np.maximum(next_, np.finfo(float).tiny))

    return _Plan(fit, curve, count)


def _gmm(points: Floats, settings: ClusterSettings) -> _Plan:
    floor = 1e-4 * points.var(axis=0).mean()

    def run(count: int, seed: int) -> GaussianMixture:
        with _converged_or_not():
            return GaussianMixture(count, random_state=seed, reg_covar=floor).fit(points)

    def score(count: int) -> float:
        return float(run(count, settings.seed).bic(points))

    count, curve = _best(points, settings.clusters, score, min)

    def fit(seed: int) -> _Fit:
        chances = run(count, seed).predict_proba(points)
        return _Fit(chances.argmax(axis=1), chances.max(axis=1))

    return _Plan(fit, curve, count)


@contextmanager
def _converged_or_not() -> Iterator[None]:
    """Keep scikit-learn from warning: the stability says what a fit is worth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def silhouette(distances: Floats, clusters: Integers) -> float:
    """Return the mean silhouette (Rousseeuw 1987) of points (N, N); -1 where these show no two clusters."""
    shown = len(np.unique(clusters))
    return float(silhouette_score(distances, clusters, metric="precomputed")) if 1 < shown < len(clusters) else -1.0


def _best(
    points: Floats, counts: range, score: Callable[[int], float], best: Callable[..., int]
) -> tuple[int, dict[int, float]]:
    """Return the number of clusters with the best score, and all scores; a single number needs none."""
    _require(len(points) > counts[0], f"{len(points)} subtomograms", f"{counts[0]} clusters")
    if len(counts) == 1:
        return counts[0], {}
    curve = {count: score(count) for count in counts if count < len(points)}
    return best(curve, key=lambda count: curve[count]), curve


def _leiden(points: Floats, settings: ClusterSettings) -> _Plan:
    """Traag et al. 2019, on the graph of nearest neighbours by cosine, weighted by it."""
    try:
        import igraph
        import leidenalg
    except ImportError as error:
        raise ConfigError(f'--algorithm leiden needs {error.name}; pip install "cryoreg[cluster]"') from None
    edges, weights = neighbour_graph(points, settings.neighbours)
    graph = igraph.Graph(n=len(points), edges=edges)

    def fit(seed: int) -> _Fit:
        found = leidenalg.find_partition(
            graph,
            leidenalg.RBConfigurationVertexPartition,
            weights=weights,
            resolution_parameter=settings.resolution,
            seed=seed,
        )
        clusters = np.array(found.membership, dtype=np.int64)
        return _Fit(clusters, _kept_weight(clusters, edges, weights))

    return _Plan(fit, {}, None)


def neighbour_graph(points: Floats, neighbours: int) -> tuple[Integers, Floats]:
    """Return edges (E, 2), i < j, between each point and its nearest by cosine, and weights: the cosine, at least 0."""
    count = min(neighbours, len(points) - 1)
    distances, others = NearestNeighbors(n_neighbors=count, metric="cosine").fit(points).kneighbors()
    pairs = np.sort(np.stack([np.repeat(np.arange(len(points)), count), others.ravel()], axis=1), axis=1)
    edges, first = np.unique(pairs, axis=0, return_index=True)
    return edges, np.clip(1 - distances.ravel()[first], 1e-6, 1)


def _kept_weight(clusters: Integers, edges: Integers, weights: Floats) -> Floats:
    ends = edges.ravel()
    inside = np.repeat(clusters[edges[:, 0]] == clusters[edges[:, 1]], 2)
    both = np.repeat(weights, 2)
    return np.bincount(ends, both * inside) / np.bincount(ends, both)


_METHODS: dict[Method, Callable[[Floats, ClusterSettings], _Plan]] = {
    "kmeans": _kmeans,
    "gmm": _gmm,
    "leiden": _leiden,
}


def _by_size(clusters: Integers) -> Integers:
    """Number clusters from 0, the largest first, without gaps."""
    _, numbers, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-counts, kind="stable"))[numbers]


def _distances(points: Floats, clusters: Integers) -> Floats:
    sums = np.zeros((int(clusters.max()) + 1, points.shape[1]))
    np.add.at(sums, clusters, points)
    means = sums / np.bincount(clusters)[:, None]
    return np.linalg.norm(points - means[clusters], axis=1)


def _require(enough: bool, found: str, wanted: str) -> None:
    if not enough:
        raise DataError(f"{found} are too few for {wanted}")
