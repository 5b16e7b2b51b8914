"""What `few_labels.py` has measured: rows of a CSV file, what each is of, and the table of them."""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

import cryoreg
from cryoreg.benchmark.tables import Score, summarise, to_markdown
from cryoreg.turns import Turns

WEIGHTS = "weights"
"""The start that is the weights given, and how those begin that go on from them."""


class Key(NamedTuple):
    """What a row is of."""

    data: str
    encoder: str
    """Name, what is not its default, and the voxel size that it was shown."""
    start: str
    weights: str
    """Digest of the weights that it began with; empty: none."""
    way: str
    views: Turns
    labels: int
    """Of each class."""
    seed: int


class Row(NamedTuple):
    """A line of the file."""

    key: Key
    label: str
    """Of the weights."""
    accuracy: float
    macro_f1: float
    tested: int
    seconds: float
    machine: str
    command: str


COLUMNS = (*Key._fields, *Row._fields[1:])


class Ledger:
    """The rows that are done, in a CSV file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = {row.key for row in read_rows(path)}

    def add(self, row: Row) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS] * is_new + [(*row.key, *row[1:])])
        self.done.add(row.key)
        print(f"{shown(row.key, row.label)}  {row.accuracy:.3f}  ({row.seconds:.0f} s)", flush=True)


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> Row:
    numbers = {name: int(line[name]) for name in ("views", "labels", "seed")}
    key = Key(**{name: line[name] for name in Key._fields} | numbers)  # type: ignore[arg-type]
    scores = (float(line["accuracy"]), float(line["macro_f1"]), int(line["tested"]), float(line["seconds"]))
    return Row(key, line["label"], *scores, line["machine"], line["command"])


def shown(key: Key, label: str) -> str:
    start = f"{key.start} ({label})" if label else key.start
    views = f", {key.views} views" if key.views > 1 else ""
    return f"{key.data:<17} {start:<30} {key.way + views:<36} {key.labels:>4} a class  seed {key.seed}"


def machine(device: str) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        name = torch.cuda.get_device_name()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, cryoreg {cryoreg.__version__}"


def table(rows: Iterable[Row]) -> str:
    """Return means ± standard deviations, with Welch's test against random weights, as Markdown."""
    scores = [
        Score(
            row.key.data,
            row.key.encoder,
            row.key.way + (f", {row.key.views} views" if row.key.views > 1 else ""),
            row.key.start.replace(WEIGHTS, f"{row.label} {row.key.weights[:4]}") if row.key.weights else row.key.start,
            f"{row.key.labels} a class",
            row.key.seed,
            {"accuracy": row.accuracy},
        )
        for row in sorted(rows, key=lambda row: row.key.labels)
    ]
    return to_markdown(summarise(scores))
