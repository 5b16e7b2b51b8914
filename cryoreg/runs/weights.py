"""Trained weights: one safetensors file that also carries its card and a checksum, and the card as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from cryoreg import registry, version
from cryoreg.config import AnyConfig
from cryoreg.config.starts import SCRATCH, Start, place_of
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.datasets.glimpse import glimpse
from cryoreg.datasets.normalisation import NORMALISATION
from cryoreg.errors import CheckpointError
from cryoreg.files import require_file, write_atomically, write_text
from cryoreg.registry import Component
from cryoreg.runs.cards import Card, check_card, parse_card
from cryoreg.runs.lab_checkpoint import is_lab_checkpoint
from cryoreg.specs import WeightsSpec
from cryoreg.weights_header import CARD, CHECKSUM, METADATA, checksum, header_of

ENCODER_FILE = "encoder.safetensors"
CLASSIFIER_FILE = "classifier.safetensors"
CARD_FILE = "card.json"


class Weights(NamedTuple):
    """What a file of weights holds."""

    tensors: dict[str, Tensor]
    card: Card


def make_card(config: AnyConfig, dataset: Subtomograms, num_features: int, **more: object) -> Card:
    """Return what a user of the weights must know: components, packages, voxel size, box, normalisation, metrics."""
    return {
        **provenance_of(dataset),
        "config": _without_initial_weights(config),
        "data": fingerprint(dataset),
        "glimpse": glimpse(dataset),
        "num_features": num_features,
        **more,
    }


def provenance_of(dataset: Subtomograms) -> dict[str, Any]:
    """Return when and by which cryoreg weights are written, and how their data look: plain types only."""
    known = {
        "cryoreg": version.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "subtomograms": len(dataset),
        "voxel_size": dataset.voxel_size,
        "box": list(dataset.box),
        **{name: getattr(dataset, name) for name in ("contrast", "tilt_range", "tilt_axis")},
        "normalisation": NORMALISATION,
        "beam_axis": "z (the first array axis)",
    }
    return json.loads(json.dumps(known, default=float))  # numpy's numbers would not load safely from a checkpoint


def _without_initial_weights(config: AnyConfig) -> dict[str, Any]:
    """Return the config, so that an encoder can be rebuilt where the files that it began with are not."""
    values, dropped = config.to_dict(), config.spec("encoder").initial_weights
    return values | {"encoder": {key: value for key, value in values["encoder"].items() if key not in dropped}}


def save_weights(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write tensors and card to one safetensors file, and the card as card.json beside it."""
    write_weights(path, tensors, card)
    write_text(path.parent / CARD_FILE, json.dumps(card, indent=2) + "\n")


def write_weights(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write tensors and card to one safetensors file."""
    text = json.dumps(card, indent=2)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = {CARD: text, CHECKSUM: checksum(safetensors.torch.save(plain), text)}
    data = safetensors.torch.save(plain, metadata=sealed)
    write_atomically(path, lambda file: file.write(data), check=load_weights)


def load_weights(path: Path) -> Weights:
    """Read trained weights on the CPU; raise `CheckpointError` where they are missing, damaged or not ours."""
    require_file(path, CheckpointError)
    try:
        data = path.read_bytes()
        tensors = safetensors.torch.load(data)
        metadata = header_of(data).get(METADATA, {})
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path}; a run writes its weights when it ends") from None
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read weights {path}: {error}") from error
    if CARD not in metadata:
        raise CheckpointError(f"{path} holds no cryoreg card: it was not exported by cryoreg")
    if metadata.get(CHECKSUM) != checksum(data, metadata[CARD]):
        raise CheckpointError(f"weights {path} are damaged: the checksum does not match; export or copy them again")
    return Weights(tensors, parse_card(metadata[CARD], path))


def load_trained(path: Path) -> Weights:
    """Read weights of which the card says what a network and its use need; raise `CheckpointError` as `load_weights`.

    Whoever wrote the file may have written anything into its card.
    """
    weights = load_weights(path)
    check_card(weights.card, path)
    return weights


def read_card(path: Path) -> tuple[Weights, str]:
    """Read trained weights, and what is wrong with them, one line; empty where they are as they were written.

    Raises `CheckpointError` where there is no card to read.
    """
    try:
        return load_weights(path), ""
    except CheckpointError as error:
        try:
            data = path.read_bytes()
            return Weights(safetensors.torch.load(data), json.loads(header_of(data)[METADATA][CARD])), str(error)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            raise error from None


def load_into(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load ``weights`` from ``path`` into a module; raise `CheckpointError` where they are another module's."""
    require_same_tensors(module.state_dict(), weights, path)
    module.load_state_dict(dict(weights))


def require_same_tensors(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise `CheckpointError` unless tensors from ``path`` have the names and shapes of a network's own."""
    wanted = {name: tensor.shape for name, tensor in own.items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if wanted != found:
        names = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
        raise CheckpointError(
            f"{path} holds the weights of something else: {len(names)} tensors differ, the first being '{names[0]}'; "
            "put back the file that the run wrote, or give the run directory instead of a file"
        )


def find_weights(path: Path, file: str = ENCODER_FILE) -> Path:
    """Return the weights file that a run directory or a file's own path names."""
    return path / file if path.is_dir() else path


def input_of(card: Card) -> dict[str, object]:
    """Return the section "input" of a config by which data are brought to what a network was trained on.

    Without a voxel size, boxes are not compared: nothing says what they hold.
    """
    known = ("voxel_size", "box", "contrast") if card["voxel_size"] else ("contrast",)
    return {key: card[key] for key in known if card.get(key) is not None}


def labels_of(card: Card) -> dict[str, object]:
    """Return what the section "input" of a run's config says of a list of labels, for the run's own data."""
    given = card["config"].get("input", {})
    return {key: given[key] for key in ("labels_from", "label") if key in given}


class Registered(NamedTuple):
    """Weights that a package brings."""

    component: Component
    spec: type[WeightsSpec]

    @property
    def package(self) -> str:
        """That package and its version."""
        return f"{self.component.dist} {self.component.version}"

    @property
    def card(self) -> Card:
        """What their file says; raises `CheckpointError` as `load_trained`."""
        return load_trained(self.spec.path()).card


def registered(name: str) -> Registered:
    """Return weights by name; raise `UnknownComponentError` and its like, as for every kind of component."""
    component, spec = registry.find_spec("weights", name)
    if not issubclass(spec, WeightsSpec):
        raise TypeError(spec)  # the registry lets no other pass
    return Registered(component, spec)


def weights_file(start: Start, file: str = ENCODER_FILE) -> Path:
    """Return the file of registered weights, of a run directory, or the one that a path names; see `place_of`."""
    return find_weights(place_of(start), file)


def card_of_start(start: Start | None) -> Card | None:
    """Return what is known of the weights that a run starts from; None where it is nothing."""
    if start is None or start == SCRATCH:
        return None
    path = weights_file(start)
    return None if is_lab_checkpoint(path) else load_trained(path).card
