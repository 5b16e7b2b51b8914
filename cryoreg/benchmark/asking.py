"""Jobs of a study of queries: embed a data set once, then let a query ask for labels and see what these teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from cryoreg.benchmark.cells import Figures, RunPayload, encoder_of, figures, layers_of
from cryoreg.config import resolve
from cryoreg.datasets.splits import label_fraction, split
from cryoreg.files import write_atomically
from cryoreg.labelling.classifier import pool_of, unit_length
from cryoreg.labelling.suggestions import query_of
from cryoreg.runs.starts import with_start

EMBEDDED = "embedded.npz"


class AskingPayload(TypedDict):
    """What defines a query's rounds."""

    query: str
    sizes: list[int]
    """Numbers of labels, growing; the first are drawn at random."""
    seed: int


def embed(folder: Path, payload: RunPayload, needs: list[Path]) -> dict[str, int]:
    """Write the features of the labelled subtomograms of the train and test splits, and their labels."""
    config = resolve("finetune", with_start("finetune", layers_of(payload, needs)))
    dataset = config.spec("dataset").load()
    encoder = encoder_of(config, dataset)
    parts = split(dataset, config.split.fractions, config.split.seed)
    kept = {"train": label_fraction(dataset, parts.train, 1.0), "test": parts.test}
    arrays: dict[str, Any] = {"classes": np.array(list(dataset.classes))}
    for part, samples in kept.items():
        arrays[part] = encoder.features(samples.tolist())
        arrays[f"{part}_labels"] = np.array([dataset.labels[sample] for sample in samples], dtype=np.int64)
    write_atomically(folder / EMBEDDED, lambda file: np.savez(file, **arrays))
    return {part: len(samples) for part, samples in kept.items()}


def ask(folder: Path, payload: AskingPayload, needs: list[Path]) -> dict[str, Figures]:
    """Return, for each number of labels, the figures on the test split of a classifier that these have taught.

    The first labels are drawn by the seed, the same for every query; then the query asks for those of each round. The
    classifier, logistic regression on features of length 1, learns anew each time.
    """
    with np.load(needs[0] / EMBEDDED) as stored:
        features, truth, classes = stored["train"], stored["train_labels"], stored["classes"].tolist()
        test, test_labels = unit_length(stored["test"]), stored["test_labels"]
    query = query_of(payload["query"], {}).build()
    rng = np.random.default_rng(payload["seed"])
    first, *later = payload["sizes"]
    labels = np.full(len(truth), -1, dtype=np.int64)
    chosen = rng.permutation(len(truth))[:first]
    found: dict[str, Figures] = {}
    for size in [*later, 0]:
        labels[chosen] = truth[chosen]
        pool, taught = pool_of(features, labels, len(classes))
        known = len(pool.labelled)
        answers = (
            np.zeros(len(test)) if taught is None else taught.model.probabilities(test, len(classes)).argmax(axis=1)
        )
        found[f"{known} labels"] = figures(test_labels, answers, classes)
        chosen = query.choose(pool, max(0, size - known), rng)
    return found
