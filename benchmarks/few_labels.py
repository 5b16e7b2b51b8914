"""How good are trained weights with few labels? Test accuracy against labels of each class, for several starts.

    python benchmarks/few_labels.py --work DIR --weights RUN [--only NAME ...] [--labels 5 75] [--seeds 0 1 2]

Data sets are those of `target_sets.py`, which are made in DIR at first. --only takes data sets, their roles (selection,
test), starts and ways; of each sort that it does not name, all are run.

Starts: `random` weights; `vicreg` and `moco`, pretrained on the set's own train split; `weights`, those given;
`weights+vicreg` and `weights+moco`, those pretrained further on that split; `descriptors`, which need no network. Ways:
`frozen`, logistic regression (scikit-learn, C = 0.1 by default) on features standardised by the labelled ones;
`fine-tuned`, AdamW at 1e-3 with `cryoet` views, the best epoch by the whole validation split, as in docs/results.md. A
seed draws the labelled subset (nested), and random weights, order and views; the division of the data stays. --views 8
averages features, or class probabilities, over eight turned views. --learners are other classifiers of frozen
features, as label_propagation, which also sees those of the pool whose labels are not drawn.

Each row is printed and added to --out (CSV) when done; a row that is there is not run again. --table prints means ±
standard deviations with t-tests against random weights of all that the file holds, and runs nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import target_sets
import torch
from command_lines import command_line
from descriptors import describe
from few_labels_networks import (
    PLAIN,
    PRETRAINING,
    RECIPES,
    Volumes,
    Weights,
    described,
    features,
    finetuned,
    pretrained,
    probabilities,
    random_encoder,
)
from few_labels_rows import WEIGHTS, Key, Ledger, Row, machine, read_rows, shown, table
from frozen_learners import UNLABELLED, FrozenLearner
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from target_sets import TARGETS
from threadpoolctl import threadpool_limits

import cryoreg
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.splits import Split, label_fraction, split
from cryoreg.errors import DataError
from cryoreg.turns import Turns

RANDOM, DESCRIPTORS = "random", "descriptors"
FROZEN, FINETUNED = "frozen", "fine-tuned"
STARTS = (DESCRIPTORS, RANDOM, WEIGHTS, *RECIPES, *(f"{WEIGHTS}+{recipe}" for recipe in RECIPES))
WAYS = (FROZEN, FINETUNED)
ROLES = ("selection", "test")
VOXEL_SIZE = 20.0
"""Å, where no weights say at which they were trained."""
REGULARISATION = 0.1
REGULARISATION_OF_UNIT_LENGTH = 30.0
"""Of 10, 30, 100 and 300 the best mean accuracy on the selection set, at 5 and 75 labels of each class."""
Features = NDArray[np.floating]


class Trial:
    """One data set at one voxel size, and what the starts make of it."""

    def __init__(self, name: str, options: argparse.Namespace, weights: Weights | None) -> None:
        self.name, self.target, self.options, self.weights = name, TARGETS[name], options, weights
        self.voxel_size = (weights and weights.voxel_size) or VOXEL_SIZE
        self.encoder = dict(weights.encoder) if weights else PLAIN
        self.dataset: Subtomograms = target_sets.open_target(name, options.work, options.data, self.voxel_size)
        self.described = f"{described(self.encoder)}, {self.voxel_size:g} Å"
        self._parts: dict[int, Split] = {}
        self._features: dict[tuple[str, Turns], Features] = {}

    @cached_property
    def volumes(self) -> Volumes:
        return Volumes.read(self.dataset, self._needed())

    def parts(self, seed: int) -> Split:
        drawn = seed if self.target.redrawn else 0
        if drawn not in self._parts:
            self._parts[drawn] = split(self.dataset, **self.target.split_of(seed))
        return self._parts[drawn]

    def _needed(self) -> NDArray[np.int64]:
        """Return what classifiers of any seed learn from or are tested on; fine-tuning reads for itself."""
        if self.target.redrawn:
            return np.arange(len(self.dataset))
        parts = self.parts(0)
        return np.sort(np.concatenate([*(getattr(parts, part) for part in self.target.learns_from), parts.test]))

    def pool(self, seed: int) -> NDArray[np.int64]:
        """Return what a classifier of frozen features may see, with or without a label."""
        return np.concatenate([getattr(self.parts(seed), part) for part in self.target.learns_from])

    def labelled(self, labels: int, seed: int) -> NDArray[np.int64]:
        return label_fraction(self.dataset, self.pool(seed), 1.0, seed, per_class=labels)

    def truth(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self.dataset.labels[index] for index in samples.tolist()])

    def features(self, start: str, seed: int, views: Turns) -> Features:
        """Return the features of all that was read; those that no seed changes are made once."""
        if start not in (DESCRIPTORS, WEIGHTS):
            return features(self._network(start, seed), self.volumes.volumes, views, self.options.device)
        if (start, views) not in self._features:
            self._features[start, views] = (
                describe(self.volumes.volumes[:, 0].numpy())
                if start == DESCRIPTORS
                else features(self._network(start, seed), self.volumes.volumes, views, self.options.device)
            )
        return self._features[start, views]

    def _network(self, start: str, seed: int) -> cryoreg.contracts.Encoder:
        if start == RANDOM:
            return random_encoder(self.encoder, seed)
        return cryoreg.create_encoder(pretrained=self.origin(start, seed))

    def origin(self, start: str, seed: int) -> str | None:
        """Return the weights that a start begins with, which are pretrained here where need be; None: random ones."""
        if start == RANDOM:
            return None
        given = self.weights.path if start.startswith(WEIGHTS) and self.weights else None
        recipe = start.removeprefix(WEIGHTS).removeprefix("+")
        if not recipe:
            return given
        common = {**self._common(seed), "batch_size": min(PRETRAINING["batch_size"], len(self.parts(seed).train))}
        return str(pretrained(self._folder(start, seed), recipe, self.encoder, given, common))

    def finetuned(self, start: str, labels: int, seed: int) -> Path:
        folder = self._folder(f"{start}-{labels}", seed)
        return finetuned(folder, labels, self.encoder, self.origin(start, seed), self._common(seed))

    def _folder(self, of: str, seed: int) -> Path:
        network = f"{self.described} {self.weights.digest if self.weights and of.startswith(WEIGHTS) else ''}"
        return self.options.work / "runs" / f"{self.name}-{of}-{seed}-{sha256(network.encode()).hexdigest()[:8]}"

    def _common(self, seed: int) -> dict[str, object]:
        """Return what pretraining and fine-tuning share."""
        dataset = self.target.settings(self.options.work, self.options.data, self.voxel_size)
        views = {"name": "cryoet", "tilt_axis": self.dataset.tilt_axis or "y"}
        shared = {"dataset": dataset, "split": self.target.split_of(seed), "augmentation": views, "seed": seed}
        return {**shared, "device": self.options.device}


def classifier(trial: Trial, key: Key, found: Features) -> Pipeline | FrozenLearner:
    """Return what learnt from labelled features: the learner that the way names, or logistic regression.

    That is on standardised features, or on features of length 1. A learner sees the rest of the pool as well.
    """
    options = trial.options
    chosen = trial.labelled(key.labels, key.seed)
    name = key.way.removeprefix(f"{FROZEN}, ")
    if name in options.learners:
        pool = trial.pool(key.seed)
        labels = np.where(np.isin(pool, chosen), trial.truth(pool), UNLABELLED)
        return FrozenLearner(name).fit(found[trial.volumes.of(pool)], labels)
    model = (
        make_pipeline(Normalizer(), LogisticRegression(C=REGULARISATION_OF_UNIT_LENGTH, max_iter=2000))
        if options.unit_length
        else make_pipeline(StandardScaler(), LogisticRegression(C=options.C, max_iter=2000))
    )
    return model.fit(found[trial.volumes.of(chosen)], trial.truth(chosen))


def frozen_rows(trial: Trial, start: str, seed: int, wanted: list[Key]) -> Iterator[tuple[Key, Features, float]]:
    """Yield predictions (tested,) by a classifier of frozen features."""
    begun = time.monotonic()
    found = trial.features(start, seed, wanted[0].views)
    test = trial.volumes.of(trial.parts(seed).test)
    for key in wanted:
        try:
            model = classifier(trial, key, found)
        except DataError as error:
            print(f"{shown(key, '')}  left out: {error}", flush=True)
            continue
        yield key, model.predict(found[test]), time.monotonic() - begun
        begun = time.monotonic()


def finetuned_rows(trial: Trial, start: str, seed: int, wanted: list[Key]) -> Iterator[tuple[Key, Features, float]]:
    """Yield predictions (tested,) of fine-tuned networks; plain and turned views are of one network."""
    test = trial.volumes.volumes[trial.volumes.of(trial.parts(seed).test)]
    for labels in dict.fromkeys(key.labels for key in wanted):
        begun = time.monotonic()
        try:
            run = trial.finetuned(start, labels, seed)
        except DataError as error:
            print(f"{trial.name}, {start}, {labels} a class: left out: {error}", flush=True)
            continue
        for key in wanted:
            if key.labels == labels:
                answers = probabilities(run, test, key.views, trial.options.device)
                yield key, answers.argmax(1), time.monotonic() - begun
        shutil.rmtree(run)


def keys(trial: Trial, start: str, way: str, seed: int, options: argparse.Namespace) -> Iterator[Key]:
    digest = trial.weights.digest if trial.weights and start.startswith(WEIGHTS) else ""
    for each, labels in product(frozen_ways(options) if way == FROZEN else [way], options.labels):
        for views in options.views if start != DESCRIPTORS else [1]:
            yield Key(trial.name, trial.described, start, digest, each, views, labels, seed)


def frozen_ways(options: argparse.Namespace) -> list[str]:
    """Return what the classifiers of frozen features are called."""
    if options.learners:
        return [f"{FROZEN}, {name}" for name in options.learners]
    if options.unit_length:
        return [f"{FROZEN}, unit length"]
    return [FROZEN if options.C == REGULARISATION else f"{FROZEN}, C = {options.C:g}"]


def run(trial: Trial, options: argparse.Namespace, starts: list[str], ways: list[str], ledger: Ledger) -> None:
    for start, way, seed in ((s, w, seed) for s in starts for w in ways for seed in options.seeds):
        wanted = [key for key in keys(trial, start, way, seed, options) if key not in ledger.done]
        if way == FROZEN:
            groups = [[key for key in wanted if key.views == views] for views in {key.views for key in wanted}]
            answers = (answer for group in groups for answer in frozen_rows(trial, start, seed, group))
        elif start == DESCRIPTORS:
            continue
        else:
            answers = finetuned_rows(trial, start, seed, wanted)
        for key, predicted, seconds in answers:
            ledger.add(row_of(trial, key, predicted, seconds))


def row_of(trial: Trial, key: Key, predicted: Features, seconds: float) -> Row:
    truth = trial.truth(trial.parts(key.seed).test)
    accuracy = float(np.mean(predicted == truth))
    f1 = float(f1_score(truth, predicted, average="macro", zero_division=0))
    label = trial.weights.label if trial.weights and key.weights else ""
    rounded = (round(accuracy, 5), round(f1, 5), len(truth), round(seconds, 1))
    return Row(key, label, *rounded, machine(trial.options.device), command_line())


def chosen(options: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """Return data sets, starts and ways that --only leaves."""
    known = {*TARGETS, *ROLES, *STARTS, *WAYS}
    for name in options.only:
        if name not in known:
            sys.exit(f"--only {name}: none of {', '.join(sorted(known))}")
    only = set(options.only)
    named = [name for name, target in TARGETS.items() if only & {name, target.role}]
    data = named if only & {*TARGETS, *ROLES} else [name for name, target in TARGETS.items() if not target.native]
    starts = [start for start in STARTS if start in only or not only & {*STARTS}]
    if options.weights is None:
        starts = [start for start in starts if not start.startswith(WEIGHTS)]
    return data, starts, [way for way in WAYS if way in only or not only & {*WAYS}]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for data sets and runs")
    parser.add_argument("--weights", help="run folder, encoder.safetensors or the name of weights")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="data sets, roles, starts and ways")
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 2, 5, 10, 20, 75, 300], help="of each class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--views", type=int, nargs="+", default=[1], choices=get_args(Turns), help="turned views")
    parser.add_argument("--unit-length", action="store_true", help="frozen: features of length 1, C = 30")
    parser.add_argument("--learners", nargs="+", default=[], metavar="NAME", help="frozen: those that train no encoder")
    parser.add_argument("--C", type=float, default=REGULARISATION, help="of logistic regression")
    parser.add_argument("--data", type=Path, default=target_sets.DATA, help="folder with the maps")
    parser.add_argument("--per-class", type=int, default=500, help="subtomograms of each class to simulate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "few_labels.csv")
    parser.add_argument("--table", action="store_true", help="print what --out holds, and stop")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.table:
        print(table(read_rows(options.out)))
        return
    if options.work is None:
        sys.exit("say --work FOLDER: where data sets and runs are to lie")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message="The number of unique classes")  # one label of each is meant
    for name in options.learners:
        FrozenLearner.require(name)
    if options.learners and (options.unit_length or options.C != REGULARISATION):
        sys.exit("--learners go with neither --unit-length nor --C: they see features as they do in a run")
    weights = Weights.read(options.weights) if options.weights else None
    data, starts, ways = chosen(options)
    ledger = Ledger(options.out)
    with threadpool_limits(options.threads):
        for name in data:
            target_sets.prepare(name, options.work, options.data, options.per_class)
            run(Trial(name, options, weights), options, starts, ways, ledger)
    print("\n" + table(row for row in read_rows(options.out) if asked(row.key, options, data, weights)))


def asked(key: Key, options: argparse.Namespace, data: list[str], weights: Weights | None) -> bool:
    """Tell whether a row is of what was asked for."""
    digests = {"", weights.digest if weights else ""}
    return key.data in data and key.labels in options.labels and key.seed in options.seeds and key.weights in digests


if __name__ == "__main__":
    main()
