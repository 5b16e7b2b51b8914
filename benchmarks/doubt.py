"""What are "none of these" and the warning of drift worth? On structures that a run has never seen, and on other data.

    OMP_NUM_THREADS=1 python benchmarks/doubt.py --work DIR [--data ../shared/data] [--full]

The ten maps of docs/results.md are simulated as `liu2020` does, and brought to 20 Å. Two times, four of them are held
out, and six are learnt by a linear probe on `rb3d_universe` (all labels, and five of each class); with --full by full
fine-tuning, too, which takes ten minutes more. What is strange: the four others, boxes of noise alone, and membranes.
Drift is looked for in draws of 60 subtomograms of another seed, as they are and changed. --out gets it all, as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from target_sets import DATA, TEN_MAPS

import cryoreg
from cryoreg.config import Layer
from cryoreg.datasets.conversion.simulated_store import SimulatedSet
from cryoreg.datasets.resampling import resample
from cryoreg.datasets.splits import split
from cryoreg.doubt.answers import Answers
from cryoreg.doubt.drift import differences
from cryoreg.doubt.familiar import NONE_BELOW, Familiar
from cryoreg.doubt.familiar_file import load_familiar
from cryoreg.doubt.strangeness import SCORES, strangeness
from cryoreg.doubt.words import family
from cryoreg.inference.trained import Trained
from cryoreg.simulation.settings import make_settings
from cryoreg.simulation.simulator import Scene
from cryoreg.simulation.structure_files import StructureOptions, read_structure
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.universe.bodies import membrane
from cryoreg.training.calibration import probabilities, temperature_of

OUT = Path(__file__).parent / "results" / "doubt.json"
HELD_OUT = {"last four": TEN_MAPS[6:], "first four": TEN_MAPS[:4]}
VOXEL_SIZE, EDGE = 20.0, 16
DRAWS, DRAWN = 100, 60
MEMBRANES = 5
"""Different ones."""
Volumes = NDArray[np.float32]


class Pool(NamedTuple):
    """Simulated subtomograms at 10 Å, 32³: with noise and without."""

    volumes: Volumes
    clean: Volumes
    labels: NDArray[np.int64]


def structures(data: Path) -> tuple[Structure, ...]:
    options = StructureOptions(make_settings("liu2020", []).point_spacing)._replace(map_threshold=0.05)
    return tuple(read_structure(data / "density_maps" / f"{name}.mrc", options) for name in TEN_MAPS)


def pool(bodies: tuple[Structure, ...], per_class: int, seed: int, only: int | None = None) -> Pool:
    """Simulate scenes of all bodies, or of one of them among the others."""
    made = SimulatedSet(bodies, make_settings("liu2020", []), seed=seed, per_class=per_class)
    indices = made.indices if only is None else range(only, per_class * len(bodies), len(bodies))
    scenes: list[Scene] = list(made.scenes(indices))
    labels = np.array([scene.label for scene in scenes])
    return Pool(np.stack([s.volume for s in scenes]), np.stack([s.clean for s in scenes]), labels)


def simulated(work: Path, data: Path) -> dict[str, Pool]:
    """Return what is learnt from, what it is looked for in, and membranes; made once, in a file."""
    path = work / "pools.npz"
    if not path.exists():
        bodies, rng = structures(data), np.random.default_rng(0)
        films = [Structure.centred("membrane", *membrane(rng)) for _ in range(MEMBRANES)]
        parts = [pool((*bodies, film), 20, 10 + number, len(bodies)) for number, film in enumerate(films)]
        pools = {
            "taught": pool(bodies, 150, 0),
            "fresh": pool(bodies, 40, 1),
            "membranes": Pool(*map(np.concatenate, zip(*parts, strict=True))),
        }
        work.mkdir(parents=True, exist_ok=True)
        np.savez(
            path, **{f"{name}.{key}": part for name, all_ in pools.items() for key, part in all_._asdict().items()}
        )
    with np.load(path) as held:
        names = ("taught", "fresh", "membranes")
        return {name: Pool(*(held[f"{name}.{key}"] for key in Pool._fields)) for name in names}


def shown(volumes: Volumes, voxel_size: float = VOXEL_SIZE) -> Volumes:
    """Bring volumes from 10 Å to another voxel size, in boxes of 16."""
    return np.stack([resample(volume, 10.0 / voxel_size, (EDGE,) * 3) for volume in volumes])


def write(folder: Path, classes: Mapping[str, Volumes]) -> dict[str, object]:
    """Write a data set, and return how to open it."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, volumes in classes.items():
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "volumes.npy", volumes.astype(np.float32))
    return {"name": "npy_folder", "root": str(folder), "voxel_size": VOXEL_SIZE, "contrast": "bright"}


