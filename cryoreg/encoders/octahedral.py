"""RB3D with kernels in all 24 turns of the cube: what it says of a volume is the same however the cube is turned.

Group convolutions of Cohen & Welling 2016 (arXiv 1602.07576), in 3D as by Worrall & Brostow 2018 (arXiv 1804.04458).
A field is 24 channels, one for each rotation g, and a map of fields is turned by a rotation h where its places are
turned, and channel g becomes what channel h⁻¹g was. Channels (B, fields · 24, D, H, W) are ordered by field, then by
rotation, as `cryoreg.turns.cube_rotations` has them.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg.encoders.spectrum import with_spectrum
from cryoreg.turns import cube_rotations

ORDER = 24
"""Rotations of the cube."""
_STEM_CHUNK = 2
"""Volumes that go through the stem at a time on a CPU, so that its largest tensor stays in the cache."""


class OctahedralRB3D(Encoder):
    """RB3D whose ``width`` filters are ``width`` / 24 kernels in 24 turns, and features that no turn changes.

    Conv 3³ to ``width`` channels, max-pool 2; ``blocks`` of RB3D's bottlenecks; average pool to 2³; batch normalisation
    and ReLU throughout, with statistics that the 24 turns share. The 8 · ``width`` numbers that RB3D would end with are
    read from each of the 24 orientations, octants and channels turned back, by one fully connected layer with
    ``features`` outputs, of which the mean or maximum over the orientations is left.
    """

    views: Tensor

    def __init__(
        self, *, width: int, features: int, blocks: int, orientations: Literal["mean", "max"], fourier_channel: bool
    ) -> None:
        super().__init__()
        fields = width // ORDER
        self.num_features, self.orientations, self.fourier_channel = features, orientations, fourier_channel
        self.lifting = GroupConv(1 + fourier_channel, fields, kernel=3, lifts=True)
        self.norm = FieldNorm(fields)
        self.blocks = nn.Sequential(*(GroupBottleneck(fields) for _ in range(blocks)))
        self.avgpool = nn.AdaptiveAvgPool3d(2)
        self.register_buffer("views", octant_views(), persistent=False)
        self.head = nn.Linear(8 * width, features, bias=False)
        self.head_norm = nn.BatchNorm1d(features)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, width, ⌈D / 2⌉, ⌈H / 2⌉, ⌈W / 2⌉)."""
        if self.fourier_channel:
            x = with_spectrum(x)
        chunked = x.device.type == "cpu" and not torch.compiler.is_exporting()
        parts = x.split(_STEM_CHUNK) if chunked else [x]
        return self.blocks(F.relu(self.norm(torch.cat([halve(self.lifting(part)) for part in parts]))))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, num_features)."""
        seen = self.orientation_views(self.avgpool(self.forward_features(x)))
        said = F.relu(self.head_norm(self.head(seen).flatten(0, 1))).unflatten(0, (-1, ORDER))
        return said.mean(1) if self.orientations == "mean" else said.amax(1)

    def orientation_views(self, pooled: Tensor) -> Tensor:
        """Map octants (B, width, 2, 2, 2) to what each orientation sees of them (B, 24, 8 · width)."""
        numbers = pooled.flatten(2).unflatten(1, (-1, ORDER)).flatten(2)
        seen = numbers.index_select(2, self.views.flatten()).unflatten(2, self.views.shape)
        return seen.transpose(1, 2).flatten(2)


class GroupBottleneck(nn.Module):
    """RB3D's bottleneck of group convolutions: 1³, 3³ and 1³ on the left, 3³ on the right, each half of the fields."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        half = fields // 2
        self.right = GroupConv(fields, half, kernel=3)
        self.left1, self.norm1 = GroupConv(fields, half, kernel=1), FieldNorm(half)
        self.left2, self.norm2 = GroupConv(half, fields, kernel=3), FieldNorm(fields)
        self.left3 = GroupConv(fields, half, kernel=1)
        self.norm = FieldNorm(fields)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, fields · 24, D, H, W) to the same shape."""
        left = F.relu(self.norm1(self.left1(x)))
        left = F.relu(self.norm2(self.left2(left)))
        return F.relu(self.norm(torch.cat((self.left3(left), self.right(x)), dim=1)))


class GroupConv(nn.Module):
    """A convolution (stride 1, same size) from fields, or from plain channels where it ``lifts``, to fields.

    One kernel for each pair, over places and relative rotations g⁻¹g′, is laid out for all 24 g as a plain convolution.
    Starts Kaiming-normal (fan-out).
    """

    table: Tensor

    def __init__(self, inputs: int, outputs: int, *, kernel: Literal[1, 3], lifts: bool = False) -> None:
        super().__init__()
        table = kernel_table(kernel, lifts)
        self.shape = (outputs * ORDER, inputs * table.shape[1], kernel, kernel, kernel)
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.empty(outputs, inputs, table[0].numel()))
        self.register_buffer("table", table.flatten(), persistent=False)
        nn.init.normal_(self.weight, std=(2 / (outputs * ORDER * kernel**3)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, inputs · 24, D, H, W), without the 24 where it lifts, to (B, outputs · 24, D, H, W)."""
        turned = self.weight.index_select(2, self.table).unflatten(2, (ORDER, -1))
        return F.conv3d(x, turned.transpose(1, 2).reshape(self.shape), padding=self.padding)


class FieldNorm(nn.Module):
    """Batch normalisation of fields, over batch, places and rotations."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(fields)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, fields · 24, D, H, W) to the same shape."""
        places = x.movedim(1, -1)
        return self.norm(places.reshape(-1, self.norm.num_features, ORDER)).reshape(places.shape).movedim(-1, 1)


def halve(x: Tensor) -> Tensor:
    """Max-pool (B, C, D, H, W) by 2, mirror-symmetrically: with a kernel of 2 along even edges and 3 along odd ones."""
    odd = [edge % 2 for edge in x.shape[2:]]
    # A maximum is exact in any precision, but autocast on a CPU would copy its largest tensor to float32.
    with torch.autocast(x.device.type, enabled=False):
        return F.max_pool3d(x, [2 + each for each in odd], stride=2, padding=odd)


@cache
def relative_rotations() -> Tensor:
    """Return (24, 24): which rotation g⁻¹g′ is."""
    matrices = torch.tensor([rotation.matrix() for rotation in cube_rotations()])
    products = torch.einsum("gji,hjk->ghik", matrices, matrices)
    return (products[:, :, None] == matrices).all(-1).all(-1).long().argmax(-1)


@cache
def inverses() -> Tensor:
    """Return (24,): which rotation g⁻¹ is."""
    return relative_rotations()[:, 0]


def turned_places(edge: int) -> Tensor:
    """Return (24, edge³): which place of a cube g⁻¹ takes each place to."""
    places = torch.arange(edge**3).reshape(3 * (edge,))
    return torch.stack([rotation(places).flatten() for rotation in cube_rotations()])


def kernel_table(edge: int, lifts: bool) -> Tensor:
    """Return (24, 24, edge³): for g, g′ and a place, the entry (g⁻¹g′, g⁻¹ place) of a kernel.

    To lift, (24, 1, edge³): the kernel has places only.
    """
    places = turned_places(edge)[:, None]
    return places if lifts else relative_rotations()[:, :, None] * edge**3 + places


def octant_views() -> Tensor:
    """Return (24, 24 · 8): for g, g′ and an octant where the entry (gg′, g octant) lies among a field's numbers."""
    channels = relative_rotations()[inverses()][:, :, None]
    return (channels * 8 + turned_places(2)[inverses()][:, None]).flatten(1)
