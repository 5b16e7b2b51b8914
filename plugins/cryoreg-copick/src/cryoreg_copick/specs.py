"""What cryoreg's registry reads. Imports neither torch nor copick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from cryoreg.datasets.specs import FileDatasetSpec
from cryoreg.errors import ConfigError

if TYPE_CHECKING:
    from cryoreg.contracts import Box, SubtomogramDataset


class CopickSpec(FileDatasetSpec):
    """Picks of a copick project, cut on the fly from its tomograms; the picked objects are the classes.

    ``root`` is the project's configuration (JSON), local or remote storage is what it says
    (https://copick.github.io/copick). A particle is at its location plus the translation of its transformation. Boxes
    that reach beyond a tomogram repeat its outermost voxels, and are counted.
    """

    objects: tuple[str, ...] = Field((), description="names of the objects, hence classes [all that are picked]")
    users: tuple[str, ...] = Field((), description="whose picks: user or tool ids [all]")
    sessions: tuple[str, ...] = Field((), description="session ids of the picks [all]")
    runs: tuple[str, ...] = Field((), description="names of the runs [all that have picks]")
    voxel_spacing: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Å per voxel of the tomograms to cut from [the only one]"
    )
    tomogram_type: str | None = Field(None, description="type of the tomograms: wbp, denoised, ... [the only one]")
    box: int = Field(32, ge=2, description="edge of the boxes, voxels (after rescaling)")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        """Take the JSON file that configures a project."""
        if path.suffix.lower() != ".json" or not path.is_file():
            return None
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return "the pickable objects of copick" if isinstance(content, dict) and "pickable_objects" in content else None

    def cut_to(self, voxel_size: float | None, box: Box) -> CopickSpec | None:
        """Return the spec that cuts such boxes; None where they are no cubes."""
        grid: dict[str, object] = {"box": box[0], "rescale_to": voxel_size or self.rescale_to}
        return self.model_copy(update=grid) if len(set(box)) == 1 else None

    def build(self) -> SubtomogramDataset:
        """Open the project; boxes are cut at the voxel size asked for, not rescaled after."""
        from cryoreg.datasets.authoring import Conventional

        return Conventional(self.open(), self.contrast, None, self.tilt_range, self.tilt_axis)

    def open(self) -> SubtomogramDataset:
        """Read the picks and the tomograms' metadata; raise `ConfigError` where copick is not installed."""
        try:
            from cryoreg_copick.dataset import Selection, open_picks
        except ModuleNotFoundError as error:
            if error.name != "copick":
                raise
            raise ConfigError("dataset copick needs the package copick: pip install copick") from None

        selection = Selection(**self.model_dump(include=set(Selection._fields)))
        return open_picks(self.root, selection, self.box, voxel_size=self.voxel_size, rescale_to=self.rescale_to)
