"""Particle lists as picks of a copick project."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from copick.models import CopickLocation, CopickPoint
from numpy.typing import NDArray

from cryoreg.datasets.authoring import ParticleList, one_line, read_particle_list, refuse
from cryoreg.errors import ConfigError
from cryoreg_copick.plain_picks import plain_name
from cryoreg_copick.tomograms import CopickTomogram, open_project

_CLASSES = ("cryoregClassName", "prediction", "cluster", "class", "object")
_SCORES = ("cryoregConfidence", "confidence", "rlnAutopickFigureOfMerit", "score")
_NO_CLASS = ("", "none", "nan", "na")
_ENDINGS = (".mrc", ".rec", ".zarr", ".tomostar")


class Wanted(NamedTuple):
    """What is to be written, and by whose name."""

    session: str
    user: str | None = None
    name: str | None = None
    """The object that all particles are; None for that of the class of each."""
    renamed: Mapping[str, str] = {}
    """Class -> object, where they differ."""
    leave_out: Sequence[str] = ()
    voxel_size: float | None = None
    """Å per unit of the coordinates, where the list does not say."""
    overwrite: bool = False


def write_picks(path: str | Path, project: str | Path, wanted: Wanted) -> dict[tuple[str, str], int]:
    """Write the particles of a list into a project; return how many of each object in each run.

    Picks have the class's score where the list has one, and no orientation. Raises a `CryoregError`, one line, before
    anything is written, where an object, a run or a unit is not known, a particle lies outside of its run's tomogram,
    or such picks are there already.
    """
    config = os.fspath(project)
    root = open_project(config)
    particles = read_particle_list(path, unit_told=wanted.voxel_size is not None)
    places = _angstroms(particles, wanted.voxel_size)
    runs = _runs_of(particles, config, [run.name for run in root.runs])
    objects = _objects_of(particles, config, [each.name for each in root.pickable_objects], wanted)
    scores = _scores(particles)
    user = wanted.user or root.config.user_id
    if not user:
        raise ConfigError(f"{config}: names no user; say --user")
    sets: dict[tuple[str, str], list[int]] = {}
    for row, (run, name) in enumerate(zip(runs, objects, strict=True)):
        if name is not None:
            sets.setdefault((run, name), []).append(row)
    if not sets:
        refuse(path, "has no particle of a class that is to be written; check --leave-out and --object")
    for run, rows in {run: [row for row, own in enumerate(runs) if own == run] for run in dict.fromkeys(runs)}.items():
        _check_inside(particles, config, root.get_run(run), places, rows)
    _check_new(config, root, sets, user, wanted)
    for (run, name), rows in sorted(sets.items()):
        _store(root.get_run(run), name, user, wanted.session, places[rows], scores[rows])
    return {key: len(rows) for key, rows in sorted(sets.items())}


def _angstroms(particles: ParticleList, size: float | None) -> NDArray[np.float64]:
    """Return the places of the particles (N, 3) in Å from the middle of voxel 0."""
    shifts = 0.0 if particles.shifts is None else particles.shifts
    if particles.unit == "angstrom":
        return particles.coordinates * (size or 1.0) + shifts
    if particles.unit != "voxel" or particles.are_fractions:
        refuse(particles.path, "has coordinates that only its tomograms explain; predict with --format copick instead")
    if size is None and particles.flat:
        refuse(
            particles.path,
            f"lists 2D stacks ({particles.flat}), whose coordinates may count pixels of the images (WarpTools) or "
            "of the tilt series (RELION); say --voxel-size <Å per pixel>",
        )
    sizes = particles.unit_sizes if size is None else np.full(len(particles), size)
    if sizes is None:
        refuse(particles.path, "does not say how large the voxels of its coordinates are; say --voxel-size <Å>")
    return particles.coordinates * sizes[:, None] + shifts


def _runs_of(particles: ParticleList, config: str, known: Sequence[str]) -> list[str]:
    """Return the run of each particle: what its tomogram is called, or the only folder of its path that is one."""
    found = {name: _run_of(name, known) for name in dict.fromkeys(particles.tomograms)}
    for name, run in found.items():
        if run is None:
            what = "a tomogram without a name" if name is None else f"the tomogram '{name}'"
            refuse(particles.path, f"lists {what}, which is no run of {config} (it has: {', '.join(known[:6])})")
    return [found[name] or "" for name in particles.tomograms]


def _run_of(name: str | None, known: Sequence[str]) -> str | None:
    if name is None:
        return known[0] if len(known) == 1 else None
    parts = PurePosixPath(name).parts
    last = next((parts[-1].removesuffix(end) for end in _ENDINGS if parts[-1].endswith(end)), parts[-1])
    named = [part for part in (last, *parts[:-1]) if part in known]
    return named[0] if len(set(named)) == 1 else None


def _objects_of(particles: ParticleList, config: str, known: Sequence[str], wanted: Wanted) -> list[str | None]:
    """Return the object of each particle, None for those that are left out or have no class."""
    if wanted.name is not None:
        names: list[str | None] = [wanted.name] * len(particles)
    else:
        column = next((each for each in _CLASSES if each in particles.columns), None)
        if column is None:
            refuse(particles.path, "has no classes; say which object all of its particles are: --object NAME")
        words = [str(value).strip() for value in particles.columns[column]]
        kept = (word if word.lower() not in _NO_CLASS and word not in wanted.leave_out else None for word in words)
        names = [None if word is None else wanted.renamed.get(word, word) for word in kept]
    for name in dict.fromkeys(names):
        if name is not None and name not in known:
            refuse(
                particles.path,
                f"has the class '{name}', which is no object of {config} (it has: {', '.join(known)}); say "
                f"--map {name}=OBJECT, or --leave-out {name}",
            )
    return names


def _scores(particles: ParticleList) -> NDArray[np.float64]:
    column = next((each for each in _SCORES if each in particles.columns), None)
    if column is None:
        return np.ones(len(particles))
    scores = np.array([float(value) for value in particles.columns[column]])
    if not np.isfinite(scores).all():
        refuse(particles.path, f"has a {column} that is no number in row {np.flatnonzero(~np.isfinite(scores))[0]}")
    return scores


def _check_inside(
    particles: ParticleList, config: str, run: Any, places: NDArray[np.float64], rows: Sequence[int]
) -> None:
    """Raise `DataError` where particles lie outside of a run's tomograms: their unit is another."""
    kinds = [(spacing.voxel_size, each.tomo_type) for spacing in run.voxel_spacings for each in spacing.tomograms]
    if not kinds:
        return
    tomogram = CopickTomogram(config, run.name, *kinds[0])
    size = np.array(tomogram.shape[::-1]) * kinds[0][0]
    own = places[np.array(rows)]
    outside = np.flatnonzero(((own < -kinds[0][0]) | (own > size)).any(axis=1))
    if len(outside):
        at = ", ".join(f"{value:.0f}" for value in own[outside[0]])
        refuse(
            particles.path,
            f"has {len(outside)} of {len(rows)} particles outside run '{run.name}', the first in row "
            f"{rows[outside[0]]} at {at} Å; say --voxel-size <Å per unit of its coordinates>",
        )


def _check_new(config: str, root: Any, sets: Mapping[tuple[str, str], list[int]], user: str, wanted: Wanted) -> None:
    for run, name in sets:
        plain = plain_name(root.get_run(run))
        if plain:
            raise ConfigError(
                f"{plain}: is called after its object alone, beside which copick lists no other picks; rename it "
                "USER_SESSION_OBJECT.json, or give the project an overlay_root of its own"
            )
        there = root.get_run(run).get_picks(object_name=name, user_id=user, session_id=wanted.session)
        if there and not wanted.overwrite:
            raise ConfigError(
                f"{config}: has picks of '{name}' in run '{run}' by {user} in session {wanted.session} already; "
                "name another session, or say --overwrite"
            )


def _store(
    run: Any, name: str, user: str, session: str, places: NDArray[np.float64], scores: NDArray[np.float64]
) -> None:
    with one_line(run.name, "a run that can be written into"):
        picks = run.new_picks(name, session_id=session, user_id=user, exist_ok=True)
        picks.points = [
            CopickPoint(location=CopickLocation(x=x, y=y, z=z), score=score)
            for (x, y, z), score in zip(places.tolist(), scores.tolist(), strict=True)
        ]
        picks.meta.trust_orientation = False
        picks.store()
