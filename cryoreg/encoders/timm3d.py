"""Convolutional networks of timm, inflated to 3D."""

from __future__ import annotations

import contextlib
import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cryoreg.contracts import Box, Encoder
from cryoreg.encoders.inflation import inflate
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.registry import suggestion

_IMAGE_SIZES = ((32, 64), (64, 96), (128, 160))
"""Images on which the 3D network is compared with the 2D one: the first that the latter takes."""
_ADVICE = "choose a convolutional model, for example resnet18 or convnext_atto"


class Timm3D(Encoder):
    """A 2D network of timm for one channel, without classifier, each layer replaced by its 3D counterpart.

    A volume that is constant along z gives the 2D network's features, for any depth (`cryoreg.encoders.inflation`).
    ``weights`` is a local file with 2D weights, whose colour channels are summed. Without, weights are timm's initial
    ones plus noise that vanishes in the sum along z, which gives each kernel independent slices.

    Tried with success: resnet18, 26d, 26t, 50; resnext50_32x4d, seresnet50, resnetv2_50, res2net50_14w_8s, regnetx_002,
    regnety_002, densenet121, convnext_atto, convnext_tiny, convnextv2_atto, mobilenetv2_100, mobilenetv3_small_100 and
    large, mobilenetv4_conv_small, mnasnet_100, ghostnet_100, efficientnet_b0 and lite0, tf_efficientnet_b0,
    efficientnetv2_rw_t, xception41, cspdarknet53, dla34, hrnet_w18_small, ese_vovnet19b_dw, repvgg_a0, mobileone_s0.
    Refused: transformers, VGG, Inception, and networks with scaled (nf), blurring, selective or ECA layers.

    Raises `ConfigError` where timm has no such model, or a layer of it has no counterpart: the network is compared
    with the 2D one, layer by layer. Raises `CheckpointError` where ``weights`` is not a file of that model's weights.
    """

    def __init__(self, *, model: str, weights: Path | None, stem_stride: int) -> None:
        super().__init__()
        flat = create_flat(model, weights, stem_stride).eval()
        if weights is None:
            _open_branches(flat)
        self.net: Any = inflate(copy.deepcopy(flat))
        if weights is None:
            vary_along_z(self.net)
        self.num_features: int = _compare(flat, self.net.eval(), model)
        self.train()

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to the model's last map (B, C, d, h, w); most models divide edges by 32."""
        return self.net.forward_features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, num_features)."""
        return self.net(x)


def create_flat(model: str, weights: Path | None, stem_stride: int) -> nn.Module:
    """Return timm's 2D network for one channel, without classifier; raise as `Timm3D` does."""
    if not timm.is_model(model):
        raise ConfigError(f"timm has no model '{model}'{suggestion(model, timm.list_models())}")
    # With it, ConvNeXt computes the same, but without linear layers for which it permutes axes.
    options = {"conv_mlp": True} if model.startswith("convnext") else {}
    flat = timm.create_model(model, in_chans=1, num_classes=0, **options)
    if weights is not None:
        _load_flat(flat, model, weights)
    if stem_stride:
        _stem(flat)[1].stride = (stem_stride, stem_stride)
    return flat


def takes(model: str, stem_stride: int, box: Box) -> bool:
    """Tell whether a volume of ``box`` = (D, H, W) voxels passes through the network, of which only shapes are made."""
    with torch.device("meta"):
        net = inflate(create_flat(model, None, stem_stride)).eval()
        try:
            return net(torch.empty(1, 1, *box)).ndim == 2
        except RuntimeError:
            return False


