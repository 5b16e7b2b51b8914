"""What a plugin's reader is made of, part of the plugin API: boxes from tomograms of any storage, and one-line errors.

The names live elsewhere and may move there; from here they can be imported for as long as the plugin API promises.
"""

from __future__ import annotations

from cryoreg.datasets.conventions import Conventional
from cryoreg.datasets.io.tomogram import Region, Tomogram
from cryoreg.datasets.io.volume_files import check_kind, check_voxels, one_line, refuse, times
from cryoreg.datasets.particles.coordinates import Placed
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.readers.file_dataset import FileDataset
from cryoreg.datasets.readers.tomogram import ParticleBoxes
from cryoreg.datasets.tomograms.files import open_tomogram
from cryoreg.datasets.tomograms.names import Described

__all__ = [
    "Conventional",
    "Described",
    "FileDataset",
    "ParticleBoxes",
    "ParticleList",
    "Placed",
    "Region",
    "Tomogram",
    "check_kind",
    "check_voxels",
    "one_line",
    "open_tomogram",
    "read_particle_list",
    "refuse",
    "times",
]
