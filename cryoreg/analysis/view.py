"""Subtomograms as figures: central slices and isosurfaces, as in Figures 4 to 7 of Gupta et al. 2022."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from cryoreg.analysis import slices
from cryoreg.analysis.examples import name_of
from cryoreg.analysis.isosurface import Surface, isosurface, low_pass, without_dust, z_score
from cryoreg.config import Project
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io.mrc import is_stack, read_header, read_volume
from cryoreg.datasets.stated import check_sizes, words
from cryoreg.datasets.tomograms.files import header_sizes, open_tomogram
from cryoreg.datasets.tomograms.kinds import kind_of
from cryoreg.errors import ConfigError
from cryoreg.files import write_atomically, write_text
from cryoreg.outputs import check_files
from cryoreg.scale_bars import bar_of, scale_bar
from cryoreg.specs import Stated

Array = NDArray[np.float32]

FORMATS = ("png", "pdf", "svg")
VIEWS = {"oblique": (25, -60), "z": (90, -90), "y": (0, -90), "x": (0, 0)}
"""Name -> where a surface is seen from, as (elevation, azimuth) in degrees; z, y and x look as the slices do."""
_COLOUR = "#9cc0ea"
_AMBIENT = 0.25
"""Brightness of what is turned away from the light."""
_GREY = (0.5, 99.8)
"""Percentiles of a volume that are drawn black and white."""
_PANEL = 1.9
_LABEL = 1.3
_HEADING = 0.3
"""Inches."""
_SAME_SCALE = 1.5
"""Zoom at which matplotlib draws a cubic box, seen along an axis, as large as its slices."""
_OBLIQUE = 1.3
"""An oblique box needs a panel so many times as wide as its edge."""
_OF_VOLUMES = ("voxel_size", "contrast")
"""What may be said of one volume."""
_PAGE_COLUMNS = 4
_PAGE_ROW = 420
"""Pixels."""


class Subject(NamedTuple):
    """A volume to look at."""

    name: str
    volume: Array
    """(D, H, W); density is bright."""
    voxel_size: float | None
    """Å."""


class Look(NamedTuple):
    """How surfaces are made."""

    level: float = 2.0
    """Standard deviations of the filtered volume above its mean."""
    low_pass: float | None = None
    """Å, or voxels where their size is unknown: where the filter passes half; None: 4 voxels; 0: no filter."""
    dust: int = 10
    """Connected regions of fewer voxels are left out."""
    views: tuple[str, ...] = ("oblique",)
    """Where surfaces are seen from: keys of `VIEWS`."""


def run_view(
    shown: Sequence[Subject],
    look: Look,
    output: Path | None,
    page: Path | None,
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Write the figure of some volumes as ``output`` (PNG, PDF or SVG by its name) and as ``page`` (HTML).

    Raises `OutputError` where a file exists, unless ``overwrite`` is set and it is none of ``inputs``; `ConfigError`
    where a volume has no surface at the level.
    """
    check_files([path for path in (output, page) if path is not None], overwrite, inputs)
    if output is not None:
        kind = output.suffix[1:].lower()
        if kind not in FORMATS:
            raise ConfigError(f"{output}: a figure is {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, by the file's name")
        figure = draw(shown, look)
        write_atomically(output, lambda file: figure.savefig(file, format=kind))
    if page is not None:
        write_text(page, to_html(shown, look))


def is_single_volume(path: Path) -> bool:
    """Tell whether a path is one file of one volume, by its content: TIFF, or MRC that is no stack."""
    kind = kind_of(path) if path.is_file() else None
    return kind == "TIFF" or (kind == "MRC" and not is_stack(path))


