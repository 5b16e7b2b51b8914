"""All that a report says, as plain data."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.analysis.embedding import Embedding, embedding_of, parts_of, samples_of
from cryoreg.analysis.gradcam import draw_comparison
from cryoreg.analysis.inference import Trained
from cryoreg.analysis.report.layout import Layout, Neighbours, layouts, nearest
from cryoreg.analysis.report.quality import confident_mistakes, evaluation_of
from cryoreg.analysis.report.run_facts import Course, Section, course, facts, last, sections, task_of, warnings_of_run
from cryoreg.analysis.report.sprites import Sheet, slice_sheet
from cryoreg.datasets.duplicates import across_splits
from cryoreg.datasets.splits import Split
from cryoreg.errors import CryoregError
from cryoreg.training.evaluate import Evaluation
from cryoreg.training.probe import LARGEST

_QUERIES = 8
_EXPLAINED = 4


class Figure(NamedTuple):
    """A number to begin with."""

    name: str
    value: float
    error: float
    """Its standard error, NaN where there is none."""
    note: str
    percent: bool = True


@dataclass(frozen=True)
class Contents:
    """A report."""

    title: str
    task: str
    part: str
    """Of which part the figures are: train, val, test or all."""
    figures: list[Figure]
    facts: list[tuple[str, str]]
    warnings: list[str]
    sections: list[Section]
    course: Course
    evaluation: Evaluation | None
    shown: Embedding
    """Subtomograms of the map."""
    whole: int
    """Subtomograms of the data set."""
    layouts: list[Layout]
    neighbours: Neighbours
    """Rows of ``shown``."""
    queries: list[int]
    """Rows of ``shown`` whose neighbours are printed."""
    mistakes: list[int]
    """Rows of ``shown``."""
    sheet: Sheet
    """Slices of ``shown``."""
    gradcam: bytes | str
    """A PNG, or why there is none."""


def gather(trained: Trained, limit: int = 5000, part: str | None = None) -> Contents:
    """Return the contents of a run's report.

    Figures are of all labelled subtomograms of ``part`` (None: test, or all where the data have no such part). The map
    shows up to ``limit`` subtomograms: those of ``part`` first, then others, drawn with a fixed seed.
    """
    parts = parts_of(trained)
    part = part or ("test" if parts is not None and "test" in parts else "all")
    measured = samples_of(trained, part)  # type: ignore[arg-type]
    shown = choose_shown(measured, len(trained.dataset), limit)
    both = np.union1d(measured, shown)
    embedding = embedding_of(trained, both)
    evaluation = evaluation_of(embedding, np.searchsorted(both, measured), part)
    map_rows = embedding.take(np.searchsorted(both, shown))
    progress = course(trained.path.parent)
    return Contents(
        title=trained.path.parent.absolute().name,
        task=task_of(trained.card),
        part=part,
        figures=_figures(trained, evaluation, progress, parts),
        facts=facts(trained),
        warnings=[*warnings_of_run(trained, progress), *_warnings_of_data(trained, parts, part, evaluation, limit)],
        sections=sections(trained),
        course=progress,
        evaluation=evaluation,
        shown=map_rows,
        whole=len(trained.dataset),
        layouts=layouts(map_rows.features),
        neighbours=nearest(map_rows.features),
        queries=_in_turn(map_rows, np.flatnonzero(np.isin(shown, measured)), _QUERIES),
        mistakes=confident_mistakes(map_rows, np.flatnonzero(np.isin(shown, measured))),
        sheet=slice_sheet(trained.dataset, shown.tolist()),
        gradcam=_gradcam(trained, shown[_in_turn(map_rows, np.flatnonzero(np.isin(shown, measured)), _EXPLAINED)]),
    )


def choose_shown(measured: NDArray[np.int64], total: int, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """Return up to ``limit`` of ``total`` indices, in order: those in ``measured`` first, else at random."""
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(total), measured)
    return np.sort(np.concatenate([rng.permutation(measured), rng.permutation(others)])[:limit])


def _in_turn(embedding: Embedding, rows: NDArray[np.int64], count: int) -> list[int]:
    """Return up to ``count`` rows: the first of each class, then the second of each, and so on."""
    seen: dict[str | None, int] = {}
    turns = []
    for row in rows.tolist():
        label = embedding.labels[row]
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], row))
    return [row for _, row in sorted(turns)[:count]]


def _figures(
    trained: Trained, evaluation: Evaluation | None, progress: Course, parts: NDArray[np.object_] | None
) -> list[Figure]:
    if evaluation is not None:
        note = f"{evaluation.part} split, {len(evaluation.labels)} subtomograms"
        if evaluation.part == "all":
            note = f"{len(evaluation.labels)} labelled subtomograms"
        return [
            Figure("accuracy", evaluation.accuracy, evaluation.accuracy_error, note),
            Figure("macro-F1", evaluation.macro_f1, math.nan, "mean over the classes", percent=False),
        ]
    probed = 0 if parts is None else min(LARGEST, int((parts == "val").sum()))
    names = {"linear_accuracy": "linear probe", "knn_accuracy": "kNN probe"}
    found = [Figure(name, last(progress.epochs, key), math.nan, "validation accuracy") for key, name in names.items()]
    found = [one._replace(error=_binomial(one.value, probed)) for one in found if not math.isnan(one.value)]
    loss = last(progress.epochs, "loss")
    return found or ([] if math.isnan(loss) else [Figure("loss", loss, math.nan, "last epoch", percent=False)])


def _binomial(share: float, count: int) -> float:
    return math.sqrt(share * (1 - share) / count) if count else math.nan


def _warnings_of_data(
    trained: Trained, parts: NDArray[np.object_] | None, part: str, evaluation: Evaluation | None, limit: int
) -> list[str]:
    found = []
    if parts is None:
        found.append("the run did not split these data, so nobody can tell what the network has seen of them")
    else:
        found += _copies(trained, parts, limit)
    if evaluation is None:
        return found
    if part in ("train", "val") or (part == "all" and parts is not None):
        found.append("the figures are not of held-out data: the network has learnt from these, or was chosen by them")
    never = [name for k, name in enumerate(evaluation.classes) if not (evaluation.predictions == k).any()]
    if never:
        found.append(f"never predicted: {', '.join(never)}")
    return found


def _copies(trained: Trained, parts: NDArray[np.object_], limit: int) -> list[str]:
    """Look for copies across splits, unless many volumes would have to be read for it."""
    dataset = trained.dataset
    if getattr(dataset, "duplicates", None) is None and len(dataset) > limit:
        return ["copies across the splits were not looked for, the data set being large; `cryoreg inspect --all` does"]
    torn = across_splits(dataset, Split(*(np.flatnonzero(parts == name) for name in Split._fields)))
    if not torn:
        return []
    number = len(set(chain.from_iterable(torn)))
    return [
        f"{number} subtomograms are in more than one split, voxel by voxel (the first: {torn[0][0]}); accuracy looks "
        "better than it is"
    ]


def _gradcam(trained: Trained, samples: NDArray[np.int64]) -> bytes | str:
    """Draw where random and trained networks look, as in Figure 8 of Gupta et al. 2022."""
    try:
        figure = draw_comparison(trained, samples.tolist())
    except CryoregError as error:
        return str(error)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
