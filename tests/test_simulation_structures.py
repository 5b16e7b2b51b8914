"""Structures from files: atoms, maps, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial import cKDTree
from support.mrc_writing import state, write_mrc

from cryoreg.errors import DataError
from cryoreg.simulation import optics
from cryoreg.simulation.structure_files import (
    StructureOptions,
    molecular_volume,
    read_structure,
    read_structures,
)
from cryoreg.simulation.structures import Structure, thin

FINE = StructureOptions(spacing=0.5)
ATOMS = [("C", (0.0, 0.0, 0.0)), ("N", (10.0, 0.0, 0.0)), ("O", (0.0, 20.0, 0.0)), ("S", (0.0, 0.0, 30.0))]
SCATTERING = np.array([2.5088, 2.2135, 1.9834, 5.1604])
"""Å, at k = 0, from the table 4.3.2.2 itself: the sums of its coefficients a."""

TWOFOLD = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       50.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000
"""


def pdb_line(number: int, name: str, residue: str, place: tuple[float, float, float], occupancy: float = 1.0) -> str:
    kind = "HETATM" if residue == "HOH" else "ATOM  "
    coordinates = "".join(f"{x:8.3f}" for x in place)
    start = f"{kind}{number:5d}  {name:<3s} {residue} A{number:4d}"
    return f"{start}    {coordinates}{occupancy:6.2f} 10.00          {name:>2s}\n"


def pdb_text(remarks: str = "") -> str:
    """Four atoms, a hydrogen and a water."""
    lines = [pdb_line(i + 1, name, "ALA", place) for i, (name, place) in enumerate(ATOMS)]
    lines += [pdb_line(8, "H", "ALA", (90.0, 0.0, 0.0)), pdb_line(9, "O", "HOH", (0.0, 90.0, 0.0))]
    return remarks + "".join(lines) + "END\n"