def single(path: Path, facts: Mapping[str, Any] = {}) -> Subject:
    """Read one MRC or TIFF volume; ``facts`` may say its voxel size and contrast. Raises `DataError` as it must."""
    if kind_of(path) == "TIFF":
        opened = open_tomogram(path)
        volume, size = opened[:], opened.voxel_size
    else:
        sizes = read_header(path).voxel_sizes
        volume, size = read_volume(path), sizes[0] if sizes else None
    sign = -1 if facts.get("contrast") == "dark" else 1
    return Subject(path.name, sign * volume, facts.get("voxel_size", size))


def facts_of_single(path: Path, told: Mapping[str, object], project: Project | None) -> tuple[dict[str, object], str]:
    """Return what the user (``told``) and a project say of one volume, and the words of the latter.

    Raises `ConfigError` for what is said of lists and folders, `DataError` where the header contradicts the project.
    """
    for key in told:
        if key not in _OF_VOLUMES:
            raise ConfigError(f"{path}: is a single volume, of which dataset.{key} says nothing; leave it out")
    facts = project.facts_of(path) if project else None
    found = {key: getattr(facts, key, None) for key in _OF_VOLUMES if key not in told}
    found = {key: value for key, value in found.items() if value is not None}
    if project is None or facts is None or not found:
        return {**told}, ""
    stated = Stated(project.shown, str(facts.path), tuple(found), facts.overrule)
    check_sizes(lambda: header_sizes([path]), found.get("voxel_size"), stated)
    return {**found, **told}, f"{words(found)} from {stated.file}"


def subjects(dataset: Subtomograms, indices: Sequence[int]) -> list[Subject]:
    """Read subtomograms; where the data set says that density is dark, they are inverted."""
    sign = -1 if dataset.contrast == "dark" else 1
    return [
        Subject(name_of(dataset, index), sign * dataset[index].volume[0].numpy(), dataset.voxel_size)
        for index in indices
    ]


def surface(subject: Subject, look: Look) -> Surface:
    """Return the surface of a volume; raise `ConfigError` where it has none at that level."""
    resolution = 4.0 if look.low_pass is None else look.low_pass / (subject.voxel_size or 1)
    smooth = z_score(low_pass(subject.volume, resolution))
    if smooth.max() <= look.level:
        raise ConfigError(
            f"{subject.name}: no voxel reaches {look.level:g} σ after the filter, but {smooth.max():.2g} σ; "
            "say --level or --low-pass"
        )
    return isosurface(without_dust(smooth, look.level, look.dust), look.level, subject.voxel_size)


def draw(shown: Sequence[Subject], look: Look) -> Figure:
    """Draw for each volume a row of its central slices across z, y and x, and its surface from each of the views."""
    columns, span = 3 + len(look.views), span_of(shown)
    height, label = _PANEL * len(shown) + _HEADING, max(_LABEL, slices.room_for(subject.name for subject in shown))
    figure = Figure(figsize=(label + _PANEL * columns, height), dpi=200)
    left, top = label / figure.get_figwidth(), 1 - _HEADING / height
    grid = figure.add_gridspec(
        len(shown), columns, left=left, right=0.995, bottom=0.01, top=top, wspace=0.04, hspace=0.04
    )
    for row, subject in enumerate(shown):
        grey = Normalize(*np.percentile(subject.volume, _GREY))
        for column, plane in enumerate(slices.central_slices(subject.volume)):
            panel = figure.add_subplot(grid[row, column])
            slices.show(panel, plane.image, norm=grey)
            scale_bar(panel, plane.image.shape[1], subject.voxel_size)
            if row == 0:
                panel.set_title(f"across {plane.normal}: {plane.right} right, {plane.up} up", fontsize=8, pad=3)
            if column == 0:
                slices.name_row(panel, subject.name)
        mesh = surface(subject, look)
        for column, view in enumerate(look.views, start=3):
            scene: Axes3D = figure.add_subplot(grid[row, column], projection="3d")
            _draw_surface(scene, mesh, subject, view, span)
            if row == 0:
                scene.set_title(f"{look.level:g} σ, {'' if view == 'oblique' else 'along '}{view}", fontsize=8, pad=3)
    return figure


