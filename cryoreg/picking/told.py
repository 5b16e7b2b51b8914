"""What is told of tomograms that are picked, by options or a project file, and what a project file can learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryoreg.config import Project
from cryoreg.contracts import TiltAxis
from cryoreg.datasets.particles.carried import single
from cryoreg.datasets.stated import check_sizes, words
from cryoreg.datasets.tomograms.files import header_sizes
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
        asked = self.contrast if self.contrast != "auto" else None
        contrast = asked or single(picks.verdict.contrast if picks.verdict.decided else None for picks in found)
        return {"path": folder, **self._asdict(), "contrast": contrast}


NOTHING = Told()


def _image(file: Path) -> Path:
    """Return a tomogram, of a level of an OME-Zarr image the image."""
    return file.parent if file.parent.name.lower().endswith(ZARR) else file