LEARNERS: dict[str, dict[str, object]] = {
    "linear probe": {"learner": {"name": "linear_probe", "unit_length": True}},
    "linear probe, 5 labels a class": {"learner": {"name": "linear_probe", "unit_length": True}, "labels_per_class": 5},
}
FULL: dict[str, object] = {"augmentation": "cryoet", "epochs": 15, "optimizer": "adamw", "lr": 3e-4}


class Subject:
    """A run, and what it answers."""

    def __init__(self, work: Path, taught: Mapping[str, Volumes], how: Mapping[str, object]) -> None:
        self.work, run = work, work / "run"
        shutil.rmtree(run, ignore_errors=True)
        source = write(work / "taught", taught)
        began = time.process_time()
        cryoreg.finetune(run, pretrained="rb3d_universe", dataset=source, device="cpu", workers=0, **how)  # type: ignore[arg-type]
        self.seconds = time.process_time() - began
        self.trained = Trained.classifier(run)
        known = load_familiar(self.trained.path)
        assert isinstance(known, Familiar)
        self.familiar = known

    def answers(self, volumes: Volumes) -> Answers:
        layer = Layer("changed", {"dataset": write(self.work / "shown", {"all": volumes})})
        return Trained.with_data(self.trained.network, [layer], labels=False).answers()

    def test(self) -> tuple[Answers, NDArray[np.int64]]:
        """Answers to the test split, and its labels."""
        dataset, settings = self.trained.dataset, self.trained.config.split
        rows = split(dataset, settings.fractions, settings.seed).test.tolist()
        return self.trained.answers(rows), np.array([dataset.labels[row] for row in rows])


def telling(subject: Subject, strange: Mapping[str, Volumes]) -> dict[str, object]:
    """Return how well each score tells the strange from the test split."""
    test, labels = subject.test()
    usual = strangeness(subject.familiar.known, *test[:2])
    kinds = {name: subject.answers(volumes) for name, volumes in strange.items()}
    return {
        "accuracy": round(float((test.predictions == labels).mean()), 3),
        "chosen": subject.familiar.chosen,
        "tested": len(labels),
        "seconds of one core to learn": round(subject.seconds),
        "marked of the test split": marked(subject, test),
        "marked": {name: marked(subject, found) for name, found in kinds.items()},
        "scores": {
            score: {name: figures(usual[:, place], strangeness(subject.familiar.known, *found[:2])[:, place])
                    for name, found in kinds.items()}
            for place, score in enumerate(SCORES)
        },
    }  # fmt: skip


def figures(usual: NDArray[np.float64], strange: NDArray[np.float64]) -> dict[str, float]:
    """Return the area under the ROC curve, and how many strange ones pass where 95 % of the usual ones do."""
    truth = np.repeat([0, 1], [len(usual), len(strange)])
    passing = float((strange <= np.quantile(usual, 0.95)).mean())
    return {"auroc": round(float(roc_auc_score(truth, np.r_[usual, strange])), 3), "fpr_at_95_tpr": round(passing, 3)}


def marked(subject: Subject, answers: Answers) -> float:
    """Return the share that `predict` would mark by the score that was chosen."""
    return round(float((subject.familiar.familiarity(answers, subject.familiar.chosen) <= NONE_BELOW).mean()), 3)


