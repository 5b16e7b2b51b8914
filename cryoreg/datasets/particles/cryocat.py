"""cryoCAT's motive lists as CSV, which hold the numbers of EM and STOPGAP files."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from cryoreg.datasets.particles.motive_lists import FIRST, FRAME, TOMOLIST
from cryoreg.datasets.particles.numbered_tomograms import name_tomograms, whole_numbers
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.text_lists import read_csv


def read_cryocat(path: str, unit_told: bool = False) -> ParticleList:
    """Read the CSV in which cryoCAT keeps a motive list; its numbers are those of EM and STOPGAP files."""
    particles = read_csv(path, unit_told)
    column = pd.to_numeric(particles.columns["tomo_id"], errors="coerce").to_numpy(float)
    numbers = whole_numbers(path, column, "its tomogram", "tomo_id")
    return replace(
        particles,
        coordinates=particles.coordinates - FIRST,
        frame=FRAME,
        **name_tomograms(numbers, path, TOMOLIST)._asdict(),
    )
