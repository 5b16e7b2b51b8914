"""What a run's network makes of every subtomogram, as a table: features, and a classifier's predictions."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cryoreg import notebook
from cryoreg.config import Layer
from cryoreg.config.calls import checked
from cryoreg.config.layers import Chosen
from cryoreg.config.settings import FinetuneSettings
from cryoreg.config.starts import Start
from cryoreg.datasets.divisions import divide
from cryoreg.datasets.splits import SplitPart
from cryoreg.doubt.answers import Answers
from cryoreg.errors import ConfigError, DataError
from cryoreg.files import write_atomically
from cryoreg.inference.subtomogram_table import labels, places, write_csv, write_parquet
from cryoreg.inference.trained import Trained
from cryoreg.outputs import check_file
from cryoreg.runs.cards import Card
from cryoreg.telling import tell
from cryoreg.training.calibration import probabilities, temperature_of

Part = SplitPart | Literal["all"]
PARTS = (*get_args(SplitPart), "all")
CARD_KEY = b"cryoreg_card"
"""Key of a Parquet file's metadata under which the card of the weights stands, as JSON."""


@dataclass(frozen=True)
class Embedding:
    """Subtomograms, what is known of them, and what a network makes of them; all in one order."""

    samples: NDArray[np.int64]
    """(N,): indices into the data set."""
    ids: list[str]
    groups: list[str | None]
    files: list[str | None]
    rows: list[int | None]
    """Places in the files, counted from 0."""
    labels: list[str | None]
    """Names of the classes that the data set says."""
    parts: list[str | None]
    """train, val or test; None where the data set is not the one that the run split."""
    features: NDArray[np.float32]
    """(N, num_features)."""
    logits: NDArray[np.float32] | None
    """(N, classes), of ``classes``; None without a classifier."""
    card: Card
    """The card of the weights."""
    appearance: NDArray[np.float64] | None = None
    """(N, `APPEARANCE`): what they look like; None without a classifier."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> list[str]:
        """The classes that the classifier tells apart."""
        return list(self.card.get("classes", ()))

    @property
    def predictions(self) -> list[str] | None:
        """The most probable class of each; None without a classifier."""
        return None if self.logits is None else [self.classes[best] for best in self.logits.argmax(1)]

    @property
    def confidences(self) -> NDArray[np.float64] | None:
        """(N,): probability of the prediction, calibrated where the card has a temperature."""
        return None if self.logits is None else probabilities(self.logits, temperature_of(self.card)).max(1)

    @property
    def answers(self) -> Answers | None:
        """What a classifier answered to each; None without one."""
        if self.logits is None or self.appearance is None:
            return None
        return Answers(self.logits.astype(np.float64), self.features.astype(np.float64), self.appearance)

    def take(self, rows: NDArray[np.int64]) -> Embedding:
        """Return some rows, by number."""
        picked: dict[str, Any] = {
            name: [getattr(self, name)[row] for row in rows]
            for name in ("ids", "groups", "files", "rows", "labels", "parts")
        }
        for name in ("logits", "appearance"):
            values = getattr(self, name)
            picked[name] = None if values is None else values[rows]
        return replace(self, samples=self.samples[rows], features=self.features[rows], **picked)

    def known(self) -> dict[str, Sequence[object]]:
        """Return id, file, row, tomogram, split, label, and a classifier's prediction and confidence."""
        columns: dict[str, Sequence[object]] = {
            "id": self.ids,
            "file": self.files,
            "row": self.rows,
            "tomogram": self.groups,
            "split": self.parts,
            "label": self.labels,
        }
        if self.predictions is not None and self.confidences is not None:
            columns |= {"prediction": self.predictions, "confidence": self.confidences.tolist()}
        return columns

    def _repr_html_(self) -> str:
        facts = {
            "subtomograms": f"{len(self):,}",
            "features": self.features.shape[1],
            "labelled": f"{sum(label is not None for label in self.labels):,}",
            "classes told apart": ", ".join(self.classes) or None,
        }
        return notebook.shown("Embedding", facts)

    def columns(self) -> dict[str, Any]:
        """Return the whole table: what is `known`, then the features f0000, f0001, ..."""
        return self.known() | {f"f{number:04d}": column for number, column in enumerate(self.features.T)}