def changes(fresh: Pool, known: NDArray[np.bool_]) -> Iterator[tuple[str, Callable[[], Volumes]]]:
    """Yield what is done to fresh subtomograms of known classes, and how."""
    volumes, clean = fresh.volumes[known], fresh.clean[known]
    noise = volumes - clean
    plain = volumes / volumes.std(axis=(1, 2, 3), keepdims=True)
    yield "another draw", lambda: shown(volumes)
    yield "brightness and gain (7·v + 1000)", lambda: shown(7 * volumes + 1000)
    yield "grey values exp(v)", lambda: shown(np.exp(plain))
    yield "grey values cut at ±1 sd", lambda: shown(plain.clip(-1, 1))
    for gain in (2.0, 0.5, 0.25, 0.12):
        yield f"signal × {gain} (SNR × {gain**2:.2g})", lambda gain=gain: shown(gain * clean + noise)
    yield "inverted contrast", lambda: shown(-volumes)
    for size in (18.0, 16.0, 25.0):
        yield f"voxels of {size:g} Å taken for 20", lambda size=size: shown(volumes, size)


def drifting(subject: Subject, fresh: Pool, names: tuple[str, ...]) -> dict[str, object]:
    """Return how often draws of changed data raise a warning, and how right the run is about them."""
    known = np.isin(np.array(TEN_MAPS)[fresh.labels], names)
    labels = np.searchsorted(sorted(names), np.array(TEN_MAPS)[fresh.labels[known]])
    found: dict[str, object] = {
        name: warned(subject, subject.answers(make()), labels) for name, make in changes(fresh, known)
    }
    found["other structures"] = warned(subject, subject.answers(shown(fresh.volumes[~known])), None)
    return found


def warned(subject: Subject, answers: Answers, labels: NDArray[np.int64] | None) -> dict[str, object]:
    rng, temperature = np.random.default_rng(0), temperature_of(subject.trained.card)
    kinds: dict[str, int] = {}
    alarms = 0
    for _ in range(DRAWS):
        rows = rng.choice(len(answers.logits), DRAWN, replace=False)
        some = answers.take(rows)
        told = differences(subject.familiar.reference, subject.familiar.seen(some, [None] * DRAWN))
        alarms += bool(told)
        for kind in {family(each) for each in told}:
            kinds[kind] = kinds.get(kind, 0) + 1
    return {
        "warned": alarms / DRAWS,
        "of": {kind: count / DRAWS for kind, count in sorted(kinds.items())},
        "accuracy": None if labels is None else round(float((answers.predictions == labels).mean()), 3),
        "mean confidence": round(float(probabilities(answers.logits, temperature).max(1).mean()), 3),
        "marked": marked(subject, answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with density_maps")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--full", action="store_true", help="full fine-tuning as well")
    options = parser.parse_args()
    began = time.process_time()
    pools = simulated(options.work, options.data)
    taught, names = pools["taught"], np.array(TEN_MAPS)[pools["taught"].labels]
    small = {name: shown(taught.volumes[names == name]) for name in TEN_MAPS}
    none = {
        "empty": shown((taught.volumes - taught.clean)[:200]),
        "membranes": shown(pools["membranes"].volumes),
    }
    results: dict[str, object] = {}
    for fold, held_out in HELD_OUT.items():
        learnt = tuple(sorted(set(TEN_MAPS) - set(held_out)))
        for learner, how in (LEARNERS | ({"full": FULL} if options.full else {})).items():
            subject = Subject(options.work, {name: small[name] for name in learnt}, how)
            others = {"other structures": np.concatenate([small[name][:60] for name in held_out]), **none}
            told = telling(subject, others)
            if learner != "linear probe, 5 labels a class":
                told["drift"] = drifting(subject, pools["fresh"], learnt)
            results[f"{learner}; {fold} held out"] = told
            print(json.dumps({learner: told}, indent=1), flush=True)
    results["machine"] = {"processor": platform.machine(), "seconds of one core": round(time.process_time() - began)}
    options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
