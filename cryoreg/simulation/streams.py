"""Counter-based random streams: what is drawn depends only on (seed, purpose, index), never on order or workers."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.random import Generator, Philox


class Purpose(IntEnum):
    """What a stream is for; streams of different purposes never meet."""

    STRUCTURE = 0
    SCENE = 1
    TOMOGRAM = 2
    BODY = 3
    MICROSCOPE = 4
    UNIVERSE_SCENE = 5


def stream(seed: int, purpose: Purpose, index: int) -> Generator:
    """Return the generator of one structure or scene: Philox4x64 (Salmon et al. 2011) with key (seed, index).

    The purpose is the counter's highest word, so a stream would need 2^192 draws to run into another one.
    ``seed`` and ``index`` are below 2^64.
    """
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([0, 0, 0, purpose], dtype=np.uint64)
    return Generator(Philox(key=key, counter=counter))