@checked(FinetuneSettings)
def embed(
    run: Start,
    part: Part = "all",
    *,
    data: str | Path | None = None,
    dataset: Chosen = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    **settings: object,
) -> Embedding:
    """Return what the network of a run (its classifier where it has one), or weights by name, make of a data set.

    ``data`` is a file or folder, by default the run's own; another one has no part but "all". ``dataset`` names its
    reader, or changes parameters of the run's. With ``output`` the table is written, too: .parquet, .csv or .npz.
    ``settings`` are device, precision, workers. Raises a `CryoregError` where weights or data are missing or unfit.
    """
    layers = [Layer.of_arguments({"dataset": dataset}, None, settings, data)]
    return run_embedding(run, part, layers, None if output is None else Path(output), overwrite, tell)


def run_embedding(
    run: Start,
    part: Part,
    layers: Sequence[Layer],
    output: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Embedding:
    """Return what the network makes of a data set; write it as Parquet, CSV or NPZ, by the name of ``output``.

    ``say`` gets lines on the data.
    """
    write = None if output is None else _writer(output)
    if output is not None:
        check_file(output, overwrite)
    trained = Trained.open(run, layers)
    if output is not None:
        check_file(output, overwrite, trained.inputs())
    for line in trained.remarks():
        say(line)
    embedding = embedding_of(trained, samples_of(trained, part))
    if write is not None and output is not None:
        write_atomically(output, lambda file: write(embedding, file))
    return embedding


def parts_of(trained: Trained) -> NDArray[np.object_] | None:
    """Return the part (N,) of each subtomogram: "train", "val" or "test"; None where the run did not split this set."""
    if not trained.own:
        return None
    try:
        parts = divide(trained.dataset, trained.config.split).parts
    except DataError:  # a set that cannot be split was pretrained on as a whole
        return None
    names = np.empty(len(trained.dataset), object)
    for name in parts._fields:
        names[getattr(parts, name)] = name
    return names


def samples_of(trained: Trained, part: Part) -> NDArray[np.int64]:
    """Return the indices of a part, in the order of the data set; raise `DataError` where there is no such part."""
    if part not in PARTS:
        raise ConfigError(f"part '{part}' is none of {', '.join(PARTS)}")
    if part == "all":
        return np.arange(len(trained.dataset))
    parts = parts_of(trained)
    if parts is None:
        raise DataError(
            f"the data set ({len(trained.dataset)} subtomograms) is not the one that {trained.path} split, so it has "
            f"no {part} part; say --part all"
        )
    samples = np.flatnonzero(parts == part)
    if not len(samples):
        raise DataError(f"the {part} split is empty; say --part all")
    return samples


def embedding_of(trained: Trained, samples: NDArray[np.int64]) -> Embedding:
    """Return what an opened network makes of subtomograms by index, in that order."""
    dataset, parts = trained.dataset, parts_of(trained)
    if not len(samples):
        raise DataError("the data set holds no subtomograms; check its path")
    chosen = samples.tolist()
    answers = trained.answers(chosen) if trained.classifies else None
    place = places(dataset, chosen)
    return Embedding(
        samples,
        place["id"],
        place["tomogram"],
        place["file"],
        place["row"],
        labels(dataset, chosen)["label"],
        [None if parts is None else parts[index] for index in chosen],
        trained.features(chosen) if answers is None else answers.features.astype(np.float32),
        None if answers is None else answers.logits.astype(np.float32),
        trained.card,
        None if answers is None else answers.appearance,
    )


def _writer(output: Path) -> Callable[[Embedding, BinaryIO], None]:
    """Return what writes ``output``; refuse, before any work, a name that cannot be written."""
    if output.suffix.lower() not in _WRITERS:
        raise ConfigError(f"{output}: features are written as {', '.join(_WRITERS)}, by the file's name")
    return _WRITERS[output.suffix.lower()]


def _parquet(embedding: Embedding, file: BinaryIO) -> None:
    write_parquet(embedding.columns(), file, {CARD_KEY: json.dumps(embedding.card).encode()})


def _csv(embedding: Embedding, file: BinaryIO) -> None:
    write_csv(embedding.columns(), file)


def _npz(embedding: Embedding, file: BinaryIO) -> None:
    """Write arrays that load without pickle: unknown text is "", an unknown row -1; features are one array."""
    missing: dict[str, object] = {"row": -1}
    arrays = {
        name: np.asarray([missing.get(name, "") if value is None else value for value in values])
        for name, values in embedding.known().items()
    }
    arrays |= {"features": embedding.features, "card": np.asarray(json.dumps(embedding.card))}
    with zipfile.ZipFile(file, "w") as archive:  # numpy.savez takes no array of the name "file"
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


_WRITERS: dict[str, Callable[[Embedding, BinaryIO], None]] = {".parquet": _parquet, ".csv": _csv, ".npz": _npz}
