"""The file beside a classifier that holds what it is `Familiar` with: safetensors, with a checksum, and versioned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from cryoreg.doubt.choice import Quality
from cryoreg.doubt.drift import Reference
from cryoreg.doubt.familiar import Familiar
from cryoreg.doubt.strangeness import SCORES, Known
from cryoreg.errors import CheckpointError
from cryoreg.runs.weights import load_weights, write_weights
from cryoreg.weights_header import CHECKSUM, METADATA, read_header

FILE = "familiar.safetensors"
VERSION = 1
_AXES: dict[str, str] = {
    "means": "mF",
    "whitening": "FR",
    "bank": "bF",
    "strangeness": "ns",
    "predictions": "n",
    "centre": "F",
    "components": "Fr",
    "reference.values": "vk",
    "reference.means": "ck",
    "reference.counts": "c",
    "reference.between": "k",
}
"""Tensor -> what its axes run over: equal letters, equal lengths."""


class _Quality(BaseModel):
    decoys: float
    classes: float | None


class _Card(BaseModel):
    model_config = ConfigDict(extra="ignore")

    familiar: int
    classifier: str
    chosen: str
    qualities: dict[str, _Quality]
    names: list[str]
    freedom: Annotated[float, Field(gt=0)] | None
    """None: infinite, which JSON cannot say."""
    concentration: Annotated[float, Field(ge=0, le=1)]
    dispersion: Annotated[float, Field(ge=1)]


def save_familiar(classifier: Path, familiar: Familiar) -> Path:
    """Write what a classifier is familiar with beside its file; return where."""
    reference = familiar.reference
    arrays = {
        **familiar.known._asdict(),
        **{name: getattr(familiar, name) for name in ("strangeness", "predictions", "centre", "components")},
        **{f"reference.{name}": getattr(reference, name) for name in ("values", "means", "counts", "between")},
    }
    card = {
        "familiar": VERSION,
        "classifier": _digest(classifier),
        "chosen": familiar.chosen,
        "qualities": {score: quality._asdict() for score, quality in familiar.qualities.items()},
        "names": list(reference.names),
        "freedom": reference.freedom if np.isfinite(reference.freedom) else None,
        "concentration": reference.concentration,
        "dispersion": reference.dispersion,
    }
    write_weights(path := classifier.with_name(FILE), {name: _tensor(values) for name, values in arrays.items()}, card)
    return path


def load_familiar(classifier: Path) -> Familiar | str:
    """Return what the classifier of a file is familiar with; where that is not known, why, in a line.

    Raises `CheckpointError` where the file beside it is damaged, or not one that cryoreg wrote.
    """
    path = classifier.with_name(FILE)
    if not path.exists():
        return f"there is no {FILE} beside {classifier}, as of runs by an older cryoreg"
    tensors, told = load_weights(path)
    if isinstance(told, dict) and told.get("familiar", VERSION) != VERSION:
        return f"{path} is of version {told['familiar']}, and this cryoreg reads version {VERSION}"
    card = _checked(path, told, tensors)
    if card.classifier != _digest(classifier):
        return f"{path} belongs to another classifier than {classifier.name}; fine-tune again"
    values = {name: _array(tensor) for name, tensor in tensors.items()}
    reference = Reference(
        names=tuple(card.names),
        **{name: values[f"reference.{name}"] for name in ("values", "means", "counts", "between")},
        freedom=card.freedom or np.inf,
        concentration=card.concentration,
        dispersion=card.dispersion,
    )
    return Familiar(
        known=Known(*(values[name] for name in Known._fields)),
        chosen=card.chosen,
        qualities={score: Quality(quality.decoys, quality.classes) for score, quality in card.qualities.items()},
        reference=reference,
        **{name: values[name] for name in ("strangeness", "predictions", "centre", "components")},
    )


def _checked(path: Path, told: object, tensors: dict[str, Tensor]) -> _Card:
    """Return the card, unless it or the tensors are not what `save_familiar` writes."""
    try:
        card = _Card.model_validate_json(json.dumps(told))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unfit(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    lengths = {"s": len(SCORES), "k": len(card.names)}
    for name, axes in _AXES.items():
        shape = tensors[name].shape if name in tensors else None
        if shape is None or len(shape) != len(axes):
            raise _unfit(path, f"its tensor '{name}' is missing or has other axes")
        if any(lengths.setdefault(axis, length) != length for axis, length in zip(axes, shape, strict=True)):
            raise _unfit(path, f"its tensor '{name}' has shape {tuple(shape)}")
    if card.chosen not in SCORES:
        raise _unfit(path, f"it chose a score '{card.chosen}', which is none of {', '.join(SCORES)}")
    return card


def _unfit(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: {reason}; remove it, or put back the file that the run wrote")


def _digest(classifier: Path) -> str:
    return str(read_header(classifier).get(METADATA, {}).get(CHECKSUM))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64 if values.dtype.kind == "i" else np.float32))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.float64 if tensor.is_floating_point() else np.int64)