def vary_along_z(net: nn.Module) -> None:
    """Add noise without sum along z to inflated random kernels.

    Repeated slices would let the network see means along z only, at a spread below the initial one. With w₂ the 2D
    weights, of spread σ, and d the depth, the slices become those of independent weights of spread σ/√d, given that
    their sum is w₂.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
            weight = layer.weight.data
            noise = torch.randn_like(weight) * weight.std() * layer.kernel_size[0] ** 0.5
            weight += noise - noise.mean(2, keepdim=True)


def _load_flat(flat: nn.Module, model: str, weights: Path) -> None:
    """Load 2D weights strictly, with the stem's channels summed to one and without the classifier."""
    if not weights.is_file():
        raise CheckpointError(f"there is no file {weights} with weights of timm's {model}")
    wanted = flat.state_dict()
    stem = _stem(flat)[0] + ".weight"
    try:
        state = timm.models.load_state_dict(str(weights), weights_only=True)
        state = {name: value for name, value in state.items() if not name.startswith(_classifiers(flat))}
        state[stem] = timm.models.adapt_input_conv(1, state[stem])
        for name, value in state.items():
            if value.ndim == 2 and wanted[name].ndim == 4:
                state[name] = value[:, :, None, None]  # a linear layer, where conv_mlp has a convolution
        flat.load_state_dict(state)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{weights} does not hold the 2D weights of timm's {model}: {reason}") from error


def _classifiers(flat: Any) -> tuple[str, ...]:
    names = flat.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _stem(flat: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the name of the first convolution, and the layer."""
    return next((name, layer) for name, layer in flat.named_modules() if isinstance(layer, nn.Conv2d))


def _open_branches(flat: nn.Module) -> None:
    """Start at one the scales that timm starts at zero, behind which a residual branch has no gradient at first."""
    for layer in flat.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.any():
            nn.init.ones_(layer.weight)


def _compare(flat: nn.Module, net: nn.Module, model: str) -> int:
    """Return the number of features; raise `ConfigError` where the networks differ on a volume constant along z."""
    image, outputs = _run(flat, model)
    volume = image[:, :, None].expand(-1, -1, image.shape[2], -1, -1)
    entered: list[str] = []

    def leave(name: str, output: object) -> None:
        if outputs.get(name) and not (isinstance(output, Tensor) and _equal(output, outputs[name].pop(0))):
            raise ValueError("differs")
        entered.pop()

    try:
        with torch.no_grad(), _hooks(net, leave, entered.append):
            return net(volume).shape[1]
    except Exception as error:
        name = next(name for name in _parents(entered[-1]) if name in outputs or not name)
        layer = type(flat.get_submodule(name)).__name__
        raise ConfigError(
            f"timm3d cannot inflate {model}: layer '{name}' ({layer}) has no 3D counterpart; {_ADVICE}"
        ) from error


def _run(flat: nn.Module, model: str) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """Return the first image that the 2D network takes, and what each layer gives, call by call."""
    for size in _IMAGE_SIZES:
        image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
        outputs: dict[str, list[Tensor]] = defaultdict(list)

        def leave(name: str, output: object, outputs: dict[str, list[Tensor]] = outputs) -> None:
            if isinstance(output, Tensor):
                outputs[name].append(output.clone())  # the next layer may write into it

        with contextlib.suppress(Exception), torch.no_grad(), _hooks(flat, leave):
            flat(image)
            return image, outputs
    sizes = " or ".join(f"{height}×{width}" for height, width in _IMAGE_SIZES)
    raise ConfigError(f"timm3d cannot inflate {model}: it takes no image of {sizes} pixels; {_ADVICE}")


@contextlib.contextmanager
def _hooks(
    net: nn.Module, leave: Callable[[str, object], object], enter: Callable[[str], object] = len
) -> Iterator[None]:
    """Call ``enter`` and ``leave`` around each layer, the latter with its output."""

    handles = []
    for name, layer in net.named_modules():

        def before(_: nn.Module, __: object, name: str = name) -> None:
            enter(name)

        def after(_: nn.Module, __: object, output: object, name: str = name) -> None:
            leave(name, output)

        handles += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _equal(solid: Tensor, flat: Tensor) -> bool:
    """Tell whether each slice along z of ``solid`` is ``flat``, up to rounding."""
    expected = flat[:, :, None] if flat.ndim == 4 else flat
    if solid.ndim != expected.ndim or any(n not in (1, m) for n, m in zip(expected.shape, solid.shape, strict=True)):
        return False
    return bool((solid - expected).abs().max() <= 1e-3 * expected.abs().max())


def _parents(name: str) -> Iterator[str]:
    """Yield ``name``, and the names of the layers around it, outwards."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
