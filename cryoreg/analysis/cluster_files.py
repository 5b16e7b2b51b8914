"""Clustering from a run to files: tables of subtomograms, and particle lists that keep all that they had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from cryoreg import notebook
from cryoreg.analysis.clustering import agreement
from cryoreg.analysis.clustering import cluster as cluster_features
from cryoreg.analysis.clusters import Agreement, Clustering, ClusterSettings, Method, parse_clusters
from cryoreg.config import Layer
from cryoreg.config.calls import checked
from cryoreg.config.layers import Chosen
from cryoreg.config.settings import FinetuneSettings
from cryoreg.config.starts import Start
from cryoreg.contracts import Subtomograms
from cryoreg.errors import ConfigError
from cryoreg.files import write_atomically
from cryoreg.inference.given_classes import as_predictions
from cryoreg.inference.optimisation_sets import new_sets, write_sets
from cryoreg.inference.subtomogram_table import Columns, labels, places_kept, write_csv, write_parquet
from cryoreg.inference.trained import Trained
from cryoreg.inference.writers import notes_on_files, prepare_writer, suffixes
from cryoreg.outputs import check_files
from cryoreg.predictions import Predictions
from cryoreg.telling import tell

_TABLES = (".csv", ".parquet")


class Clustered(NamedTuple):
    """A data set in clusters."""

    dataset: Subtomograms
    clustering: Clustering
    agreement: Agreement | None
    """How far clusters agree with the labels; None where there are none."""
    seen: bool
    """Whether the network was fine-tuned on labels, which makes the agreement no discovery."""

    def columns(self) -> Columns:
        """Return places and label of each subtomogram, its cluster (from 1), confidence and distance."""
        return table(self.dataset, self.clustering)

    def _repr_html_(self) -> str:
        facts = {"clusters": len(self.clustering.sizes), "stability": f"{self.clustering.stability:.3f}"}
        if self.agreement is None:
            rows = [(number, size) for number, size in enumerate(self.clustering.sizes, 1)]
            return notebook.shown("Clusters", facts, notebook.table(("cluster", "subtomograms"), rows))
        facts |= {"ARI with the labels": f"{self.agreement.ari:.3f}", "purity": f"{100 * self.agreement.purity:.1f} %"}
        counted = [(number, *row) for number, row in enumerate(self.agreement.table.tolist(), 1)]
        return notebook.shown("Clusters", facts, notebook.table(("cluster", *self.dataset.classes), counted))


@checked(FinetuneSettings)
def cluster(
    run: Start,
    *,
    data: str | Path | None = None,
    dataset: Chosen = None,
    method: Method = "kmeans",
    clusters: int | str = "auto",
    resolution: float = 1.0,
    neighbours: int = 15,
    pca: int = 50,
    seed: int = 0,
    output: str | Path | None = None,
    montage: str | Path | None = None,
    overwrite: bool = False,
    **settings: object,
) -> Clustered:
    """Sort subtomograms into clusters by the features of a run's encoder, or of weights by name; no labels are needed.

    ``data`` and ``dataset`` are as for `cryoreg.embed`. ``clusters`` is their number, a range such as "5-40", or
    "auto": 2 to 20; ``method`` "kmeans", "gmm" or "leiden", which finds out itself by its ``resolution`` and
    ``neighbours``. ``pca`` principal components are kept. With ``output`` clusters are written, as `cryoreg cluster`
    does, with ``montage`` a PNG of what they look like. ``settings`` are device, precision, workers. Raises a
    `CryoregError` for any mistake.
    """
    chosen = ClusterSettings(method, parse_clusters(str(clusters), method), resolution, neighbours, pca, seed)
    layers = [Layer.of_arguments({"dataset": dataset}, None, settings, data)]
    listed, picture = (None if path is None else Path(path) for path in (output, montage))
    return run_cluster(run, layers, chosen, listed, picture, overwrite, tell)


def run_cluster(
    run: Start,
    layers: Sequence[Layer],
    settings: ClusterSettings,
    output: Path | None = None,
    montage: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Clustered:
    """Cluster a data set by the features of a run's encoder and write, where wanted, ``output`` and a picture.

    ``output`` is CSV, Parquet, STAR, a Dynamo table or what another writer has, by its name. ``say`` gets lines on the
    data before the work begins. Raises a `CryoregError` for bad input, before anything is written.
    """
    trained = Trained.open(run, layers, "encoder", labels=False)
    dataset = trained.dataset
    files = [path for path in (output, montage) if path is not None]
    sets = [] if output is None else new_sets(output, dataset)
    check_files([*files, *sets], overwrite, trained.inputs())
    write = None if output is None else _writer(output, dataset)
    if montage is not None and montage.suffix.lower() != ".png":
        raise ConfigError(f"{montage}: the montage is a .png")
    moved = [] if output is None or output.suffix.lower() in _TABLES else notes_on_files(output, None, dataset)
    for line in [*trained.remarks(), *moved]:
        say(line)
    clustering = cluster_features(trained.features(), settings)
    if montage is not None:
        from cryoreg.analysis.cluster_montage import write_montage

        write_montage(montage, dataset, clustering)
    if write is not None and output is not None:
        content = write(clustering)
        write_atomically(output, lambda file: file.write(content))
        write_sets(output, dataset)
    found = agreement(clustering.clusters, dataset.labels, len(dataset.classes))
    return Clustered(dataset, clustering, found, "classes" in trained.card)


def _writer(output: Path, dataset: Subtomograms) -> Callable[[Clustering], bytes]:
    """Return what makes the content of ``output``; refuse, before any work, what cannot be written."""
    suffix = output.suffix.lower()
    if suffix in _TABLES:
        return lambda clustering: _encoded(table(dataset, clustering), suffix)
    owners, unasked = suffixes()
    known = dict.fromkeys((*_TABLES, *owners))
    if suffix not in known:
        raise ConfigError(f"{output}: clusters are written as {', '.join(known)}, by the file's name{unasked}")
    write = prepare_writer(output, None, dataset)
    return lambda clustering: write(_as_classes(dataset, clustering))


def table(dataset: Subtomograms, clustering: Clustering) -> Columns:
    """Return the columns of clusters: places and label, cluster (from 1), confidence and distance."""
    return {
        **places_kept(dataset),
        **labels(dataset),
        "confidence": clustering.confidence.round(4).tolist(),
        "cluster": (clustering.clusters + 1).tolist(),
        "distance": clustering.distance.round(4).tolist(),
    }


def _encoded(columns: Columns, suffix: str) -> bytes:
    file = BytesIO()
    (write_csv if suffix == ".csv" else write_parquet)(columns, file)
    return file.getvalue()


def _as_classes(dataset: Subtomograms, clustering: Clustering) -> Predictions:
    """Return clusters as classes "1", "2", ..."""
    names = [str(number + 1) for number in range(len(clustering.sizes))]
    return as_predictions(dataset, range(len(dataset)), names, clustering.clusters, clustering.confidence)
