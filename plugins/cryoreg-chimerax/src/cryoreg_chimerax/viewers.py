"""Viewers of `cryoreg open`: ChimeraX, and ArtiaX, which is an extension of it. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from cryoreg.errors import DataError
from cryoreg.files import write_text
from cryoreg.seams import Shown, Viewer

PROGRAMS = ("chimerax", "ChimeraX", "chimerax-daily")
INSTALL = "install UCSF ChimeraX (https://www.rbvi.ucsf.edu/chimerax)"
_COLUMNS = ("pos_x", "pos_y", "pos_z", "shift_x", "shift_y", "shift_z", "phi", "the", "psi", "confidence")
"""Of a list for ArtiaX: its nine, then what it takes as metadata."""


class ChimeraXViewer(Viewer):
    """UCSF ChimeraX: a ball for each particle, a marker set for each class, and the tomogram as three planes.

    The planes move with the right mouse button.
    """

    programs = PROGRAMS
    install = INSTALL

    def prepare(self, shown: Shown, folder: Path) -> Sequence[Sequence[str]]:
        """Write NAME.cmm, the markers in Å from the middle of the first voxel, and NAME.cxc, which opens all."""
        write_text(folder / f"{shown.name}.cmm", markers(shown))
        script = folder / f"{shown.name}.cxc"
        write_text(script, chimerax_script(shown))
        return [[PROGRAMS[0], str(script)]]


class ArtiaXViewer(Viewer):
    """ArtiaX, an extension of ChimeraX for particle lists: a list for each class.

    Its balls are of one size; confidence is an attribute, by which ArtiaX can select and colour.
    """

    programs = PROGRAMS
    install = f"{INSTALL}, and ArtiaX in it (toolshed install ArtiaX)"

    def prepare(self, shown: Shown, folder: Path) -> Sequence[Sequence[str]]:
        """Write NAME_1.tsv, NAME_2.tsv, ..., positions in Å, and NAME_artiax.cxc, which opens all."""
        lines = ["artiax start", f"artiax open tomo {_quoted(shown.tomogram)}"]
        for number, name in enumerate(_classes(shown), 1):
            file = f"{shown.name}_{number}.tsv"
            write_text(folder / file, "".join(_rows(shown, name)))
            lines += [
                f"open {_quoted(Path(file))} format generic",
                f"rename #1.2.{number} {_quoted(Path(name or 'no class'))}",
                f"artiax particles #1.2.{number} color {_hex(shown, name)} radius {max(shown.radii):.4g}",
            ]
        script = folder / f"{shown.name}_artiax.cxc"
        lines.append(f"volume #1.1.1 voxelSize {shown.voxel_size:.6g}")  # ArtiaX takes that of the header, and origin 0
        write_text(script, "\n".join([*lines, "view", ""]))
        return [[PROGRAMS[0], str(script)]]


def chimerax_script(shown: Shown) -> str:
    """Return commands for a ChimeraX without models: the tomogram is #1, the markers are #2.

    The origin in the tomogram's header is overruled, so that both count from the middle of the first voxel.
    """
    z, y, x = (edge // 2 for edge in shown.shape)
    return "\n".join(
        [
            f"open {_quoted(shown.tomogram)}",
            f"volume #1 origin 0,0,0 voxelSize {shown.voxel_size:.6g} step 1",
            f"volume #1 colorMode l8 orthoplanes xyz positionPlanes {x},{y},{z} style image region all",
            f"open {_quoted(Path(f'{shown.name}.cmm'))}",
            'mousemode right "move planes"',
            "view",
            "",
        ]
    )


def markers(shown: Shown) -> str:
    """Return marker sets, a class each, in ChimeraX's XML."""
    sets = "".join(
        f"<marker_set name={quoteattr(name or 'no class')}>\n{_set(shown, name)}</marker_set>\n"
        for name in _classes(shown)
    )
    return f"<marker_sets>\n{sets}</marker_sets>\n"


def _set(shown: Shown, name: str) -> str:
    red, green, blue = (f"{part / 255:.4g}" for part in shown.colours[name])
    rows = [row for row, each in enumerate(shown.classes) if each == name]
    return "".join(
        f'<marker id="{number}" {_place(shown, row)} r="{red}" g="{green}" b="{blue}" '
        f'radius="{shown.radii[row]:.4g}" note={quoteattr(shown.ids[row])}/>\n'
        for number, row in enumerate(rows, 1)
    )


def _place(shown: Shown, row: int) -> str:
    return " ".join(f'{axis}="{value:.2f}"' for axis, value in zip("xyz", _angstroms(shown, row), strict=True))


def _angstroms(shown: Shown, row: int) -> list[float]:
    return [value * shown.voxel_size for value in shown.places[row]]


def _rows(shown: Shown, name: str) -> Iterator[str]:
    """Yield the lines of a list for ArtiaX."""
    yield "\t".join(_COLUMNS) + "\n"
    for row, each in enumerate(shown.classes):
        if each == name:
            sure = shown.confidences[row]
            values = [*_angstroms(shown, row), *[0.0] * 6, 1.0 if sure is None else sure]
            yield "\t".join(f"{value:.4f}" for value in values) + "\n"


def _classes(shown: Shown) -> list[str]:
    """Return the classes that there are in this tomogram, in the order of the legend."""
    return [name for name in shown.colours if name in shown.classes]


def _hex(shown: Shown, name: str) -> str:
    return "#{:02x}{:02x}{:02x}".format(*shown.colours[name])


def _quoted(path: Path) -> str:
    if '"' in str(path):
        raise DataError(f"{path}: ChimeraX would misread this name; rename it without quotes")
    return f'"{path.as_posix()}"'
