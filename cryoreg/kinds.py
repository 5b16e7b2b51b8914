"""The kinds of component that cryoreg composes into a run."""

from __future__ import annotations

from typing import Literal

Kind = Literal["encoder", "method", "augmentation", "dataset"]
KINDS: tuple[Kind, ...] = ("encoder", "method", "augmentation", "dataset")
