"""All that a report says, as plain data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure
from numpy.typing import NDArray

from cryoreg.analysis.cluster_montage import draw_montage
from cryoreg.analysis.clusters import Clustering
from cryoreg.analysis.examples import in_turns
from cryoreg.analysis.gradcam_figure import compare_networks, draw_comparison, in_words
from cryoreg.analysis.report import wariness
from cryoreg.analysis.report.doubt import Doubted, doubts_of
from cryoreg.analysis.report.headline import Figure, figures_of, probes_of, stability_of
from cryoreg.analysis.report.layout import Layout, Neighbours, clusters_of, layouts, nearest
from cryoreg.analysis.report.measured import Seen
from cryoreg.analysis.report.next_steps import Step, steps
from cryoreg.analysis.report.quality import confident_mistakes, evaluation_of
from cryoreg.analysis.report.run_facts import Course, Section, course, facts, last, sections, task_of, warnings_of_run
from cryoreg.analysis.report.shares import Shares, shares_of
from cryoreg.analysis.report.sprites import Sheet, slice_sheet
from cryoreg.analysis.report.verdict import Verdict, labels_learnt, of_classifier, of_encoder
from cryoreg.beside import Beside
from cryoreg.errors import CryoregError
from cryoreg.inference.embedding import Embedding
from cryoreg.inference.evaluate import Evaluation
from cryoreg.inference.trained import Trained

_QUERIES = 10
_EXPLAINED = 4
_LOOKED_AT = 8
"""Subtomograms shown of each that a verdict asks to look at."""
_TOMOGRAMS = 3
"""That are looked at."""


class LookAt(NamedTuple):
    """Subtomograms to look at, and why."""

    why: str
    rows: list[int]
    """Of what is shown."""


class GradCam(NamedTuple):
    """Where networks look."""

    picture: bytes
    """A WebP."""
    words: str


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
    verdict: Verdict
    look_at: list[LookAt]
    steps: list[Step]
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
    width: int
    """Of a slice, voxels."""
    voxel_size: float | None
    """Å."""
    gradcam: GradCam | str
    """Or why there is none."""
    shares: Shares | None
    """Of ``shown``: predicted classes or clusters by tomogram; None where no tomogram is known."""
    clusters: Clusters | None
    """Of ``shown``; None with a classifier, whose classes tell more, or too few subtomograms."""

    @property
    def agreement(self) -> tuple[float, float]:
        """Share of the neighbours that have the label of their query, and the same by chance; NaN without labels."""
        return self.neighbours.agreement(self.shown.labels)


def gather(
    trained: Trained,
    seen: Seen,
    limit: int = 5000,
    alone: bool = False,
    start: Sequence[str] = (),
    other: Beside | None = None,
) -> Contents:
    """Return the contents of a run's report; ``alone``: of data alone, as trained weights see them.

    ``limit`` is that by which ``seen`` was chosen; ``start`` are the words that name the network in commands. The
    ``other`` process works out, meanwhile, how features lie.
    """
    other = other or Beside()
    measured, judged, samples, shown = seen
    ask_clusters = None if trained.classifies else other.ask(clusters_of, shown.features)
    ask_neighbours, ask_layouts = other.ask(nearest, shown.features), other.ask(layouts, shown.features)
    parts, name = measured.parts, measured.part
    evaluation = evaluation_of(judged, name)
    doubted = Doubted() if measured.held else doubts_of(trained, judged)
    within = np.flatnonzero(np.isin(samples, measured.samples))
    queries = _in_turn(shown, within, _QUERIES)
    with other.spared():
        gradcam = _gradcam(trained, samples[queries[:_EXPLAINED]])
    sheet = slice_sheet(trained.dataset, samples.tolist())
    progress = Course({}, {}) if alone else course(trained.path.parent)
    clusters = None if ask_clusters is None else _clusters(trained, ask_clusters(), samples.tolist())
    neighbours, shares = ask_neighbours(), _shares(shown, clusters)
    biased = wariness.of_data(trained, parts, measured.own, limit, alone)
    probes = probes_of(progress, parts)
    stability = None if clusters is None else (len(clusters.found.sizes), clusters.found.stability)
    if trained.classifies:
        labels = labels_learnt(trained, parts)
        verdict = of_classifier(evaluation, labels, doubted, wary=bool(biased), held_out=not measured.learnt_from)
    else:
        counted = [(one.name, one.counted) for one in probes if one.counted is not None]
        collapsed = last(progress.epochs, "collapsed") == 1
        verdict = of_encoder(stability, neighbours.agreement(shown.labels), counted, shares, collapsed)
    named = list(start) or (["--from", str(trained.path)] if alone else [str(trained.path.parent.absolute())])
    return Contents(
        title=_title(trained, alone),
        task=task_of(trained.card),
        part=name,
        verdict=verdict,
        look_at=_look_at(shown, doubted),
        steps=steps(trained, named, verdict.answer, any(label is not None for label in shown.labels)),
        figures=[
            *(probes if evaluation is None else figures_of(evaluation)),
            *([] if stability is None else [stability_of(*stability)]),
        ],
        facts=facts(trained, alone),
        warnings=[
            *doubted.lines,
            *warnings_of_run(trained, progress),
            *wariness.of_figures(evaluation, name),
            *biased,
            *wariness.of_classes(evaluation, measured.learnt_from),
        ],
        sections=sections(trained),
        course=progress,
        evaluation=evaluation,
        shown=shown,
        whole=len(trained.dataset),
        layouts=ask_layouts(),
        neighbours=neighbours,
        queries=queries,
        mistakes=confident_mistakes(shown, within),
        sheet=sheet,
        slices=_about_slices(trained),
        width=trained.dataset.box[2],
        voxel_size=trained.dataset.voxel_size,
        gradcam=gradcam,
        clusters=clusters,
        shares=shares,
    )


def _shares(shown: Embedding, clusters: Clusters | None) -> Shares | None:
    if shown.predictions is not None:
        return shares_of("prediction", shown.groups, shown.predictions, shown.classes)
    if clusters is not None:
        return shares_of("cluster", shown.groups, [str(number + 1) for number in clusters.found.clusters.tolist()])
    return shares_of("label", shown.groups, shown.labels)


def _look_at(shown: Embedding, doubted: Doubted) -> list[LookAt]:
    """Return what the verdict asks to look at: of what may be none of the classes, and of tomograms that differ."""
    place = {sample: row for row, sample in enumerate(shown.samples.tolist())}
    strange = [place[sample] for sample in doubted.marked if sample in place]
    found = [LookAt("the least familiar", strange[:_LOOKED_AT])] if doubted.many else []
    for tomogram in doubted.tomograms[:_TOMOGRAMS]:
        odd = [row for row in strange if shown.groups[row] == tomogram]
        rest = [row for row, group in enumerate(shown.groups) if group == tomogram and row not in set(odd)]
        found.append(LookAt(f"of tomogram {tomogram}", [*odd, *rest][:_LOOKED_AT]))
    return [one for one in found if one.rows]


def _in_turn(embedding: Embedding, rows: NDArray[np.int64], count: int) -> list[int]:
    """Return up to ``count`` rows, drawn with a fixed seed: classes in turn, and tomograms within them."""
    drawn = np.random.default_rng(0).permutation(rows).tolist()
    turns = in_turns([embedding.labels[row] for row in drawn], count, [embedding.groups[row] for row in drawn])
    return [drawn[turn] for turn in turns]


def _about_slices(trained: Trained) -> str:
    width, voxel_size = trained.dataset.box[2], trained.dataset.voxel_size
    extent = f"{width} voxels" if voxel_size is None else f"{width * voxel_size:.0f} Å"
    return f"Slices are central, across the beam: y up, x right, {extent} wide."


def _clusters(trained: Trained, found: Clustering | None, samples: list[int]) -> Clusters | None:
    return None if found is None else Clusters(found, _webp(draw_montage(trained.dataset, found, samples)))


def _title(trained: Trained, alone: bool) -> str:
    """Return the name of the run, or, of data ``alone``, theirs."""
    root = getattr(trained.config.spec("dataset"), "root", None)
    return Path(root).name if alone and root else trained.path.parent.absolute().name


def _gradcam(trained: Trained, samples: NDArray[np.int64]) -> GradCam | str:
    """Draw where random and trained networks look, as in Figure 8 of Gupta et al. 2022."""
    try:
        compared = compare_networks(trained, samples.tolist())
    except CryoregError as error:
        return str(error)
    return GradCam(_webp(draw_comparison(compared)), in_words(compared))


def _webp(figure: MatplotlibFigure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="webp", pil_kwargs={"quality": 85})
    return file.getvalue()