def span_of(shown: Sequence[Subject]) -> float:
    """Return the longest edge of the boxes, in Å, or in voxels where their size is unknown: the scale of all."""
    return max(max(subject.volume.shape) * (subject.voxel_size or 1.0) for subject in shown)


def _draw_surface(scene: Axes3D, mesh: Surface, subject: Subject, view: str, span: float) -> None:
    """Draw a surface into a panel that is ``span`` wide, or half as much again where the view is oblique."""
    colours = np.outer(_brightness(mesh, view), to_rgb(_COLOUR))
    scene.add_collection3d(Poly3DCollection(mesh.vertices[mesh.faces], facecolors=colours, antialiased=False))
    voxel = subject.voxel_size or 1.0
    extent = [edge * voxel for edge in subject.volume.shape[::-1]]
    limits = {f"{axis}lim": (-voxel / 2, length - voxel / 2) for axis, length in zip("xyz", extent, strict=True)}
    scene.set(**limits)
    wide = span * (_OBLIQUE if view == "oblique" else 1)
    scene.set_box_aspect(extent, zoom=_SAME_SCALE * math.hypot(*extent) / math.sqrt(3) / wide)
    scene.set_proj_type("ortho")
    scene.view_init(*VIEWS[view])
    scene.set_axis_off()
    _surface_bar(scene, wide / voxel, subject.voxel_size)


def _surface_bar(scene: Axes3D, voxels: float, voxel_size: float | None) -> None:
    """Draw a scale bar into a panel of a surface that is ``voxels`` wide."""
    length, text = bar_of(voxels, voxel_size)
    right, share = 0.97, length / voxels
    scene.add_line(Line2D([right - share, right], [0.04] * 2, transform=scene.transAxes, color="black", linewidth=2))
    told = scene.text2D(right - share / 2, 0.06, text, transform=scene.transAxes, fontsize=7, ha="center")
    told.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _brightness(mesh: Surface, view: str) -> NDArray[np.float64]:
    """Return that of each triangle, in a light from above the viewer's left shoulder."""
    elevation, azimuth = np.radians(VIEWS[view])
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    light = towards + 0.6 * np.cross(towards, right) - 0.5 * right
    lit = (mesh.normals @ (light / np.linalg.norm(light))).clip(0)
    return _AMBIENT + (1 - _AMBIENT) * lit


def to_html(shown: Sequence[Subject], look: Look) -> str:
    """Return a page that needs no network: the surface of each volume, to be turned with the mouse."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    columns = min(len(shown), _PAGE_COLUMNS)
    rows = -(-len(shown) // columns)
    titles = [subject.name.replace("\n", "<br>") for subject in shown]
    page = make_subplots(rows, columns, specs=[[{"type": "scene"}] * columns] * rows, subplot_titles=titles)
    for number, subject in enumerate(shown):
        x, y, z = (mesh := surface(subject, look)).vertices.T
        i, j, k = mesh.faces.T
        triangles = go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, color=_COLOUR, flatshading=False, hoverinfo="skip")
        page.add_trace(triangles, number // columns + 1, number % columns + 1)
    page.update_scenes(_axes(shown), aspectmode="cube", camera_projection_type="orthographic")
    page.update_layout(height=_PAGE_ROW * rows, margin={"l": 0, "r": 0, "b": 0, "t": 60})
    return page.to_html(include_plotlyjs=True)


def _axes(shown: Sequence[Subject]) -> dict[str, dict[str, object]]:
    """Return axes of one scale for all scenes: as long as the longest edge of any box, with its unit."""
    unit = "Å" if all(subject.voxel_size for subject in shown) else "voxels"
    half = max(subject.voxel_size or 1.0 for subject in shown) / 2
    limits = [-half, span_of(shown) - half]
    return {f"{axis}axis": {"title": f"{axis} ({unit})", "range": limits} for axis in "xyz"}
