"""What is told of tomograms that are picked, by options or a project file, and what a project file can learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryoreg.config import Project
from cryoreg.contracts import TiltAxis
from cryoreg.datasets.particles.carried import single
from cryoreg.datasets.stated import check_sizes, words
from cryoreg.datasets.tomograms.files import against_headers, header_sizes
from cryoreg.datasets.tomograms.kinds import ZARR, tomograms_in
from cryoreg.picking.picks import Picks
from cryoreg.picking.proposals import AskedContrast
from cryoreg.specs import Stated


class Told(NamedTuple):
    """What is told of tomograms; None where it is not."""

    voxel_size: float | None = None
    """Å; it overrules the files."""
    contrast: AskedContrast | None = None
    tilt_range: tuple[float, float] | None = None
    """Degrees."""
    tilt_axis: TiltAxis | None = None

    def filled(self, project: Project | None, files: Sequence[Path]) -> tuple[Told, list[str]]:
        """Return it with what a project says of all these files where it is silent, and a line that says so.

        Raises `DataError` where a header has another voxel size than the project file.
        """
        facts = None if project is None else project.tomograms
        if project is None or facts is None or not all(facts.covers(file) for file in files):
            return self, []
        said = {key: getattr(facts, key) for key, value in self._asdict().items() if value is None}
        said = {key: value for key, value in said.items() if value is not None}
        if not said:
            return self, []
        stated = Stated(project.shown, str(facts.path), tuple(said), facts.overrule)
        check_sizes(lambda: header_sizes(files), said.get("voxel_size"), stated)
        return self._replace(**said), [f"{words(said)} from {project.shown}"]

    def learnt(self, found: Sequence[Picks]) -> dict[str, object]:
        """Return what is told and was found of all tomograms of a folder; nothing where they lie in several.

        Of some tomograms of a folder, nothing but the folder: what holds for them need not hold for the others.
        """
        files = {_image(picks.path) for picks in found}
        folder = next(iter(files)).parent
        if {file.parent for file in files} != {folder}:
            return {}
        if {*tomograms_in(folder)} != {file.name for file in files}:
            return {"path": folder}
        overrule = self._overrules(found) or None
        return {"path": folder, **self._asdict(), "contrast": self._contrast(found), "overrule": overrule}

    def against(self, project: Project | None, found: Sequence[Picks]) -> dict[str, object]:
        """Return what a command that reads these tomograms must be told, as a project does not say the same of them."""
        facts = None if project is None else project.tomograms
        if facts is None or not all(facts.covers(picks.path) for picks in found):
            return {}
        told = {**self._asdict(), "contrast": self._contrast(found)}
        both = {key: (value, getattr(facts, key)) for key, value in told.items() if value is not None}
        other = {key: value for key, (value, fact) in both.items() if fact not in (None, value)}
        if facts.voxel_size is not None and not facts.overrule and self._overrules(found):
            other["voxel_size"] = self.voxel_size
        return other

    def _contrast(self, found: Sequence[Picks]) -> object:
        asked = self.contrast if self.contrast != "auto" else None
        return asked or single(picks.verdict.contrast if picks.verdict.decided else None for picks in found)

    def _overrules(self, found: Sequence[Picks]) -> bool:
        return against_headers([picks.path for picks in found], self.voxel_size)


NOTHING = Told()


def _image(file: Path) -> Path:
    """Return a tomogram, of a level of an OME-Zarr image the image."""
    return file.parent if file.parent.name.lower().endswith(ZARR) else file
