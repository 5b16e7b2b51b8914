"""The data sets that cryoreg makes itself: the demonstration's, and the universe of structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cryoreg.specs import DatasetSpec

if TYPE_CHECKING:
    from cryoreg.contracts import SubtomogramDataset


class DemoSpec(DatasetSpec):
    """Ten procedural assemblies with point-group symmetry: the embedded default, generated once and cached.

    Random bead protomers in C1, C2, C3, C4, C6, D2, D3, D7, T and O symmetry, 450-650 kDa, with neighbours, CTF,
    ±60° missing wedge and noise. The variance ratio of 6 inside the crop is about what the nominal SNR of 0.05 of Gupta
    et al. 2022 comes to there. Density is white on 0, the noise's standard deviation is 1. See `cryoreg.simulation`.
    """

    per_class: int = Field(150, ge=1, description="subtomograms per class")
    box: int = Field(24, ge=16, description="edge of the boxes, voxels")
    voxel_size: float = Field(12.0, ge=4, allow_inf_nan=False, description="Å per voxel")
    snr: float = Field(
        6.0, gt=0, description="variance of the target's signal over variance of the noise, in the crop; inf: no noise"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of structures, poses and noise")

    def build(self) -> SubtomogramDataset:
        """Open the cached set, generating it first where it is missing."""
        from cryoreg.datasets.readers.demo import DemoSettings, load_demo

        return load_demo(DemoSettings(**self.model_dump()))


class UniverseSpec(DatasetSpec):
    """Made-up structures through random microscopes, simulated while training: as many scenes as are asked for.

    Assemblies of all point groups and of none, 50 kDa to 4 MDa, protein with nucleic acid, membranes, filaments, gold,
    carbon and empty ice; none is of the PDB or the EMDB. Classes are the structures, groups the sessions.
    Scene number i shows structure i modulo their number, the same bits wherever it is made. See `docs/simulation.md`.
    """

    structures: int = Field(1500, ge=2, description="how many of the endless series of structures")
    per_class: int = Field(20, ge=1, description="scenes of each structure; any number, as nothing is kept on disk")
    first: int = Field(0, ge=0, description="scenes of each structure to pass over")
    box: int = Field(16, ge=4, description="edge of the boxes, voxels")
    voxel_size: float = Field(20.0, gt=0, allow_inf_nan=False, description="Å per voxel")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of structures, microscopes, poses and noise")

    def build(self) -> SubtomogramDataset:
        """Return the set; nothing is simulated before it is read."""
        from cryoreg.datasets.readers.universe import MadeUp
        from cryoreg.datasets.universe_set import UniverseSet

        return MadeUp(UniverseSet(**self.model_dump()))
