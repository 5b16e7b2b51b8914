"""What stands at the beginning of a file of trained weights, read without torch: its card, and which tensors follow.

The format is safetensors: eight bytes that say how long the header is, the header as JSON, the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryoreg.errors import CheckpointError
from cryoreg.files import require_file

METADATA = "__metadata__"
CARD = "card"
CHECKSUM = "sha256"
_LENGTH = 8
_LONGEST = 100_000_000
"""Bytes; what safetensors itself reads at most."""

Header = dict[str, Any]
"""Tensor -> its type, shape and place; and `METADATA`."""


def header_of(data: bytes) -> Header:
    """Return the header of a file's content; raise `ValueError` where it has none."""
    return json.loads(data[_LENGTH : _payload(data)])


def read_header(path: Path) -> Header:
    """Return a file's header; raise `CheckpointError` where it is missing, unreadable or no header of safetensors."""
    require_file(path, CheckpointError)
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH)
            length = int.from_bytes(start, "little")
            header = header_of(start + file.read(length)) if length <= _LONGEST else None
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read weights {path}: {' '.join(str(error).split())}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"cannot read weights {path}: it does not begin as safetensors do")
    return header


def read_card(path: Path) -> dict[str, Any]:
    """Return what a file's card says, unchecked; raise `CheckpointError` as `read_header`, or where there is none."""
    metadata = read_header(path).get(METADATA)
    text = metadata.get(CARD) if isinstance(metadata, dict) else None
    try:
        card = None if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError):
        card = None
    if not isinstance(card, dict):
        raise CheckpointError(f"{path} holds no cryoreg card: it was not exported by cryoreg")
    return card


def checksum(data: bytes, card: str) -> str:
    """Hash the card, the tensors' names, types and places, and their bytes."""
    header = {name: entry for name, entry in header_of(data).items() if name != METADATA}
    digest = hashlib.sha256(json.dumps([card, header], sort_keys=True).encode())
    digest.update(data[_payload(data) :])
    return digest.hexdigest()


def _payload(data: bytes) -> int:
    return _LENGTH + int.from_bytes(data[:_LENGTH], "little")


def describe_card(card: Mapping[str, Any]) -> dict[str, str]:
    """Return a card in words: name -> text, empty where the card does not say. Raises `KeyError` where it is none."""
    config = card["config"]
    encoder = {key: value for key, value in config["encoder"].items() if key != "name"}
    settings = ", ".join(f"{key}={value}" for key, value in encoder.items())
    name = f"{config['encoder']['name']} ({settings})" if settings else config["encoder"]["name"]
    return {
        "encoder": f"{name}, {card['num_features']} features",
        "voxel size": f"{card['voxel_size']:g} Å" if card.get("voxel_size") else "",
        "box": f"{'×'.join(map(str, card['box']))} voxels",
        "density": str(card.get("contrast") or ""),
        "normalisation": str(card["normalisation"]),
        "trained": _training(card),
        "metrics": ", ".join(f"{key} {value:.4g}" for key, value in card.get("metrics", {}).items()),
        "written": f"{str(card.get('created', ''))[:10]}, by cryoreg {card.get('cryoreg', 'unknown')}",
    }


def _training(card: Mapping[str, Any]) -> str:
    config = card["config"]
    task = {"pretrain": "pretrained", "finetune": "fine-tuned"}.get(config["task"], config["task"])
    names = [config[section]["name"] for section in ("method", "augmentation") if section in config]
    epochs = config.get("training", {}).get("epochs", "?")
    data = f"{card.get('subtomograms', '?')} subtomograms of {config['dataset']['name']}"
    start = config.get("training", {}).get("pretrained", "scratch")
    begun = "" if start == "scratch" else f", from {start}"
    return f"{task} for {epochs} epochs ({', '.join(names)}) on {data}{begun}"
