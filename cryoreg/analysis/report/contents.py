"""All that a report says, as plain data."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure
from numpy.typing import NDArray

from cryoreg.analysis.cluster_montage import draw_montage
from cryoreg.analysis.clustering import Clustering, ClusterSettings, cluster
from cryoreg.analysis.gradcam import draw_comparison
from cryoreg.analysis.report.doubt import doubts_of
from cryoreg.analysis.report.layout import Layout, Neighbours, layouts, nearest
from cryoreg.analysis.report.quality import confident_mistakes, evaluation_of
from cryoreg.analysis.report.run_facts import Course, Section, course, facts, last, sections, task_of, warnings_of_run
from cryoreg.analysis.report.sprites import Sheet, slice_sheet
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.duplicates import across_splits
from cryoreg.datasets.splits import Split
from cryoreg.errors import CheckpointError, CryoregError, DataError
from cryoreg.inference.embedding import Embedding, Part, embedding_of, parts_of, samples_of
from cryoreg.inference.evaluate import CROSS_VALIDATED, Evaluation
from cryoreg.inference.trained import Trained
from cryoreg.proportions import Proportion
from cryoreg.training.cross_validation import HeldOut, cross_validates, held_out
from cryoreg.training.probe import LARGEST

_QUERIES = 10
_EXPLAINED = 4
_WIDE = 0.2
"""An interval of the accuracy from which on its width is a warning."""


class Figure(NamedTuple):
    """A number to begin with."""

    name: str
    value: float
    counted: Proportion | None
    """What was counted, where it is a share."""
    note: str
    percent: bool = True


class Clusters(NamedTuple):
    """What an encoder holds alike."""

    found: Clustering
    montage: bytes
    """A WebP."""


@dataclass(frozen=True)
class Contents:
    """A report."""

    title: str
    task: str
    part: str
    """The part that the figures are of: train, val, test, cv (out of fold) or all."""
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
    slices: str
    """How the slices lie, in a sentence."""
    gradcam: bytes | str
    """A WebP, or why there is none."""
    clusters: Clusters | None
    """Of ``shown``; None with a classifier, whose classes tell more, or too few subtomograms."""

    @property
    def agreement(self) -> tuple[float, float]:
        """Share of the neighbours that have the label of their query, and the same by chance; NaN without labels."""
        return self.neighbours.agreement(self.shown.labels)


def gather(trained: Trained, limit: int = 5000, part: Part | None = None, alone: bool = False) -> Contents:
    """Return the contents of a run's report; ``alone``: of data alone, as trained weights see them.

    Figures are of all labelled subtomograms of ``part`` (None: test, or all where the data have no such part). The map
    shows up to ``limit`` subtomograms: those of ``part`` first, then others, drawn with a fixed seed.
    """
    parts = parts_of(trained)
    held = _held_out(trained, part)
    known: Part = part or ("test" if parts is not None and "test" in parts else "all")
    measured = samples_of(trained, known) if held is None else held.samples
    name = known if held is None else CROSS_VALIDATED
    samples = choose_shown(measured, len(trained.dataset), limit)
    evaluation, shown, doubts = _embed(trained, measured, samples, name, held)
    within = np.flatnonzero(np.isin(samples, measured))
    queries = _in_turn(shown, within, _QUERIES)
    progress = Course({}, {}) if alone else course(trained.path.parent)
    clusters = None if trained.classifies else _clusters(trained, shown, samples.tolist())
    return Contents(
        title=_title(trained, alone),
        task=task_of(trained.card),
        part=name,
        figures=[*_figures(evaluation, progress, parts), *_figures_of(clusters)],
        facts=facts(trained, alone),
        warnings=[
            *doubts,
            *warnings_of_run(trained, progress),
            *_warnings_of_data(trained, parts, name, evaluation, limit, alone),
        ],
        sections=sections(trained),
        course=progress,
        evaluation=evaluation,
        shown=shown,
        whole=len(trained.dataset),
        layouts=layouts(shown.features),
        neighbours=nearest(shown.features),
        queries=queries,
        mistakes=confident_mistakes(shown, within),
        sheet=slice_sheet(trained.dataset, samples.tolist()),
        slices=_about_slices(trained),
        gradcam=_gradcam(trained, samples[queries[:_EXPLAINED]]),
        clusters=clusters,
    )


def _embed(
    trained: Trained, measured: NDArray[np.int64], shown: NDArray[np.int64], part: str, held: HeldOut | None
) -> tuple[Evaluation | None, Embedding, list[str]]:
    """Embed what is measured and what is shown, once; return the figures of the former, the latter, and doubts.

    What models that were not shown them say of some, ``held``, counts for these; the network itself has learnt them.
    """
    both = np.union1d(measured, shown)
    embedding = embedding_of(trained, both)
    if held is not None and embedding.logits is not None:
        rows = np.searchsorted(both, held.samples)
        embedding.logits[rows] = held.logits
        for row in rows.tolist():
            embedding.parts[row] = "test"
    if not np.isfinite(embedding.features).all():
        raise CheckpointError(f"the features by {trained.path} are not finite; train anew with a lower learning rate")
    evaluation = evaluation_of(embedding, np.searchsorted(both, measured), part)
    doubts = [] if held else doubts_of(trained, embedding.take(np.searchsorted(both, measured)))
    return evaluation, embedding.take(np.searchsorted(both, shown)), doubts


def _held_out(trained: Trained, part: Part | None) -> HeldOut | None:
    """Return what the folds of a cross-validation say of what they were not shown; None where there are none."""
    if part is not None or not (trained.classifies and cross_validates(trained.config)):
        return None
    try:
        return held_out(trained.config, trained.path.parent, trained.dataset)
    except (CheckpointError, DataError):  # other data, or a classifier without its folds: a warning says so
        return None


def choose_shown(measured: NDArray[np.int64], total: int, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """Return up to ``limit`` of ``total`` indices, in order: those in ``measured`` first, else at random."""
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(total), measured)
    return np.sort(np.concatenate([rng.permutation(measured), rng.permutation(others)])[:limit])


def _in_turn(embedding: Embedding, rows: NDArray[np.int64], count: int) -> list[int]:
    """Return up to ``count`` rows, drawn with a fixed seed: one of each class, then a second of each, and so on."""
    seen: dict[str | None, int] = {}
    turns = []
    for row in np.random.default_rng(0).permutation(rows).tolist():
        label = embedding.labels[row]
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], label or "", row))
    return [row for _, _, row in sorted(turns)[:count]]


def _about_slices(trained: Trained) -> str:
    width, voxel_size = trained.dataset.box[2], trained.dataset.voxel_size
    extent = f"{width} voxels" if voxel_size is None else f"{width * voxel_size:.0f} Å"
    return f"Slices are central, across the beam: y up, x right, {extent} wide."


def _figures(evaluation: Evaluation | None, progress: Course, parts: NDArray[np.object_] | None) -> list[Figure]:
    """Return what the network achieves: on labelled subtomograms, else in its probes, else its loss."""
    if evaluation is not None:
        places = {"all": "labelled", CROSS_VALIDATED: "out of fold (cross-validation)"}
        where = places.get(evaluation.part, f"{evaluation.part} split")
        note = f"{where}, {len(evaluation.labels)} subtomograms"
        largest = evaluation.confusion.sum(1).max() / len(evaluation.labels)
        return [
            Figure("accuracy", evaluation.accuracy, evaluation.proportion, note),
            Figure("macro-F1", evaluation.macro_f1, None, "mean over the classes", percent=False),
            Figure("largest class", float(largest), None, "accuracy of always saying it"),
        ]
    probed = 0 if parts is None else min(LARGEST, int((parts == "val").sum()))
    names = {"linear_accuracy": "linear probe", "knn_accuracy": "kNN probe"}
    found = [Figure(name, last(progress.epochs, key), None, "validation accuracy") for key, name in names.items()]
    found = [one._replace(counted=_counted(one.value, probed)) for one in found if not math.isnan(one.value)]
    loss = last(progress.epochs, "loss")
    return found or ([] if math.isnan(loss) else [Figure("loss", loss, None, "last epoch", percent=False)])


def _figures_of(clusters: Clusters | None) -> list[Figure]:
    if clusters is None:
        return []
    note = f"{len(clusters.found.sizes)} of them: the mean adjusted Rand index between seeds"
    return [Figure("stability of clusters", clusters.found.stability, None, note, percent=False)]


def _counted(share: float, count: int) -> Proportion | None:
    return Proportion(round(share * count), count) if count else None


def _warnings_of_data(
    trained: Trained,
    parts: NDArray[np.object_] | None,
    part: str,
    evaluation: Evaluation | None,
    limit: int,
    alone: bool,
) -> list[str]:
    found = []
    if evaluation is not None and evaluation.proportion.interval.width > _WIDE:
        counted = "out of fold" if part == CROSS_VALIDATED else f"of the {part} subtomograms"
        found.append(f"they are few: accuracy {counted} {evaluation.proportion.said_of('subtomograms')}")
    if parts is None and not alone:
        found.append("the run did not split these data, so nobody can tell what the network has seen of them")
    if parts is not None:
        found += filter(None, [divide(trained.dataset, trained.config.split).warning])
        found += copies_across(trained, parts, limit)
    if evaluation is None:
        return found
    if part in ("train", "val") or (part == "all" and parts is not None):
        found.append("the figures are not of held-out data: the network has learnt from these, or was chosen by them")
    never = [name for k, name in enumerate(evaluation.classes) if not (evaluation.predictions == k).any()]
    if never:
        found.append(f"never predicted: {', '.join(never)}")
    return found


def copies_across(trained: Trained, parts: NDArray[np.object_], limit: int) -> list[str]:
    """Return a warning of copies across splits, or that none were sought: it would take more than ``limit`` volumes."""
    dataset = trained.dataset
    if dataset.duplicates is None and len(dataset) > limit:
        return ["copies across the splits were not looked for, the data set being large; `cryoreg inspect --all` does"]
    torn = across_splits(dataset, Split(*(np.flatnonzero(parts == name) for name in Split._fields)))
    if not torn:
        return []
    number = len(set(chain.from_iterable(torn)))
    return [
        f"{number} subtomograms are in more than one split, voxel by voxel (the first: {torn[0][0]}); accuracy looks "
        "better than it is"
    ]


def _clusters(trained: Trained, shown: Embedding, samples: list[int]) -> Clusters | None:
    """Sort what is shown into clusters by its features; None where it is too little."""
    try:
        found = cluster(shown.features, ClusterSettings())
    except DataError:
        return None
    return Clusters(found, _webp(draw_montage(trained.dataset, found, samples)))


def _title(trained: Trained, alone: bool) -> str:
    """Return the name of the run, or, of data ``alone``, theirs."""
    root = getattr(trained.config.spec("dataset"), "root", None)
    return Path(root).name if alone and root else trained.path.parent.absolute().name


def _gradcam(trained: Trained, samples: NDArray[np.int64]) -> bytes | str:
    """Draw where random and trained networks look, as in Figure 8 of Gupta et al. 2022."""
    try:
        figure = draw_comparison(trained, samples.tolist())
    except CryoregError as error:
        return str(error)
    return _webp(figure)


def _webp(figure: MatplotlibFigure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="webp", pil_kwargs={"quality": 85})
    return file.getvalue()
