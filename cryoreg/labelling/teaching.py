"""What a page of labels is told while people label: features, a map, groups that look alike, and what labels teach."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from cryoreg.analysis.report.umap import umap
from cryoreg.errors import CryoregError, message_of
from cryoreg.inference.trained import Trained
from cryoreg.labelling.classifier import STRENGTHS, pool_of, unit_length
from cryoreg.specs import QuerySpec

NEXT = 20
"""How many are suggested at a time."""
_CHUNK = 512
"""Subtomograms between two words on progress."""
_GROUPS = 12
_COMPONENTS = 50
_FEWEST_FOR_UMAP = 20
_REPLAYED = 8
"""Points of the course of accuracy that are found again where labels were there before."""


class Point(NamedTuple):
    """How well labels are guessed from each other."""

    labels: int
    accuracy: float
    low: float
    high: float


class Taught(NamedTuple):
    """What labels teach of all N subtomograms."""

    classes: list[str]
    predictions: NDArray[np.int64]
    """(N,): index into ``classes``."""
    confidences: NDArray[np.float64]
    """(N,): probability of it."""
    doubts: NDArray[np.float64]
    """(N,): 1 less the difference of the two largest probabilities."""
    labels: int
    """How many there were."""


class Teacher:
    """A thread that embeds a data set, and then learns from the labels whenever these change.

    Whoever asks reads the attributes, each of which is replaced as a whole; ``steps`` grows with each of them.
    """

    def __init__(
        self,
        trained: Trained,
        query: QuerySpec,
        first: QuerySpec,
        labels: Callable[[], Mapping[int, str]],
        few: int = 0,
    ) -> None:
        """Take a network and its data; ``query`` chooses whom to label next, ``first`` while labels are few.

        They are before two classes have any, and as long as there are fewer than ``few`` for each class. ``labels``
        returns row -> class, in the order in which they were given.
        """
        self._trained, self._query, self._first, self._labels, self._few = trained, query, first, labels, few
        self.features: NDArray[np.float32] | None = None
        self.groups: NDArray[np.int64] | None = None
        self.layouts: dict[str, NDArray[np.float32]] = {}
        self.taught: Taught | None = None
        self.next: list[int] = []
        self.course: list[Point] = []
        self.done = 0
        """Subtomograms that have features."""
        self.problem = ""
        self.steps = 0
        self._strength: float | None = None
        self._chosen_at = 0
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, in the background."""
        self._run(self._work)

    def labels_changed(self) -> None:
        """Learn anew, soon."""
        self._wake.set()

    def stop(self) -> None:
        """End after what is being done."""
        self._stopped.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Say what went wrong: labelling goes on without suggestions."""
        try:
            work()
        except CryoregError as error:
            self.problem = str(error)
        except Exception as error:
            self.problem = f"no suggestions: {type(error).__name__}: {message_of(error)}"
        self.steps += 1

    def _work(self) -> None:
        features = self._embedded()
        if features is None:
            return
        components = PCA(min(_COMPONENTS, *features.shape), random_state=0).fit_transform(unit_length(features))
        self.layouts = {"PCA": np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))}
        self.groups = groups_of(components)
        self.features = features
        self.steps += 1
        if len(features) >= _FEWEST_FOR_UMAP and np.ptp(components, axis=0).max() > 0:
            self._run(lambda: self._draw_umap(components))
        self._wake.set()
        while not self._stopped.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._stopped.is_set():
                self._learn(features)

    def _embedded(self) -> NDArray[np.float32] | None:
        parts: list[NDArray[np.float32]] = []
        for begin in range(0, len(self._trained.dataset), _CHUNK):
            if self._stopped.is_set():
                return None
            parts.append(self._trained.features(range(begin, min(begin + _CHUNK, len(self._trained.dataset)))))
            self.done += len(parts[-1])
        return np.concatenate(parts)

    def _draw_umap(self, components: NDArray[np.float32]) -> None:
        self.layouts = {"UMAP": umap(components.astype(np.float32)), **self.layouts}
        self.steps += 1

    def _learn(self, features: NDArray[np.float32]) -> None:
        given = list(self._labels().items())
        if not self.course and len(given) > 2:
            sizes = np.unique(np.linspace(2, len(given), _REPLAYED).astype(int)[:-1])
            for size in sizes.tolist():
                self._teach(features, given[:size])
        self._teach(features, given)
        self.steps += 1

    def _teach(self, features: NDArray[np.float32], given: Sequence[tuple[int, str]]) -> None:
        classes = list(dict.fromkeys(name for _, name in given))
        labels = np.full(len(features), -1, dtype=np.int64)
        labels[[row for row, _ in given]] = [classes.index(name) for _, name in given]
        pool, fitted = pool_of(features, labels, len(classes), self._strengths(len(given)))
        few = fitted is None or len(given) < self._few * len(classes)
        query = self._first if few else self._query
        self.next = query.build().choose(pool, NEXT, np.random.default_rng(len(given))).tolist()
        if fitted is None:
            self.taught = None
            return
        self._strength = fitted.strength
        order = np.sort(pool.probabilities, axis=1)
        best = pool.probabilities.argmax(axis=1)
        if (share := fitted.accuracy) is not None:
            point = Point(len(given), share.value, *share.interval)
            self.course = [*(each for each in self.course if each.labels < len(given)), point]
        self.taught = Taught(classes, best, order[:, -1], 1 - (order[:, -1] - order[:, -2]), len(given))

    def _strengths(self, labels: int) -> Sequence[float]:
        """Return the values of C to choose from: all of them whenever labels have become half as many again."""
        if self._strength is None or not self._chosen_at <= labels <= 1.5 * self._chosen_at:
            self._chosen_at = labels
            return STRENGTHS
        return (self._strength,)


def groups_of(components: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return up to a dozen groups (N,) that look alike, the largest first, by k-means on principal components."""
    count = min(_GROUPS, max(1, len(components) // 10))
    found = KMeans(count, n_init=3, random_state=0).fit_predict(components.astype(np.float64))
    sizes = np.bincount(found, minlength=count)
    ranks: NDArray[np.int64] = np.argsort(np.argsort(-sizes, kind="stable"))[found]
    return ranks
