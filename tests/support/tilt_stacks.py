"""Sets of 2D tilt stacks in every dialect, of a known density, projected without Fourier slices."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mrcfile
import numpy as np
import starfile
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from cryoreg.simulation.optics import splat

EDGE, PIXEL, UNBINNED = 32, 4.0, 2.0
SIZE = np.array([2000, 3000, 1000])
"""Of the tomograms, voxels before binning."""
TILTS = np.arange(-60, 61, 4.0)
DEFOCUS, ASTIGMATISM, AZIMUTH = 12000.0, 500.0, 30.0
VOLTAGE, CS, CONTRAST = 300.0, 2.7, 0.07


class Made(NamedTuple):
    """What a set was made of."""

    path: Path
    density: NDArray[np.float64]
    """(D, H, W), in the frame of the tomogram."""


def density(seed: int = 0) -> NDArray[np.float64]:
    """Return an asymmetric density in the inner half of the box, with detail down to Nyquist."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 12, (300, 3)) * [1.2, 0.9, 0.7]
    points = points[np.linalg.norm(points, axis=1) < EDGE * PIXEL / 4.5]
    masses = np.where(np.arange(len(points)) < 9, 10.0, 1.0)
    return splat(points, masses, (EDGE,) * 3, PIXEL)


def rotations(axis: str, tilts: Sequence[float] = tuple(TILTS), in_plane: float = 85.0) -> NDArray[np.float64]:
    """Return from (x, y, z) of the tomogram to those of the images (F, 3, 3): tilted, then turned in the image."""
    angles = {"x": [(tilt, 0, in_plane) for tilt in tilts], "y": [(0, tilt, in_plane) for tilt in tilts]}[axis]
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


