"""Grad-CAM as files: volumes that ChimeraX overlays, a script that does it, and a figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, count, zip_longest
from pathlib import Path
from typing import NamedTuple

from cryoreg.analysis.clustering import cluster
from cryoreg.analysis.clusters import ClusterSettings
from cryoreg.analysis.examples import in_turns
from cryoreg.analysis.gradcam import grad_cam, predicted_class
from cryoreg.analysis.gradcam_figure import compare_networks, draw_comparison
from cryoreg.datasets.io.mrc_writing import write_mrc
from cryoreg.errors import ConfigError
from cryoreg.files import write_atomically, write_text
from cryoreg.inference.embedding import Part, parts_of, samples_of
from cryoreg.inference.trained import Trained
from cryoreg.outputs import check_folder, filling
from cryoreg.registry import suggestion

FIGURE = "gradcam.png"
SCRIPT = "open.cxc"
_SIGMA = 2
"""Standard deviations above its mean at which the script contours a subtomogram."""
_PALETTE = "0,#3b4cc0:0.5,#dddddd:1,#b40426"


class Written(NamedTuple):
    """The files of one subtomogram."""

    volume: Path
    maps: tuple[Path, ...]
    """Grad-CAM of the network, then of a random encoder where that is wanted."""
    level: float
    """The density at which the script contours the volume."""

    def within(self, folder: Path) -> Written:
        """Return the same files in another folder."""
        return self._replace(volume=folder / self.volume.name, maps=tuple(folder / path.name for path in self.maps))


def part_of(trained: Trained, part: Part, number: int) -> list[int]:
    """Return ``number`` subtomograms of a part of the split ("train", "val", "test", or "all"), classes in turn."""
    within = samples_of(trained, part).tolist()
    labels, groups = ([known[index] for index in within] for known in (trained.dataset.labels, trained.dataset.groups))
    return [within[place] for place in in_turns(labels, number, groups)]


def choose(trained: Trained, part: Part | None, number: int) -> tuple[list[int], str]:
    """Return up to ``number`` subtomograms to explain, and how they were chosen, in words, where not by their labels.

    Of a ``part``, by default test, or all of data that the run did not split: classes in turn where there are labels,
    else classes as predicted, and of an encoder the middles of clusters of its features.
    """
    part = part or ("test" if parts_of(trained) is not None else "all")
    within = samples_of(trained, part)
    if any(trained.dataset.labels[index] is not None for index in within):
        return part_of(trained, part, number), ""
    if trained.classifies:
        predicted = trained.logits(within.tolist()).argmax(1).tolist()
        groups = [trained.dataset.groups[index] for index in within]
        return within[
            in_turns(predicted, number, groups)
        ].tolist(), "there are no labels: of each predicted class in turn"
    found = cluster(trained.features(within.tolist()), ClusterSettings())
    turns = [found.nearest(each, number) for each in range(len(found.sizes))]
    nearest = [place for turn in zip_longest(*turns) for place in turn if place is not None]
    how = f"there are no classes to explain, but features: of the middles of {len(turns)} clusters in turn"
    return within[nearest[:number]].tolist(), how


def class_index(trained: Trained, name: str) -> int:
    """Return a class of the classifier by name; raise `ConfigError` where there is none."""
    if not trained.classifies:
        raise ConfigError(f"{trained.path} is an encoder, which has no classes to explain; leave out --class")
    classes = list(trained.card["classes"])
    if name not in classes:
        raise ConfigError(f"there is no class '{name}'{suggestion(name, classes)}; known: {', '.join(classes)}")
    return classes.index(name)


def run_explain(
    trained: Trained,
    indices: Sequence[int],
    output: Path,
    *,
    target: int | None = None,
    random: bool = False,
    overwrite: bool = False,
) -> list[Written]:
    """Write into ``output``, for each subtomogram, its volume and Grad-CAM as MRC, and a figure and ChimeraX script.

    ``target`` is a class, None the predicted one; ``random`` adds the Grad-CAM of an encoder with random weights.
    Raises `OutputError` where the folder holds anything, unless ``overwrite`` is set; else as `grad_cam` does.
    """
    check_folder(output, overwrite, trained.inputs())
    figure = draw_comparison(compare_networks(trained, indices, target))
    stems = file_stems([trained.dataset.ids[index] for index in indices])
    with filling(output) as part:
        written = [
            _write_one(trained, index, part / stem, target, random) for index, stem in zip(indices, stems, strict=True)
        ]
        write_atomically(part / FIGURE, lambda file: figure.savefig(file, format="png"))
        write_text(part / SCRIPT, chimerax_script(written))
    return [files.within(output) for files in written]


def _write_one(trained: Trained, index: int, stem: Path, target: int | None, random: bool) -> Written:
    volume = trained.dataset[index].volume[0].numpy()
    chosen = predicted_class(trained, index) if target is None else target
    name = "features" if chosen is None else file_stems([trained.card["classes"][chosen]])[0]
    maps = {name: grad_cam(trained, index, chosen)}
    if random:
        maps["random"] = grad_cam(trained.untrained(), index)
    files = {stem.with_name(f"{stem.name}_gradcam_{key}.mrc"): value for key, value in maps.items()}
    for path, data in {(whole := stem.with_name(f"{stem.name}.mrc")): volume, **files}.items():
        write_mrc(path, data, trained.dataset.voxel_size)
    return Written(whole, tuple(files), float(volume.mean() + _SIGMA * volume.std()))


def file_stems(names: Sequence[str]) -> list[str]:
    """Return a name for each that every file system takes, all different whatever their case."""
    stems: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.+-]+", "_", name, flags=re.ASCII).strip("._") or "unnamed"
        numbered = chain([plain], (f"{plain}-{number}" for number in count(2)))
        stem = next(stem for stem in numbered if stem.casefold() not in stems)
        stems[stem.casefold()] = stem
    return list(stems.values())


def chimerax_script(written: Sequence[Written]) -> str:
    """Return commands for a ChimeraX without models: surfaces coloured by Grad-CAM, the first of them shown.

    They lie in one place, where their maps are sampled again whenever a level is changed. ChimeraX runs a script in the
    folder that holds it, so that file names suffice.
    """
    lines, model = [], 1
    for files in written:
        lines += [f'open "{path.name}"' for path in (files.volume, *files.maps)]
        lines += [
            f"volume #{model} style surface step 1 level {files.level:.6g}",
            *(f"hide #{model + number} models" for number in range(1, 1 + len(files.maps))),
            f"color sample #{model} map #{model + 1} palette {_PALETTE}",
            *([f"hide #{model} models"] if model > 1 else []),
        ]
        model += 1 + len(files.maps)
    return "\n".join([*lines, "view", ""])
