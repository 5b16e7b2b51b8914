"""Where a network looks: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) in 3D, by MONAI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from monai.visualize import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cryoreg.analysis import slices
from cryoreg.contracts import Encoder, Learner
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError
from cryoreg.inference.trained import Trained
from cryoreg.training.device import make_fabric, to_device

Array = NDArray[np.float32]

_MAP = "feature_map"
_HEAT = "turbo"
_OPACITY = 0.45
_PANEL = 1.0
_LABEL = 1.3
_BAR = 0.8
_HEADING = 0.2
"""Inches."""
_COARSE = "take an encoder with a finer map, such as rb3d, or a larger box"


def grad_cam(trained: Trained, index: int, target: int | None = None) -> Array:
    """Return where ``trained`` finds in a subtomogram what speaks for ``target``: (D, H, W), from 0 to 1.

    For a classifier, ``target`` is a class; None: the predicted one. An encoder has no classes and takes no target: the
    score is then the projection of the features on their own direction, so that any two encoders can be compared, a
    random one among them (after Chen et al. 2020, arXiv 2001.06538, who explain embeddings). The last feature map,
    weighted by its channels' mean gradients and rectified, is interpolated linearly to the subtomogram's voxels and
    divided by its maximum; all are 0 where nothing speaks for the target. Computed in float32.

    Raises `ConfigError` where the feature map is a single cell, or the features do not come from it, or there is no
    such class.
    """
    volume = _prepared(trained, index)
    name = trained.config.choices["encoder"].component.name
    try:
        return explain(trained.module, volume, target)
    except ConfigError as error:
        raise ConfigError(f"encoder '{name}': {error}") from None


def predicted_class(trained: Trained, index: int) -> int | None:
    """Return the class that a classifier says, in float32; None for an encoder."""
    volume = _prepared(trained, index)
    if trained.network.learner is None:
        return None
    with torch.no_grad():
        return int(trained.network.learner.answer(volume).logits.argmax())


def _prepared(trained: Trained, index: int) -> Tensor:
    """Put the network on its device, to be used, and return a normalised subtomogram (1, 1, D, H, W) there."""
    fabric = make_fabric(trained.config.training, alone=True)
    to_device(trained.module.eval(), fabric, trained.config.training)
    return normalise(trained.dataset[index].volume[None]).to(fabric.device)


def explain(module: Encoder | Learner, volume: Tensor, target: int | None = None) -> Array:
    """Return the Grad-CAM of a normalised volume (1, 1, D, H, W), as `grad_cam` does, of an encoder or learner."""
    module.eval()
    network = _Explained(module, volume)
    scores = network.scores_without_gradient(volume)
    if target is None:
        target = int(scores.argmax())
    if not 0 <= target < scores.shape[1]:
        raise ConfigError(f"there is no class {target} to explain, but {scores.shape[1]} (counted from 0)")
    margin = network.encoder.map_margin
    cam = GradCAM(network, _MAP, upsampler=lambda size: _Upsample(size, margin), postprocessing=_relative_to_maximum)
    with torch.enable_grad():
        result = cam(volume.clone().requires_grad_(), class_idx=target)
    module.zero_grad(set_to_none=True)
    return result[0, 0].detach().float().cpu().numpy()


class _Explained(nn.Module):
    """A network whose feature map passes through a module of its own, ``feature_map``, to which hooks can be tied.

    Raises `ConfigError` where the map of ``volume`` is a single cell.
    """

    def __init__(self, module: Encoder | Learner, volume: Tensor) -> None:
        super().__init__()
        self.module, self.feature_map = module, nn.Identity()
        self.encoder = module.encoder if isinstance(module, Learner) else module
        with torch.no_grad():
            self._expected = self.encoder.forward_features(volume)
        if self._expected[0, 0].numel() == 1:
            box = "×".join(map(str, volume.shape[2:]))
            raise ConfigError(f"reduces a box of {box} voxels to a single cell, which has no places to tell; {_COARSE}")

    def forward(self, x: Tensor) -> Tensor:
        """Map the volume (1, 1, D, H, W) to scores (1, classes), or (1, 1) without a classifier."""
        with _Through(self.feature_map, self._expected) as passed:
            scores = self._scores(x)
        if not passed.done:
            raise ConfigError("its features are not computed from the map that forward_features returns")
        return scores

    def scores_without_gradient(self, x: Tensor) -> Tensor:
        """Return the scores, or raise as ``forward`` does."""
        with torch.no_grad():
            return self(x)

    def _scores(self, x: Tensor) -> Tensor:
        if isinstance(self.module, Learner):
            return self.module.classify(x).logits
        features = self.module(x)
        return (features * F.normalize(features.detach())).sum(1, keepdim=True)


class _Through(TorchFunctionMode):
    """Sends the first result of any operation that equals ``expected`` through ``module``.

    Encoders need not call ``forward_features`` themselves to be explained, and no layer's name need be known.
    """

    def __init__(self, module: nn.Module, expected: Tensor) -> None:
        super().__init__()
        self.module, self.expected, self.done = module, expected, False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.done or not (isinstance(result, Tensor) and _same(result, self.expected)):
            return result
        self.done = True
        return self.module(result).clone()  # what comes next may write into it, which a hooked result forbids


def _same(result: Tensor, expected: Tensor) -> bool:
    return result.shape == expected.shape and torch.equal(result.detach(), expected)


class _Upsample:
    """Interpolates a map (1, 1, d, h, w) linearly, cells and voxels being divisions of the same box.

    ``margin`` voxels at each face of the box lie outside the map, and become 0.
    """

    def __init__(self, size: Iterable[int], margin: int = 0) -> None:
        self.size, self.margin = tuple(size), margin

    def __call__(self, cam: Tensor) -> Tensor:
        inner = [edge - 2 * self.margin for edge in self.size]
        return F.pad(F.interpolate(cam, inner, mode="trilinear", align_corners=False), [self.margin] * 6)


def _relative_to_maximum(cam: Tensor) -> Tensor:
    """Divide by the maximum; 0 keeps its meaning, which MONAI's own normaliser takes from it."""
    return cam / cam.max().clamp_min(torch.finfo(cam.dtype).tiny)


