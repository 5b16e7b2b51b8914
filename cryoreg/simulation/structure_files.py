"""Structures from files: atoms of PDB and mmCIF, density maps of MRC, as weighted point clouds."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.mrc import read_header, read_volume
from cryoreg.errors import DataError
from cryoreg.simulation.assemblies import PROTEIN_DENSITY
from cryoreg.simulation.structures import Points, Structure, thin

if TYPE_CHECKING:
    import gemmi

ATOMS, MAPS = (".pdb", ".ent", ".cif", ".mmcif"), (".mrc", ".map", ".rec", ".ccp4")
DALTON_PER_SCATTERING = 6.1
"""Da per Å of electron scattering factor at k = 0: the mean mass of a protein's heavy atoms with their hydrogens, 14.3
Da, over their mean factor, 2.36 Å."""
SAME_VOXEL_SIZE = 1e-3
BLUR = 5.0
"""Å."""


class StructureOptions(NamedTuple):
    """How files become point clouds."""

    spacing: float
    """Å; points are at most about so far apart, and closer ones are merged."""
    assembly: str = "1"
    """The biological assembly to build; "none" for the atoms as listed."""
    map_voxel_size: float | None = None
    """Å, for maps, instead of what their headers say."""
    map_threshold: float = 0.05
    """Voxels of a map below this fraction of its maximum are left out."""


def read_structures(folder: Path, options: StructureOptions) -> tuple[Structure, ...]:
    """Return a structure for each PDB, mmCIF and MRC file of ``folder``, named after it, in the order of their names.

    Raises `DataError` where there are none, two have one name, or one cannot be used.
    """
    files = structure_files(folder)
    names = Counter(map(structure_name, files))
    for file in files:
        if names[structure_name(file)] > 1:
            twins = " and ".join(other.name for other in files if structure_name(other) == structure_name(file))
            raise DataError(f"{folder}: {twins} would be one class; keep one of them, or rename it")
    return tuple(read_structure(file, options) for file in files)


def structure_files(folder: Path) -> list[Path]:
    """Return the structure files of a folder; raise `DataError` where it is none or has none."""
    try:
        found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read structures from {folder}: {error.strerror}; check the path") from error
    usable = [path for path in found if _kind(path) in ATOMS + MAPS]
    if not usable:
        raise DataError(f"{folder}: has no structures; expected files {', '.join(ATOMS + MAPS)}, or these with .gz")
    return usable


def structure_name(path: Path) -> str:
    """Return the class name of a file: its name up to the extension."""
    return path.name[: -len(_kind(path) + (".gz" if path.suffix.lower() == ".gz" else ""))]


def _kind(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def read_structure(path: Path, options: StructureOptions) -> Structure:
    """Return the structure in a file; raise `DataError` where it cannot be used."""
    points, masses = (_read_map if _kind(path) in MAPS else _read_atoms)(path, options)
    return Structure.centred(structure_name(path), *thin(points, masses, options.spacing))


def _read_atoms(path: Path, options: StructureOptions) -> tuple[Points, NDArray[np.float64]]:
    """Return positions and masses of the heavy atoms of a biological assembly, water left out.

    An atom weighs its electron scattering factor at k = 0 (International Tables C, 4.3.2.2; Peng 1999), times its
    occupancy, in units that make a protein's mass come out in Da.
    """
    model = _model(path, options.assembly)
    atoms = [site.atom for site in model.all() if not (site.residue.is_water() or site.atom.is_hydrogen())]
    points = np.array([atom.pos.tolist() for atom in atoms], dtype=np.float64).reshape(-1, 3)
    masses = np.array([_scattering(atom.element) * atom.occ for atom in atoms])
    if not masses.sum() > 0:
        raise DataError(f"{path}: has no atoms besides hydrogen and water; is it a structure?")
    if not np.isfinite(points).all():
        raise DataError(f"{path}: has coordinates that are not finite; export it again")
    return points[masses > 0], masses[masses > 0] * DALTON_PER_SCATTERING


def _model(path: Path, assembly: str) -> gemmi.Model:
    import gemmi

    try:
        structure = gemmi.read_structure(str(path))
        structure.setup_entities()
    except Exception as error:  # gemmi raises whatever suits the line it stumbles over
        reason = (str(error).splitlines() or ["unknown"])[0].removeprefix(f"{path}:")
        raise DataError(f"{path}: cannot be read as a structure: {reason}; download or export it again") from error
    if not len(structure):
        raise DataError(f"{path}: has no atoms; is it a structure?")
    known = [entry.name for entry in structure.assemblies]
    if assembly == "none" or (not known and assembly == "1"):
        return structure[0]
    if assembly not in known:
        raise DataError(f"{path}: has no assembly '{assembly}', only {', '.join(known) or 'none'}; say which to build")
    chosen = structure.assemblies[known.index(assembly)]
    return gemmi.make_assembly(chosen, structure[0], gemmi.HowToNameCopiedChain.Short)


def _scattering(element: gemmi.Element) -> float:
    """Return the electron scattering factor at k = 0, Å; that of carbon scaled by √Z where no table has the element."""
    table = element.c4322
    return float(table.calculate_sf(0.0)) if table else 2.51 * math.sqrt(max(1, element.atomic_number) / 6)


def _read_map(path: Path, options: StructureOptions) -> tuple[Points, NDArray[np.float64]]:
    """Return positions and masses of a map's voxels above the threshold, resampled to the spacing where it is coarser.

    Amplitudes have no common scale. They are scaled so that the map's mass is its molecular volume times the density of
    protein.
    """
    voxel_size = options.map_voxel_size or _map_voxel_size(path)
    density = np.maximum(read_volume(path).astype(np.float64), 0)
    if not density.any():
        raise DataError(f"{path}: has no positive voxel; density must be bright: invert it")
    mass = molecular_volume(density, voxel_size) * PROTEIN_DENSITY
    density, voxel_size = _refined(density, voxel_size, options.spacing)
    kept = density > options.map_threshold * density.max()
    z, y, x = np.nonzero(kept)
    points = np.stack([x, y, z], axis=1).astype(np.float64) * voxel_size
    return points, density[kept] * (mass / density[kept].sum())


def _map_voxel_size(path: Path) -> float:
    sizes = read_header(path).voxel_sizes
    if sizes is None:
        raise DataError(f"{path}: has no voxel size in its header; say --map-voxel-size <Å>")
    if max(sizes) > min(sizes) * (1 + SAME_VOXEL_SIZE):
        listed = " × ".join(f"{size:.4g}" for size in sizes)
        raise DataError(f"{path}: has voxels of {listed} Å; resample them to cubes, or say --map-voxel-size <Å>")
    return float(np.mean(sizes))


def _refined(density: NDArray[np.float64], voxel_size: float, spacing: float) -> tuple[NDArray[np.float64], float]:
    """Return a map interpolated to voxels no larger than ``spacing``, and their size."""
    from scipy.ndimage import zoom

    factor = math.ceil(voxel_size / spacing * (1 - SAME_VOXEL_SIZE))
    if factor <= 1:
        return density, voxel_size
    finer = zoom(_trimmed(density), factor, order=3, mode="grid-constant", grid_mode=True)
    return np.maximum(finer, 0), voxel_size / factor


def _trimmed(density: NDArray[np.float64], rim: int = 3) -> NDArray[np.float64]:
    """Return the part of a map that is not zero, with a rim."""
    filled = np.argwhere(density > density.max() * 1e-3)
    first, last = np.maximum(0, filled.min(axis=0) - rim), filled.max(axis=0) + 1 + rim
    return density[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]


def molecular_volume(density: NDArray[np.float64], voxel_size: float) -> float:
    """Return the volume, Å3, within half of a map's maximum.

    Blurring a solid body leaves its surface at half of the height inside. Maps that show more than the body's outline
    are blurred first, to a standard deviation of 5 Å, so that their maximum is that height.
    """
    from scipy.ndimage import gaussian_filter

    outline = gaussian_filter(density, BLUR / voxel_size, mode="constant") if voxel_size < BLUR else density
    return float(np.count_nonzero(outline > outline.max() / 2) * voxel_size**3)
