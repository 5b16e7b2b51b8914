"""Where a network looks: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) in 3D."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cryoreg.contracts import Encoder, Learner
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import ConfigError
from cryoreg.inference.trained import Trained
from cryoreg.training.device import one_device, to_device

Array = NDArray[np.float32]

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
    volume = prepared(trained, index)
    name = trained.config.choices["encoder"].component.name
    try:
        return explain(trained.module, volume, target)
    except ConfigError as error:
        raise ConfigError(f"encoder '{name}': {error}") from None


def predicted_class(trained: Trained, index: int) -> int | None:
    """Return the class that a classifier says, in float32; None for an encoder."""
    volume = prepared(trained, index)
    if trained.network.learner is None:
        return None
    with torch.no_grad():
        return int(trained.network.learner.answer(volume).logits.argmax())


def prepared(trained: Trained, index: int) -> Tensor:
    """Put the network on its device, to be used, and return a normalised subtomogram (1, 1, D, H, W) there."""
    place = one_device(trained.config.training)
    to_device(trained.module.eval(), place, trained.config.training)
    return normalise(trained.dataset[index].volume[None]).to(place.device)


def explain(module: Encoder | Learner, volume: Tensor, target: int | None = None) -> Array:
    """Return the Grad-CAM of a normalised volume (1, 1, D, H, W), as `grad_cam` does, of an encoder or learner."""
    module.eval()
    network = _Explained(module, volume)
    found, gradient = network.map_and_gradient(volume, target)
    cam = F.relu((gradient.mean((2, 3, 4), keepdim=True) * found).sum(1, keepdim=True))
    whole = _upsampled(cam, volume.shape[2:], network.encoder.map_margin)
    return _relative_to_maximum(whole)[0, 0].float().cpu().numpy()


class _Explained:
    """A network whose feature map is met on the way to its scores.

    Raises `ConfigError` where the map of ``volume`` is a single cell.
    """

    def __init__(self, module: Encoder | Learner, volume: Tensor) -> None:
        self.module = module
        self.encoder = module.encoder if isinstance(module, Learner) else module
        with torch.no_grad():
            self._expected = self.encoder.forward_features(volume)
        if self._expected[0, 0].numel() == 1:
            box = "×".join(map(str, volume.shape[2:]))
            raise ConfigError(f"reduces a box of {box} voxels to a single cell, which has no places to tell; {_COARSE}")

    def map_and_gradient(self, x: Tensor, target: int | None) -> tuple[Tensor, Tensor]:
        """Return the feature map (1, C, d, h, w) of a volume, and the gradient of a score with respect to it.

        ``target`` None: the highest score. Without a classifier there is one score.
        """
        with torch.enable_grad():
            scores, found = self._run(x.clone().requires_grad_())
            if target is None:
                target = int(scores.argmax())
            if not 0 <= target < scores.shape[1]:
                raise ConfigError(f"there is no class {target} to explain, but {scores.shape[1]} (counted from 0)")
            (gradient,) = torch.autograd.grad(scores[0, target], found)
        return found.detach(), gradient

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with _Meet(self._expected) as met:
            scores = self._scores(x)
        if met.found is None:
            raise ConfigError("its features are not computed from the map that forward_features returns")
        return scores, met.found

    def _scores(self, x: Tensor) -> Tensor:
        if isinstance(self.module, Learner):
            return self.module.classify(x).logits
        features = self.module(x)
        return (features * F.normalize(features.detach())).sum(1, keepdim=True)


class _Meet(TorchFunctionMode):
    """Keeps the first result of any operation that equals ``expected``.

    Encoders need not call ``forward_features`` themselves to be explained, and no layer's name need be known.
    """

    def __init__(self, expected: Tensor) -> None:
        super().__init__()
        self.expected = expected
        self.found: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.found is not None or not (isinstance(result, Tensor) and _same(result, self.expected)):
            return result
        self.found = result
        return result.clone()  # what comes next may write into it


def _same(result: Tensor, expected: Tensor) -> bool:
    return result.shape == expected.shape and torch.equal(result.detach(), expected)


def _upsampled(cam: Tensor, size: Iterable[int], margin: int = 0) -> Tensor:
    """Interpolate a map (1, 1, d, h, w) linearly, cells and voxels being divisions of the same box.

    ``margin`` voxels at each face of the box lie outside the map, and become 0.
    """
    inner = [edge - 2 * margin for edge in size]
    return F.pad(F.interpolate(cam, inner, mode="trilinear", align_corners=False), [margin] * 6)


def _relative_to_maximum(cam: Tensor) -> Tensor:
    """Divide by the maximum, so that 0 keeps its meaning."""
    return cam / cam.max().clamp_min(torch.finfo(cam.dtype).tiny)