def draw_comparison(trained: Trained, indices: Sequence[int], target: int | None = None) -> Figure:
    """Draw subtomograms, and over their central slices where a random and the trained network look.

    As Figure 8 of Gupta et al. 2022. A row for each subtomogram; encoders are explained by their own features, and of a
    classifier there is also what speaks for ``target`` (None: the predicted class). Raises as `grad_cam` does.
    """
    networks = {"random encoder": trained.untrained(), "trained encoder": trained.encoder_alone()}
    if trained.classifies:
        networks["classifier"] = trained
    figure, panels = _layout(len(indices), ["subtomogram", *networks])
    for row, index in zip(panels, indices, strict=True):
        chosen = predicted_class(trained, index) if target is None else target
        maps = [grad_cam(one, index, chosen if one is trained else None) for one in networks.values()]
        _draw_row(row, normalise(trained.dataset[index].volume[None])[0, 0].numpy(), maps, trained.dataset.voxel_size)
        name = _row_name(trained, index, chosen)
        row[0].set_ylabel(name, rotation=0, fontsize=7, ha="right", va="center", labelpad=6, parse_math=False)
    return figure


def _layout(rows: int, titles: Sequence[str]) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure with a colour bar and its panels (rows, 3 · titles), groups of three a little apart."""
    width, height = _LABEL + 3 * _PANEL * len(titles) + _BAR, _PANEL * rows + 2 * _HEADING
    figure = Figure(figsize=(width, height), dpi=150)
    sides = {"left": _LABEL / width, "right": 1 - _BAR / width, "bottom": 0.01, "top": 1 - 2 * _HEADING / height}
    groups = figure.add_gridspec(1, len(titles), wspace=0.04, **sides)
    panels = [groups[0, n].subgridspec(rows, 3, wspace=0.04, hspace=0.04).subplots() for n in range(len(titles))]
    table = np.concatenate([np.asarray(group).reshape(rows, 3) for group in panels], axis=1)
    for number, title in enumerate(titles):
        table[0, 3 * number + 1].annotate(
            title, (0.5, 1), (0, 14), xycoords="axes fraction", textcoords="offset points", ha="center", fontsize=9
        )
    place = figure.add_axes((1 - 0.75 * _BAR / width, sides["bottom"], 0.12 / width, sides["top"] - sides["bottom"]))
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _HEAT), cax=place, ticks=[0, 0.5, 1])
    bar.set_label("Grad-CAM", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure, table


def _draw_row(row: NDArray[np.object_], volume: Array, maps: Sequence[Array], voxel_size: float | None) -> None:
    planes = slices.central_slices(volume)
    for number, panel in enumerate(row):
        plane = planes[number % 3]
        slices.show(panel, plane.image)
        if number >= 3:
            heat = slices.central_slices(maps[number // 3 - 1])[number % 3].image
            slices.show(panel, heat, norm=Normalize(0, 1), cmap=_HEAT, alpha=_OPACITY, interpolation="bilinear")
        if panel.get_subplotspec().is_first_row():
            panel.set_title(f"{plane.right} right, {plane.up} up", fontsize=6, pad=2)
    slices.scale_bar(row[0], volume.shape[2], voxel_size)


def _row_name(trained: Trained, index: int, predicted: int | None) -> str:
    """Return id, class, and what the classifier explains, a line each."""
    label = trained.dataset.labels[index]
    known = None if label is None else trained.dataset.classes[label]
    said = None if predicted is None else f"explained: {trained.card['classes'][predicted]}"
    return "\n".join(line for line in (trained.dataset.ids[index], known, said) if line)