@cache
def projections(axis: str, origin: tuple[float, ...]) -> NDArray[np.float64]:
    """Return sums along the beam (F, H, W) of the density, turned in real space by cubic splines.

    It lies off the middle by minus ``origin`` (x, y, z), Å.
    """
    middle = np.full(3, EDGE // 2)
    images = []
    for turn in rotations(axis):
        reads = turn.T[::-1, ::-1]  # (z, y, x)
        place = middle - reads @ middle + np.array(origin)[::-1] / PIXEL
        images.append(affine_transform(density(), reads, place, order=3).sum(axis=0))
    return np.array(images)


def transfer(turns: NDArray[np.float64], position: NDArray[np.float64], hand: int, exposure: Any) -> Any:
    """Return CTF times exposure filter (F, H, W // 2 + 1), written out as in the papers."""
    y, x = np.fft.fftfreq(EDGE, PIXEL)[:, None], np.fft.rfftfreq(EDGE, PIXEL)
    k = np.hypot(x, y)
    volts = VOLTAGE * 1e3
    length = 12.2643 / np.sqrt(volts + 0.97845e-6 * volts**2)
    out = []
    for turn, electrons in zip(turns, exposure, strict=True):
        depth = (turn @ position)[2]
        defocus = DEFOCUS + hand * depth + ASTIGMATISM * np.cos(2 * (np.arctan2(y, x) - np.radians(AZIMUTH)))
        chi = np.pi * length * defocus * k**2 - np.pi / 2 * CS * 1e7 * length**3 * k**4
        ctf = np.sqrt(1 - CONTRAST**2) * np.sin(chi) + CONTRAST * np.cos(chi)
        with np.errstate(divide="ignore"):
            out.append(ctf * np.exp(-electrons / (2 * (0.245 * k**-1.665 + 2.81))))
    return np.array(out)


def filtered(images: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply the spectra of images."""
    return np.fft.irfft2(np.fft.rfft2(images) * by, s=images.shape[1:])


DIALECTS = ("relion5", "relion4", "warp", "warp_same_unit")


def write_set(
    root: Path,
    dialect: str = "relion5",
    *,
    axis: str = "y",
    hand: int = -1,
    premultiplied: bool = True,
    seen: Sequence[int] | None = None,
    only_seen: bool = False,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    particles: int = 1,
    tomograms: int = 1,
    dtype: type[np.floating] = np.float16,
) -> Made:
    """Write an optimisation set with its files; particles lie far from the centre, where depth changes the CTF.

    ``origin`` is where the images were cut from, seen from the particle, Å, as rlnOriginXAngst has it.
    """
    turns, volume = rotations(axis), density()
    position = np.array([1400.0, -1100.0, 500.0])
    exposure = 2.0 * np.argsort(np.argsort(np.abs(TILTS), kind="stable"))
    visible = np.ones(len(turns), int) if seen is None else np.isin(np.arange(len(turns)), seen).astype(int)
    by = transfer(turns, position, hand, exposure)
    images = filtered(projections(axis, tuple(origin)), by**2 if premultiplied else by)
    images[visible == 0] = np.random.default_rng(0).normal(0, images.std() * 3, images[visible == 0].shape)
    (root / "stacks").mkdir(parents=True)
    names = [f"stacks/{number}_stack2d.mrcs" for number in range(particles)]
    for number, name in enumerate(names):
        stack = (1 + number) * (images[visible == 1] if only_seen else images)
        with mrcfile.new(root / name, stack.astype(dtype)) as file:
            file.set_image_stack()
            file.voxel_size = PIXEL
    ending = ".tomostar" if dialect.startswith("warp") else ""
    known = [f"TS_{number:02d}{ending}" for number in range(1, tomograms + 1)]
    rows = {
        "rlnTomoName": [known[number % tomograms] for number in range(particles)],
        "rlnImageName": names,
        "rlnOpticsGroup": 1,
        **{f"rlnOrigin{axis}Angst": shift for axis, shift in zip("XYZ", origin, strict=True)},
        "rlnTomoVisibleFrames": [f"[{','.join(map(str, visible))}]"] * particles,
        **_coordinates(dialect, position),
    }
    optics = {
        "rlnOpticsGroup": [1],
        "rlnCtfDataAreCtfPremultiplied": [int(premultiplied)],
        "rlnImageDimensionality": [2],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [EDGE],
    }
    blocks = {"general": {"rlnTomoSubTomosAre2DStacks": 1}, "optics": _table(optics), "particles": _table(rows)}
    starfile.write(blocks, root / "particles.star")
    _write_tomograms(root, dialect, known, turns, hand, exposure)
    named = {"rlnTomoParticlesFile": "particles.star", "rlnTomoTomogramsFile": "tomograms.star"}
    starfile.write({"": named}, root / "optimisation_set.star")
    return Made(root / "optimisation_set.star", volume)


def _coordinates(dialect: str, position: NDArray[np.float64]) -> dict[str, float]:
    if dialect == "relion5":
        return dict(zip((f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"), position, strict=True))
    unit = UNBINNED if dialect == "relion4" else PIXEL
    places = (position + SIZE * UNBINNED / 2) / unit
    return dict(zip((f"rlnCoordinate{axis}" for axis in "XYZ"), places, strict=True))


def _write_tomograms(
    root: Path, dialect: str, names: list[str], turns: NDArray[np.float64], hand: int, exposure: NDArray[np.float64]
) -> None:
    unit = PIXEL if dialect == "warp_same_unit" else UNBINNED
    size = SIZE * UNBINNED / unit
    overview: dict[str, Any] = {
        "rlnTomoName": names,
        "rlnTomoHand": float(hand),
        "rlnTomoTiltSeriesPixelSize": unit,
        **{f"rlnTomoSize{axis}": int(edge) for axis, edge in zip("XYZ", size, strict=True)},
        "rlnVoltage": VOLTAGE,
        "rlnSphericalAberration": CS,
        "rlnAmplitudeContrast": CONTRAST,
    }
    tilts: dict[str, Any] = {
        **_projections(dialect, turns),
        "rlnDefocusU": DEFOCUS + ASTIGMATISM,
        "rlnDefocusV": DEFOCUS - ASTIGMATISM,
        "rlnDefocusAngle": AZIMUTH,
        "rlnMicrographPreExposure": exposure,
    }
    if dialect == "relion5":
        overview["rlnTomoTiltSeriesStarFile"] = [f"tilt_series/{name}.star" for name in names]
        (root / "tilt_series").mkdir()
        for name in names:
            starfile.write({name: _table(tilts)}, root / "tilt_series" / f"{name}.star")
        starfile.write({"global": _table(overview)}, root / "tomograms.star")
    else:
        overview["rlnTomoFrameCount"] = len(turns)
        tables = dict.fromkeys(names, _table(tilts))
        starfile.write({"global": _table(overview), **tables}, root / "tomograms.star")


def _projections(dialect: str, turns: NDArray[np.float64]) -> dict[str, Any]:
    if dialect == "relion5":
        angles = Rotation.from_matrix(turns).as_euler("xyz", degrees=True)
        return dict(zip(("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot"), angles.T, strict=True))
    shift = [0, 0, 0] if dialect.startswith("warp") else [1000.0, 1500.0, 20.0]
    columns = {}
    for row, axis in enumerate("XYZ"):
        columns[f"rlnTomoProj{axis}"] = [f"[{a},{b},{c},{shift[row]}]" for a, b, c in turns[:, row]]
    return {**columns, "rlnTomoProjW": ["[0,0,0,1]"] * len(turns)}


def _table(columns: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(columns)


# ---- a row for each image: Warp 1 and M 1 ----

DECAY = 4.0
"""Å2 of B-factor for each electron per Å2, as Warp has it."""


def angles_of(matrix: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return rot, tilt, psi of a matrix from the particle to its image, by the entries of RELION's."""
    rot, tilt = np.arctan2(matrix[2, 1], matrix[2, 0]), np.arccos(np.clip(matrix[2, 2], -1, 1))
    psi = np.arctan2(matrix[1, 2], -matrix[0, 2])
    return tuple(np.degrees([rot, tilt, psi]))


def write_rows(root: Path, particles: int = 1, weighted: bool = True) -> Made:
    """Write a particle series of Warp 1.0.9: images by dose, not multiplied, poses that differ from each other.

    ``weighted``: amplitudes are cosines of the tilts; else all are 1.
    """
    turns, position = rotations("y"), np.array([1400.0, -1100.0, 500.0])
    order = np.argsort(np.abs(TILTS), kind="stable")
    exposure = 2.0 * np.argsort(order)
    depth = turns[:, 2] @ position
    k = np.hypot(np.fft.fftfreq(EDGE, PIXEL)[:, None], np.fft.rfftfreq(EDGE, PIXEL))
    scales = np.cos(np.radians(TILTS)) if weighted else np.ones(len(TILTS))
    by = transfer(turns, position, -1, np.zeros(len(turns))) * scales[:, None, None]
    by = by * np.exp(-DECAY * exposure[:, None, None] * k**2 / 4)
    images = filtered(projections("y", (0.0, 0.0, 0.0)), by)[order]
    (root / "particleseries").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number, pose in enumerate(Rotation.random(particles, random_state=1).as_matrix()):
        file = f"particleseries/TS_01_{number:07d}_{PIXEL:.2f}A.mrcs"
        with mrcfile.new(root / file, ((1 + number) * images).astype(np.float32)) as stack:
            stack.set_image_stack()
        for slot, tilt in enumerate(order, start=1):
            rot, theta, psi = angles_of(turns[tilt] @ pose)
            rows.append(
                {
                    "rlnMagnification": 10000,
                    "rlnDetectorPixelSize": PIXEL,
                    "rlnVoltage": VOLTAGE,
                    "rlnSphericalAberration": CS,
                    "rlnAmplitudeContrast": CONTRAST,
                    "rlnPhaseShift": 0.0,
                    "rlnDefocusU": DEFOCUS - depth[tilt] + ASTIGMATISM,
                    "rlnDefocusV": DEFOCUS - depth[tilt] - ASTIGMATISM,
                    "rlnDefocusAngle": AZIMUTH,
                    "rlnImageName": f"{slot:03d}@{file}",
                    "rlnMicrographName": f"TS_01_{tilt:03d}.mrc",
                    "rlnCoordinateX": 700.0,
                    "rlnCoordinateY": 500.0,
                    "rlnAngleRot": rot,
                    "rlnAngleTilt": theta,
                    "rlnAnglePsi": psi,
                    "rlnCtfBfactor": -DECAY * exposure[tilt],
                    "rlnCtfScalefactor": round(float(scales[tilt]), 4),
                    "rlnRandomSubset": 1 + number % 2,
                    "rlnGroupName": f"TS_01_{number:07d}",
                }
            )
    starfile.write({"": _table(rows)}, root / "series.star", float_format="%.5f")
    return Made(root / "series.star", density())
