"""Which files make up a set of particles: an optimisation set points to them, or one lists particles by itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, NoReturn

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_blocks import first_values
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.names import find_above

_BESIDE = ("{}_tomograms.star", "tomograms.star")
"""Where programs put the tomograms' file: beside the particles, by their name or its own."""
_FLAT = ((relion.FLAT_STACKS, 1.0), (relion.DIMENSIONALITY, 2.0))


class SetFiles(NamedTuple):
    """The STAR files of a set."""

    particles: str
    tomograms: str
    optimisation_set: str | None = None
    """The one that names the others, where there is one."""


def find_files(root: Path, tomograms: Path | None = None) -> SetFiles:
    """Return the files of an optimisation set or of a list of particles; raise `DataError` where one is missing.

    ``tomograms`` overrules the set. Without either, it lies beside the particles: ``tomograms.star``, or with their
    name, as WarpTools has it: ``NAME_tomograms.star``.
    """
    named = references(root)
    particles = _follow(root, named, relion.PARTICLES_FILE) if named else str(root)
    if tomograms is not None:
        if not tomograms.is_file():
            refuse(tomograms, "is no file; check dataset.tomograms")
        found: str | None = str(tomograms)
    else:
        found = _follow(root, named, relion.TOMOGRAMS_FILE) if named else _beside(root)
    if found is None:
        refuse(
            root,
            f"lists 2D tilt images, whose geometry and CTF are in a tomograms STAR file, and none of "
            f"{', '.join(pattern.format(root.stem) for pattern in _BESIDE)} lies beside it; give the optimisation set, "
            "or say --set dataset.tomograms=<tomograms.star>",
        )
    return SetFiles(particles, found, str(root) if named else None)


def particles_of(path: Path) -> Path:
    """Return the list of particles that an optimisation set names; any other STAR file is one itself."""
    named = references(path)
    return Path(_follow(path, named, relion.PARTICLES_FILE)) if named else path


def references(path: Path) -> dict[str, str]:
    """Return what an optimisation set points to, by RELION's words; nothing of any other STAR file."""
    named = first_values(path)
    return named if relion.PARTICLES_FILE in named else {}


def says_flat(path: Path) -> str | None:
    """Return the word by which a STAR file says that its particles are stacks of 2D images; None where none does."""
    told = first_values(path)
    return next((word for word, value in _FLAT if _is(told.get(word), value)), None)


def _is(cell: str | None, value: float) -> bool:
    try:
        return cell is not None and float(cell) == value
    except ValueError:
        return False


def _follow(root: Path, named: dict[str, str], word: str) -> str:
    if word not in named:
        _refuse_set(root, f"has no {word}, which is to name a STAR file")
    found = find_above(named[word], root.parent)
    if found is None:
        _refuse_set(root, f"names '{named[word]}' ({word}), which is neither in its folder nor in one above it")
    return found


def _refuse_set(root: Path, what: str) -> NoReturn:
    refuse(root, f"{what}; mend the optimisation set, or give the list of particles and dataset.tomograms")


def _beside(particles: Path) -> str | None:
    candidates = (particles.with_name(pattern.format(particles.stem)) for pattern in _BESIDE)
    return next((str(path) for path in candidates if path.is_file()), None)
