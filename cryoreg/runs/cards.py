"""What a card must say before a network is built from it: weights come from others, and so do their cards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cryoreg.errors import CheckpointError

Card = dict[str, Any]
"""What a card says; `check_card` has looked at whatever a network and its use need."""
Edge = Annotated[int, Field(ge=1)]
_LOCAL = re.compile(r"file:/|(?<![\w.:/])(?:~[\w-]*[/\\]|(?:[A-Za-z]:)?[/\\](?=[\w.~\\]))")
"""A path of some machine, anywhere in a text; no address, no fraction, no relative path."""


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Component(_Table):
    name: str


class _Recorded(_Table):
    task: str
    encoder: _Component
    learner: _Component | None = None
    dataset: _Component
    split: dict[str, object]
    packages: dict[str, str]


class _Calibration(_Table):
    temperature: float = Field(gt=0, allow_inf_nan=False)
    unsure_threshold: float | None = None


class _Card(_Table):
    config: _Recorded
    data: str
    glimpse: str | None = Field(default=None, pattern="^([0-9a-f]{4})*$")
    num_features: int
    normalisation: str
    box: tuple[Edge, Edge, Edge]
    voxel_size: float | None
    classes: list[str] = []
    metrics: dict[str, object] = {}
    calibration: _Calibration | None = None


class _Progress(_Table):
    epoch: int = Field(ge=0)
    step: int = Field(ge=0)


class _State(_Table):
    config: _Recorded
    data: str
    progress: _Progress
    module: dict[str, object]
    optimizer: dict[str, object]
    monitor: dict[str, object]
    job: dict[str, object]


def parse_card(text: str, path: Path) -> Card:
    """Return what a card's JSON holds; raise `CheckpointError` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a card that is not JSON ({error}); export it again") from None


def check_card(card: object, path: Path) -> None:
    """Raise `CheckpointError` unless a card says all, and in the types, that a network and its use need."""
    try:
        _Card.model_validate_json(json.dumps(card))
    except ValidationError as error:
        raise CheckpointError(f"{path} has a card that cryoreg did not write: {_first(error, 'the card')}") from None


def check_state(state: object, path: Path) -> None:
    """Raise `CheckpointError` unless a checkpoint holds, in the right types, what a run needs to go on."""
    try:
        _State.model_validate(state)
    except ValidationError as error:
        raise CheckpointError(
            f"{path} holds no run to resume ({_first(error, 'all of it')}); put back the file that the run wrote there"
        ) from None


def portable(card: Card, path: Path) -> Card:
    """Return a card without the places of files on this machine: what others need of it, and nothing else of ours.

    Raises `CheckpointError` where the encoder itself needs such a file.
    """
    kept = _without_places(card)
    if kept["config"]["encoder"] != card["config"]["encoder"]:
        raise CheckpointError(f"{path}: its encoder is set by a file of this machine, which others do not have")
    return kept


def unsaid(card: Card) -> list[str]:
    """Return what a card does not say, but whoever brings data to the network must know."""
    return [name for name in ("voxel_size", "contrast") if not card.get(name)]


def names_places(value: object) -> bool:
    """Tell whether a card, or a part of it, names a file of some machine."""
    return value != _without_places(value)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_places(v) for k, v in value.items() if not (_is_place(k) or _is_place(v))}
    if isinstance(value, list):
        return [_without_places(each) for each in value if not _is_place(each)]
    return value


def _is_place(value: object) -> bool:
    return isinstance(value, str) and _LOCAL.search(value) is not None


def _first(error: ValidationError, whole: str) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].replace("Field required", "it is missing").replace("Input should", "it should")
    return f"{'.'.join(map(str, first['loc'])) or whole}: {message}"
