"""The weights that cryoreg brings, and the spec that weights of packages share. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from cryoreg.specs import WeightsSpec

if TYPE_CHECKING:
    from cryoreg.contracts import Encoder


class FileWeightsSpec(WeightsSpec):
    """Weights in a file that cryoreg wrote."""

    def build(self) -> Encoder:
        """Return the encoder that the card describes; raise `CheckpointError` where the file is damaged."""
        from cryoreg.runs.networks import open_network

        return open_network(self.path(), "encoder").encoder


class RB3DUniverseSpec(FileWeightsSpec):
    """RB3D with batch normalisation, taught to tell made-up structures apart.

    It has seen no structure of PDB or EMDB: simulated subtomograms of made-up assemblies alone (`cryoreg simulate
    --universe`), each by the method `structures`. docs/results.md says how it does on real structures, `make weights`
    trains it from nothing.
    """

    file: ClassVar[str] = "rb3d_universe.safetensors"
    license: ClassVar[str] = "Apache-2.0"
    evaluated: ClassVar[str] = "on real structures that it has never seen, simulated and measured: docs/results.md"
    recipe: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "learner": {"name": "full", "head": "probe", "unit_length": True, "turns": 8},
        "augmentation": {"name": "cryoet"},
        "training": {"optimizer": "adamw", "lr": 3e-4},
    }
    learners: ClassVar[Mapping[str, Mapping[str, object]]] = {"linear_probe": {"unit_length": True}}
