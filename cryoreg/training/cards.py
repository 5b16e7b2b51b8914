"""What a card must say before a network is built from it: weights come from others, and so do their cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cryoreg.errors import CheckpointError

Edge = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Component(_Table):
    name: str


class _Recorded(_Table):
    task: str
    encoder: _Component
    dataset: _Component
    split: dict[str, Any]
    packages: dict[str, str]


class _Calibration(_Table):
    temperature: float = Field(gt=0, allow_inf_nan=False)
    unsure_threshold: float | None = None


class _Card(_Table):
    config: _Recorded
    data: str
    num_features: int
    normalisation: str
    box: tuple[Edge, Edge, Edge]
    voxel_size: float | None
    classes: list[str] = []
    metrics: dict[str, Any] = {}
    calibration: _Calibration | None = None


def parse_card(text: str, path: Path) -> Any:
    """Return what a card's JSON holds; raise `CheckpointError` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a card that is not JSON ({error}); export it again") from None


def check_card(card: Any, path: Path) -> None:
    """Raise `CheckpointError` unless a card says all, and in the types, that a network and its use need."""
    try:
        _Card.model_validate_json(json.dumps(card))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the card"
        message = first["msg"].replace("Field required", "it is missing").replace("Input should", "it should")
        raise CheckpointError(f"{path} has a card that cryoreg did not write: {place}: {message}") from None
