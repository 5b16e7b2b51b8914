"""Turns layers of 2D networks into 3D ones: a volume that is constant along z is treated as its slices were in 2D.

Weights are repeated along z and divided by the kernel's depth (I3D, Carreira & Zisserman 2017, arXiv 1705.07750). In
plane a layer pads as it did; along z it repeats the border slices, where zeros would make a constant volume vary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch
from typing import TypedDict, cast

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, EffectiveSEModule, LayerNorm2d, LayerScale2d, SEModule
from timm.layers.adaptive_avgmax_pool import FastAdaptiveAvgPool
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.grn import GlobalResponseNorm
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from cryoreg.contracts import Box


@singledispatch
def inflate(layer: nn.Module) -> nn.Module:
    """Return the 3D counterpart of a 2D layer; of a container or a layer without shape, itself with its parts inflated.

    A layer's own 2D operations are not found here: compare the outcome with the 2D network.
    """
    for name, part in layer.named_children():
        setattr(layer, name, inflate(part))
    return layer


@inflate.register
def _(layer: nn.Conv2d) -> nn.Module:
    depth, height, width = _triple(cast(_Edges, layer.padding), layer.kernel_size)
    convolution = _convolution(layer, (0, height, width))
    return nn.Sequential(PadDepth(depth), convolution) if depth else convolution


@inflate.register
def _(layer: Conv2dSame) -> nn.Module:
    convolution = _convolution(layer, (0, 0, 0))
    return nn.Sequential(PadSame(convolution), convolution)


@inflate.register
def _(layer: nn.BatchNorm2d) -> nn.Module:
    return _as(nn.BatchNorm3d, layer)  # they differ in the check of the input's shape alone


@inflate.register
def _(layer: BatchNormAct2d) -> nn.Module:
    drop, activation = layer.drop, layer.act
    del layer.drop, layer.act
    return nn.Sequential(_as(nn.BatchNorm3d, layer), drop, activation)


@inflate.register
def _(layer: LayerNorm2d) -> nn.Module:
    return _as(ChannelLayerNorm, layer)


@inflate.register
def _(layer: GlobalResponseNorm) -> nn.Module:
    layer.spatial_dim, layer.wb_shape = (2, 3, 4), (1, -1, 1, 1, 1)
    return layer


@inflate.register
def _(layer: LayerScale2d) -> nn.Module:
    return ChannelScale(layer.gamma)


@inflate.register
def _(layer: nn.MaxPool2d) -> nn.Module:
    return nn.MaxPool3d(padding=_triple(layer.padding), dilation=_triple(layer.dilation), **_pool(layer))


@inflate.register
def _(layer: nn.AvgPool2d) -> nn.Module:
    depth, height, width = padding = _triple(layer.padding)
    if not layer.count_include_pad:
        return nn.AvgPool3d(padding=padding, count_include_pad=False, **_pool(layer))
    # A pool that pads by itself refuses volumes smaller than its kernel, which torch's 2D pool takes.
    zeros = nn.ZeroPad3d((width, width, height, height, 0, 0))
    return nn.Sequential(PadDepth(depth), zeros, nn.AvgPool3d(**_pool(layer)))


@inflate.register
def _(layer: nn.AdaptiveAvgPool2d) -> nn.Module:
    return nn.AdaptiveAvgPool3d(layer.output_size)


@inflate.register
def _(layer: FastAdaptiveAvgPool) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(1) if layer.flatten else nn.Identity())


@inflate.register
def _(layer: SEModule) -> nn.Module:
    return ChannelGate(layer.fc1, layer.bn, layer.act, layer.fc2, layer.gate)


@inflate.register
def _(layer: EffectiveSEModule) -> nn.Module:
    return ChannelGate(layer.fc, layer.gate)


@inflate.register
def _(layer: SqueezeExcite) -> nn.Module:
    return ChannelGate(layer.conv_reduce, layer.act1, layer.conv_expand, layer.gate)


@inflate.register
def _(layer: ConvNeXtBlock) -> nn.Module:
    for name, part in layer.named_children():
        setattr(layer, name, inflate(part))
    if layer.gamma is not None:
        layer.drop_path = nn.Sequential(ChannelScale(layer.gamma), layer.drop_path)
        layer.gamma = None
    return layer


class PadDepth(nn.Module):
    """Repeats the border slices along z."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to (B, C, D + 2 · size, H, W)."""
        return _repeat_borders(x, self.size, self.size)


class PadSame(nn.Module):
    """TensorFlow's padding, the larger half behind, for outputs of ⌈size / stride⌉; along z, border slices repeat."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        spans = zip(convolution.kernel_size, convolution.dilation, strict=True)
        self.spans = [(kernel - 1) * dilation + 1 for kernel, dilation in spans]
        self.stride = convolution.stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the padded volume."""
        sizes = zip(x.shape[2:], self.spans, self.stride, strict=True)
        totals = [max((math.ceil(n / stride) - 1) * stride + span - n, 0) for n, span, stride in sizes]
        depth, height, width = ((total // 2, total - total // 2) for total in totals)
        return F.pad(_repeat_borders(x, *depth), (*width, *height))


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a volume."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelScale(nn.Module):
    """One factor for each channel."""

    def __init__(self, gamma: nn.Parameter) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the same shape."""
        return x * self.gamma.view(-1, 1, 1, 1)


class ChannelGate(nn.Module):
    """Squeeze and excitation (Hu et al. 2018, arXiv 1709.01507): a gate for each channel from the channels' means."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Sequential(*(inflate(layer) for layer in layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the same shape."""
        return x * self.gate(x.mean((2, 3, 4), keepdim=True))


def _as(kind: type[nn.Module], layer: nn.Module) -> nn.Module:
    layer.__class__ = kind
    return layer


def _convolution(layer: nn.Conv2d, padding: tuple[int, int, int]) -> nn.Conv3d:
    kernel = _triple(layer.kernel_size)
    convolution = nn.Conv3d(
        layer.in_channels,
        layer.out_channels,
        kernel,
        _triple(layer.stride, layer.kernel_size),
        padding,
        _triple(layer.dilation, layer.kernel_size),
        layer.groups,
        bias=False,
    )
    convolution.weight = nn.Parameter(layer.weight.detach()[:, :, None].repeat(1, 1, kernel[0], 1, 1) / kernel[0])
    convolution.bias = layer.bias
    return convolution


_Edges = int | Sequence[int]
"""What torch takes along y and x: one number, or two."""


class _Pooling(TypedDict):
    """What maximum and average pools of two and three dimensions share."""

    kernel_size: Box
    stride: Box
    ceil_mode: bool


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d) -> _Pooling:
    stride = layer.kernel_size if layer.stride is None else layer.stride
    return _Pooling(kernel_size=_triple(layer.kernel_size), stride=_triple(stride), ceil_mode=layer.ceil_mode)


def _triple(value: _Edges, kernel: _Edges = 0) -> Box:
    """Return ``value``, one number or two, for z, y and x; z takes that of the axis where the kernel is shorter."""
    y, x = value if isinstance(value, tuple | list) else (value, value)
    kernel_y, kernel_x = kernel if isinstance(kernel, tuple) else (y, x)
    return (y if kernel_y <= kernel_x else x), y, x


def _repeat_borders(x: Tensor, before: int, after: int) -> Tensor:
    first, last = x[:, :, :1], x[:, :, -1:]
    return torch.cat((*[first] * before, x, *[last] * after), dim=2)