def write_pdb(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def check_atoms(body: Structure) -> None:
    places = np.array([place for _, place in ATOMS])
    expected = places - SCATTERING @ places / SCATTERING.sum()
    order = [int(np.abs(body.points - place).sum(axis=1).argmin()) for place in expected]
    np.testing.assert_allclose(body.points[order], expected, atol=1e-3)
    np.testing.assert_allclose(body.masses[order] / body.masses.sum(), SCATTERING / SCATTERING.sum(), rtol=1e-3)


def test_atoms_without_hydrogen_and_water(tmp_path: Path) -> None:
    check_atoms(read_structure(write_pdb(tmp_path / "a.pdb", pdb_text()), FINE))


@pytest.mark.parametrize("name", ["a.cif", "a.mmcif", "a.ent", "a.pdb.gz", "a.cif.gz"])
def test_other_formats_say_the_same(tmp_path: Path, name: str) -> None:
    structure = gemmi.read_pdb_string(pdb_text())
    content = structure.make_mmcif_document().as_string() if "cif" in name else pdb_text()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    check_atoms(read_structure(path, FINE))
    assert read_structure(path, FINE).name == "a"


def test_occupancy_weighs(tmp_path: Path) -> None:
    text = pdb_line(1, "C", "ALA", (0, 0, 0)) + pdb_line(2, "C", "ALA", (10, 0, 0), 0.25)
    assert sorted(read_structure(write_pdb(tmp_path / "a.pdb", text), FINE).masses) == pytest.approx(
        [0.25 * 2.5088 * 6.1, 2.5088 * 6.1]
    )


def test_the_biological_assembly_is_built(tmp_path: Path) -> None:
    """The second copy of (x, y, z) is at (50 − x, −y, z)."""
    path = write_pdb(tmp_path / "a.pdb", pdb_text(TWOFOLD))
    whole, listed = (read_structure(path, FINE._replace(assembly=name)) for name in ("1", "none"))
    assert (len(whole.points), len(listed.points)) == (8, 4)
    assert whole.mass == pytest.approx(2 * listed.mass)
    turned = whole.points * (-1, -1, 1)  # the twofold axis runs through the centre of mass
    assert all(np.abs(whole.points - point).sum(axis=1).min() < 1e-3 for point in turned)


def test_thinning_keeps_mass_and_centre_and_hardly_moves_density() -> None:
    rng = np.random.default_rng(0)
    points, masses = rng.normal(0, 25, (20000, 3)), rng.uniform(1, 2, 20000)
    fewer, weights = thin(points, masses, 5.0)
    assert len(fewer) < 10000
    assert weights.sum() == pytest.approx(masses.sum())
    np.testing.assert_allclose(weights @ fewer, masses @ points, atol=1e-6)
    before, after = (optics.splat(p, m, (24, 24, 24), 10.0).ravel() for p, m in ((points, masses), (fewer, weights)))
    assert np.corrcoef(before, after)[0, 1] > 0.999


def ball(radius: float, voxel: float, edge: int) -> np.ndarray:
    """A solid ball, each voxel filled as far as eight points in it lie within."""
    axis = ((np.arange(2 * edge) + 0.5) / 2 - edge / 2 - 0.25) * voxel
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = (x**2 + y**2 + z**2 < radius**2).astype(np.float32)
    return inside.reshape(edge, 2, edge, 2, edge, 2).mean(axis=(1, 3, 5))


@pytest.mark.parametrize(("voxel", "edge"), [(4.0, 48), (8.0, 25)])
@pytest.mark.parametrize("scale", [1e-3, 500.0])
def test_a_maps_mass_is_its_volume_times_the_density_of_protein(
    tmp_path: Path, voxel: float, edge: int, scale: float
) -> None:
    """1.35 g/cm³ is 0.81 Da/Å³; neither amplitude nor voxel size nor what lies below zero matters."""
    density = scale * (ball(60.0, voxel, edge) - 0.05)
    body = read_structure(write_mrc(tmp_path / "ball.mrc", density.astype(np.float32), voxel), StructureOptions(5.0))
    assert body.mass == pytest.approx(4 / 3 * np.pi * 60**3 * 0.81, rel=0.05)
    assert body.radius == pytest.approx(60, abs=1.2 * voxel)
    assert body.radius_of_gyration == pytest.approx(60 * np.sqrt(3 / 5), rel=0.05)


def test_axes_of_maps(tmp_path: Path) -> None:
    """Voxel (z, y, x) is the point (x, y, z): two bright voxels, one heavier, apart along z, y and x by 5, 3 and 1."""
    volume = np.zeros((12, 10, 8), dtype=np.float32)
    volume[3, 2, 4], volume[8, 5, 5] = 3, 1
    body = read_structure(write_mrc(tmp_path / "a.mrc", volume, 7.0), StructureOptions(7.0))
    heavy, light = body.points[body.masses.argsort()[::-1]]
    np.testing.assert_allclose(light - heavy, np.array([1, 3, 5]) * 7.0, atol=1e-4)


def test_coarse_maps_are_interpolated(tmp_path: Path) -> None:
    body = read_structure(write_mrc(tmp_path / "ball.mrc", ball(60.0, 10.0, 20), 10.0), StructureOptions(5.0))
    nearest = cKDTree(body.points).query(body.points, k=2)[0][:, 1]
    assert nearest.max() <= 5.0 + 1e-6


def test_voxel_size_from_the_user(tmp_path: Path) -> None:
    silent = write_mrc(tmp_path / "silent.mrc", ball(60.0, 10.0, 20), None)
    wrong = write_mrc(tmp_path / "wrong.mrc", ball(60.0, 10.0, 20), 3.0)
    right = write_mrc(tmp_path / "right.mrc", ball(60.0, 10.0, 20), 10.0)
    expected = read_structure(right, StructureOptions(5.0))
    for path in (silent, wrong):
        body = read_structure(path, StructureOptions(5.0, map_voxel_size=10.0))
        np.testing.assert_allclose(body.points, expected.points, atol=1e-4)
        assert body.mass == pytest.approx(expected.mass, rel=1e-5)


def test_a_folder_may_mix_kinds(tmp_path: Path) -> None:
    write_pdb(tmp_path / "b.pdb", pdb_text())
    write_mrc(tmp_path / "a.map", ball(40.0, 10.0, 16), 10.0)
    (tmp_path / "notes.txt").write_text("not a structure")
    (tmp_path / ".hidden.pdb").write_text("not a structure")
    assert [body.name for body in read_structures(tmp_path, StructureOptions(5.0))] == ["a", "b"]


def broken(kind: str, folder: Path) -> Path:
    """Write what is wrong; return the path that the message must name."""
    path = folder / "x.pdb"
    if kind == "no folder":
        return folder / "nowhere"
    if kind == "no structures":
        (folder / "readme.txt").write_text("nothing")
        return folder
    if kind == "one name twice":
        write_pdb(path, pdb_text())
        write_pdb(folder / "x.ent", pdb_text())
        return folder
    if kind in ("map without voxel size", "negative map", "oblong voxels", "constant map", "truncated map"):
        path = folder / "x.mrc"
        if kind == "constant map":
            return write_mrc(path, np.zeros((6, 6, 6), np.float32))
        data = ball(40.0, 10.0, 16)
        write_mrc(path, -1 - data if kind == "negative map" else data, None if "without" in kind else 10.0)
        if kind == "oblong voxels":
            write_mrc(path, data, (10.0, 10.0, 12.0))
        if kind == "truncated map":
            path.write_bytes(path.read_bytes()[:3000])
        return path
    content: dict[str, bytes] = {
        "empty": b"",
        "text": b"this is no structure\n",
        "water alone": pdb_line(1, "O", "HOH", (0, 0, 0)).encode(),
        "binary": bytes(range(256)) * 20,
        "not finite": pdb_text().replace("   0.000   0.000   0.000", "     nan   0.000   0.000").encode(),
    }
    if kind in content:
        path.write_bytes(content[kind])
    if kind == "unknown assembly":
        write_pdb(path, pdb_text(TWOFOLD))
    if kind == "cif without atoms":
        path = folder / "x.cif"
        path.write_text("data_x\n_cell.length_a 1\n")
    if kind == "broken cif":
        path = folder / "x.cif"
        path.write_text("data_x\nloop_\n_a\n_b\n1 2 3\n")
    if kind == "damaged gzip":
        path = folder / "x.pdb.gz"
        path.write_bytes(gzip.compress(pdb_text().encode())[:60])
    return path


KINDS = [
    ("no folder", "check the path"),
    ("no structures", "has no structures; expected files .pdb"),
    ("one name twice", "x.ent and x.pdb would be one class"),
    ("empty", "no atoms"),
    ("text", "no atoms"),
    ("water alone", "no atoms besides hydrogen and water"),
    ("binary", "structure"),
    ("not finite", "not finite|cannot be read"),
    ("unknown assembly", "has no assembly '7', only 1"),
    ("cif without atoms", "no atoms"),
    ("broken cif", "cannot be read as a structure"),
    ("damaged gzip", "cannot be read as a structure"),
    ("map without voxel size", "no voxel size in its header; say --map-voxel-size"),
    ("oblong voxels", "has voxels of 10 × 10 × 12 Å"),
    ("negative map", "no positive voxel; density must be bright"),
    ("constant map", "x.mrc"),
    ("truncated map", "x.mrc"),
]


@pytest.mark.parametrize(("kind", "complaint"), KINDS, ids=[kind for kind, _ in KINDS])
def test_bad_input_is_one_line_and_left_alone(tmp_path: Path, kind: str, complaint: str) -> None:
    path = broken(kind, tmp_path)
    before = state(tmp_path)
    options = StructureOptions(5.0, assembly="7" if kind == "unknown assembly" else "1")
    with pytest.raises(DataError, match=complaint) as caught:
        read_structures(path if path.suffix == "" else tmp_path, options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state(tmp_path) == before


@pytest.mark.parametrize("name", ["1bxn", "3gl1"])
def test_atoms_agree_with_the_map_made_of_them(shared_data: Path, name: str) -> None:
    """PolNet made the maps from the atoms as listed (not from the biological assembly), in their frame."""
    options = StructureOptions(5.0, assembly="none")
    atoms = read_structure(shared_data / "structures" / f"{name}.pdb", options)
    density = read_structure(shared_data / "density_maps" / f"{name}.mrc", options)
    assert density.mass == pytest.approx(atoms.mass, rel=0.1)
    # The map is blurred, which adds three times the blur's variance to the squared radius of gyration.
    added = (density.radius_of_gyration**2 - atoms.radius_of_gyration**2) / 3
    assert 0 < added < 8.0**2
    shape = (32, 32, 32)
    low_pass = optics.gaussian(optics.frequencies(shape, 10.0).squared, 30.0)

    def blurred(body: Structure) -> np.ndarray:
        spectrum = np.fft.rfftn(optics.splat(body.points, body.masses, shape, 10.0)) * low_pass
        return np.fft.irfftn(spectrum, s=shape, axes=(0, 1, 2))

    one, other = blurred(atoms), blurred(density)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.985
    mirrored = np.flip(other[1:, 1:, 1:], axis=2)
    assert np.corrcoef(one[1:, 1:, 1:].ravel(), mirrored.ravel())[0, 1] < 0.97


def test_masses_of_known_complexes(shared_data: Path) -> None:
    """RuBisCO L8S8 has 550 kDa; the 20S proteasome about 700."""
    rubisco = read_structure(shared_data / "structures" / "1bxn.pdb", StructureOptions(5.0))
    proteasome = read_structure(shared_data / "density_maps" / "3j9i.mrc", StructureOptions(5.0))
    assert rubisco.mass == pytest.approx(550e3, rel=0.1)
    assert proteasome.mass == pytest.approx(700e3, rel=0.1)


def test_volume_of_a_blurred_body_is_its_own() -> None:
    density = ball(50.0, 4.0, 40).astype(np.float64)
    assert molecular_volume(density, 4.0) == pytest.approx(4 / 3 * np.pi * 50**3, rel=0.05)
