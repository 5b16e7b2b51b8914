"""What a frozen encoder's features tell of the classes: kNN and a linear classifier, by the validation split."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch

from cryoreg.config import AnyConfig, RunConfig
from cryoreg.config.settings import PretrainSettings
from cryoreg.contracts import Encoder, Subtomograms
from cryoreg.datasets.divisions import divide
from cryoreg.errors import DataError
from cryoreg.training.device import Place
from cryoreg.training.loading import VolumeLoader, in_order, residency
from cryoreg.training.passes import run_over

NEIGHBOURS = 20
LARGEST = 1000
"""So many subtomograms of the train split, and of the validation split, are looked at."""


class Probe:
    """Embeds labelled subtomograms as they are, without augmentation, and classifies the validation split's.

    A look at the run, not a result: it uses all labels of the train split, and nothing is selected by it.
    """

    def __init__(self, train: VolumeLoader, val: VolumeLoader, place: Place) -> None:
        self.train, self.val, self.place = train, val, place

    @classmethod
    def of_run(cls, config: RunConfig[PretrainSettings], dataset: Subtomograms, place: Place) -> Self | None:
        """Return the probe of a pretraining run; None where there are no labels, or it is not wanted."""
        if not (dataset.classes and config.training.probe_every_epochs):
            return None
        try:
            parts = divide(dataset, config.split).parts
        except DataError:  # too few labels to probe with
            return None
        if len(parts.val) == 0 or len({dataset.labels[index] for index in parts.train} - {None}) < 2:
            return None
        train, val = (_loader(config, dataset, samples, place) for samples in (parts.train, parts.val))
        return cls(train, val, place)

    def figures(self, encoder: Encoder | None) -> dict[str, float]:
        """Return the validation accuracies, NaN without an encoder.

        kNN: 20 neighbours by cosine, weighted by nearness. Linear: logistic regression on standardised features.
        """
        if encoder is None:
            return {"knn_accuracy": math.nan, "linear_accuracy": math.nan}
        # Here, as it costs each start of a run a second, and the other processes of a run have no use for it.
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known, labels = self._embed(encoder, self.train)
        asked, truth = self._embed(encoder, self.val)
        knn = KNeighborsClassifier(min(NEIGHBOURS, len(known)), metric="cosine", weights="distance")
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        return {
            "knn_accuracy": float(knn.fit(known, labels).score(asked, truth)),
            "linear_accuracy": float(linear.fit(known, labels).score(asked, truth)),
        }

    def _embed(self, encoder: Encoder, loader: VolumeLoader) -> tuple[np.ndarray, np.ndarray]:
        """Return features (N, num_features) and labels (N,)."""
        encoder.eval()
        features = run_over(loader, self.place, encoder).numpy()
        encoder.train()
        return features, loader.labels().numpy()


def _loader(config: AnyConfig, dataset: Subtomograms, samples: np.ndarray, place: Place) -> VolumeLoader:
    labelled = samples[[dataset.labels[index] is not None for index in samples]]
    chosen = np.random.default_rng(0).permutation(labelled)[:LARGEST]
    order = in_order(torch.from_numpy(np.sort(chosen)))
    return VolumeLoader(dataset, order, place.device, residency(dataset, config.training), config.training.workers)
