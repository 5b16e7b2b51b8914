"""Data for a network, its run's own or others: which reader opens them, and what of the run's words holds for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryoreg.config import AnyConfig, Layer
from cryoreg.config.settings import InputSettings
from cryoreg.config.sniffing import choose
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.adaptation import TOLD, load_adapted, with_notes
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.datasets.glimpse import looks_as
from cryoreg.errors import DataError
from cryoreg.runs.cards import Card
from cryoreg.runs.networks import Network
from cryoreg.specs import DatasetSpec


def fit_to_data(card: Card, layers: Sequence[Layer], labels: bool = True) -> list[Layer]:
    """Put before ``layers`` what follows from other data: the reader that fits, and the network's box.

    Without ``labels``, the column that held those of the run's own data is not asked for.
    """
    given = {key: value for layer in layers for key, value in layer.values.get("dataset", {}).items()}
    if "root" not in given:
        return list(layers)
    recorded = card["config"]["dataset"]
    name = given.get("name") or _reader(Path(str(given["root"])).expanduser(), recorded["name"])
    follows: dict[str, object] = {"name": name}
    if name == recorded["name"] and "label" in recorded and not labels:
        follows["label"] = None
    if name == "tomogram":
        follows["box"] = card["box"][0]
    return [Layer("what fits the data", {"dataset": follows}), *layers]


def _reader(root: Path, recorded: str) -> str:
    """Return the reader that the run had where it fits, else the only one that does."""
    match = choose(root, recorded)
    return recorded if recorded in (match.name, match.qualified) else match.name


def load_for(network: Network, config: AnyConfig) -> Subtomograms:
    """Open the data of a config as the network knows them.

    What the user said of the run's own files (voxel size, contrast, tilts) holds for other ones where these do not say
    themselves, and a note says so; to what those were rescaled does not.
    """
    spec, recorded = config.spec("dataset"), str(network.path)
    told, wanted = _told(config, recorded), config.input
    listed = wanted.labels_from is not None and config.sources.get("input.labels_from") == recorded
    if not (told or listed) or _are_of_run(config, recorded) or _are_own(spec, network.card):
        return load_adapted(spec, wanted)
    if listed:
        wanted = wanted.model_copy(update={"labels_from": None})
    silent = spec.model_copy(update=dict.fromkeys(told))
    dataset = load_adapted(silent, wanted.model_copy(update={"box": None}))
    holds = {key: value for key, value in told.items() if getattr(dataset, key, value) is None}
    served = load_adapted(silent.model_copy(update=holds), wanted)
    return with_notes(served, [f"{key} = {value} as told of the training data" for key, value in holds.items()])


def _are_own(spec: DatasetSpec, card: Card) -> bool:
    """Tell the run's own data, which have moved, from others."""
    try:
        opened = load_adapted(spec, InputSettings.model_validate(card["config"].get("input", {})))
    except DataError:
        return False
    return has_ids_of(opened, card) and has_volumes_of(opened, card)


def has_ids_of(dataset: Subtomograms, card: Card) -> bool:
    """Tell whether ids, labels, tomograms and box are those of the data that a network was trained on."""
    return fingerprint(dataset) == card["data"]


def has_volumes_of(dataset: Subtomograms, card: Card) -> bool:
    """Tell whether a data set with these ids has these volumes, too; runs of an older cryoreg cannot tell: True."""
    recorded = card.get("glimpse")
    return recorded is None or looks_as(dataset, recorded)


def _are_of_run(config: AnyConfig, recorded: str) -> bool:
    """Tell whether nobody has named other data than the run's."""
    return all(config.sources.get(f"dataset.{key}") in (None, recorded) for key in ("name", "root"))


def _told(config: AnyConfig, recorded: str) -> dict[str, object]:
    """Return what was said of the run's own files and is now laid over those of another root."""
    if config.sources.get("dataset.root") in (None, recorded):
        return {}
    keys = [key for key in TOLD if config.sources.get(f"dataset.{key}") == recorded]
    return {key: value for key in keys if (value := getattr(config.spec("dataset"), key, None)) is not None}
