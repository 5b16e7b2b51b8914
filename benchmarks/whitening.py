"""Would features serve few labels better, were they whitened? On the selection set, by what varies within structures.

    cryoreg simulate --universe 1200 --per-class 16 --seed 777 --output build/other-universe.h5
    cryoreg embed --from rb3d_universe --data build/other-universe.h5 --output build/other-universe.npz
    cryoreg embed --from rb3d_universe --data DIR/other-structures.h5 --output build/selection.npz
    python benchmarks/whitening.py build/selection.npz build/other-universe.npz --work DIR

Logistic regression on features of unit length as they are; whitened by the covariance of the set's own train split,
without labels; by the covariance within made-up structures that the weights have not seen (WCCN: Hatch et al.,
Interspeech 2006); and, of these, in the directions that tell made-up structures apart best (linear discriminants).
A covariance is shrunk: to it --shrinkage times its mean variance is added. Five draws of the labels; --out gets CSV.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import target_sets
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from target_sets import DATA, TARGETS

from cryoreg.datasets.splits import label_fraction, split

SET, VOXEL_SIZE = "other-structures", 20.0
OUT = Path(__file__).parent / "results" / "whitening.csv"
LABELS = (1, 5, 20, 75)
DIRECTIONS = 64
Array = NDArray[np.float64]


def main() -> None:
    options = _options()
    features, universe = (normalize(_table(path)["features"].astype(float)) for path in (options.set, options.universe))
    structures = _table(options.universe)["label"]
    target, dataset = TARGETS[SET], target_sets.open_target(SET, options.work, options.data, VOXEL_SIZE)
    truth = np.array(dataset.labels)
    lines = ["features,shrinkage,C,labels,seed,accuracy"]
    for seed in range(options.seeds):
        parts = split(dataset, **target.split_of(seed))
        pool = np.concatenate([getattr(parts, part) for part in target.learns_from])
        spaces = list(_spaces(features[pool], universe, structures, options.shrinkage))
        drawn = {labels: label_fraction(dataset, pool, 1.0, seed, per_class=labels) for labels in LABELS}
        for name, shrinkage, space in spaces:
            x = normalize(features @ space)
            for strength in options.C:
                for labels, chosen in drawn.items():
                    model = LogisticRegression(C=strength, max_iter=2000).fit(x[chosen], truth[chosen])
                    accuracy = float(np.mean(model.predict(x[parts.test]) == truth[parts.test]))
                    lines.append(f"{name},{shrinkage:g},{strength:g},{labels},{seed},{accuracy:.5f}")
    options.out.write_text("\n".join(lines) + "\n")
    _show(lines[1:])


def _spaces(
    pool: Array, universe: Array, structures: NDArray[np.generic], shrinkage: list[float]
) -> Iterator[tuple[str, float, Array]]:
    """Yield names, shrinkages, and maps (features, dimensions) of unit-length features."""
    yield "as they are", 0.0, np.eye(pool.shape[1])
    names, of = np.unique(structures, return_inverse=True)
    means = np.stack([universe[of == each].mean(0) for each in range(len(names))])
    within, between = np.cov((universe - means[of]).T), np.cov(means.T)
    for added in shrinkage:
        yield "whitened by the set's own", added, _whitening(np.cov(pool.T), added)
        wccn = _whitening(within, added)
        yield "whitened within structures", added, wccn
        yield f"{DIRECTIONS} discriminants", added, wccn @ np.linalg.eigh(wccn.T @ between @ wccn)[1][:, -DIRECTIONS:]


def _whitening(covariance: Array, added: float) -> Array:
    """Return the symmetric inverse square root of a covariance shrunk by ``added`` times its mean variance."""
    variances, axes = np.linalg.eigh(
        covariance + added * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    )
    return (axes / np.sqrt(variances)) @ axes.T


def _table(path: Path) -> dict[str, NDArray[np.generic]]:
    with np.load(path) as table:
        return {name: table[name] for name in ("features", "label")}


def _show(lines: list[str]) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        *way, labels, _, accuracy = line.split(",")
        found.setdefault(", ".join(way), {}).setdefault(labels, []).append(100 * float(accuracy))
    for name, by_labels in found.items():
        shown = (f"{np.mean(each):5.1f} ± {np.std(each, ddof=1):3.1f}" for each in by_labels.values())
        print(f"{name:40}", *shown, sep="  ")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("set", type=Path, help="features of the selection set, by `cryoreg embed`")
    parser.add_argument("universe", type=Path, help="likewise, of made-up structures")
    parser.add_argument("--work", type=Path, required=True, help="where target_sets.py made the selection set")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--shrinkage", type=float, nargs="+", default=[0.1, 1.0, 5.0])
    parser.add_argument("--C", type=float, nargs="+", default=[3.0, 10.0, 30.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
