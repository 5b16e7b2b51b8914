"""The built-in data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from cryoreg.specs import DatasetSpec

if TYPE_CHECKING:
    from cryoreg.contracts import SubtomogramDataset


class MrcFolderSpec(DatasetSpec):
    """A folder of MRC files: ``root/<class>/*.mrc``, or flat and unlabelled: ``root/*.mrc``.

    Files are read as they are: axes (z, y, x), voxel size from the headers.
    """

    root: Path = Field(description="the folder")
    voxel_size: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Å per voxel, where the headers do not say or are wrong"
    )

    def build(self) -> SubtomogramDataset:
        """Open the folder; headers are checked now, voxels when they are read."""
        from cryoreg.datasets.mrc_folder import MrcFolder

        return MrcFolder(self.root, self.voxel_size)


class LabSpec(DatasetSpec):
    """The layout of the paper's lab: ``subtomogram_mrc/tomotarget<N>.mrc`` and ``json_label/target<N>.json``.

    Files are paired by the number N. The lab's beam lies along MRC X; volumes are turned (axes cyclically permuted, so
    nothing is mirrored) to have the beam along z, as everywhere in cryoreg.
    """

    root: Path = Field(description="the folder that holds subtomogram_mrc and json_label")
    voxel_size: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Å per voxel; the lab's headers do not say"
    )

    def build(self) -> SubtomogramDataset:
        """Open the folder; headers and labels are checked now, voxels when they are read."""
        from cryoreg.datasets.lab import Lab

        return Lab(self.root, self.voxel_size)


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
        from cryoreg.datasets.demo import load_demo

        return load_demo(self)
