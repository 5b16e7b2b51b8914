"""The octahedral RB3D: what no turn changes, that its kernels are turned copies, and what it is made of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.encoding import relative_error, volumes
from torch import Tensor

from cryoreg.encoders.octahedral import FieldNorm, GroupBottleneck, GroupConv, OctahedralRB3D, halve
from cryoreg.encoders.specs import OctahedralRB3DSpec
from cryoreg.turns import Rotation, cube_rotations

SETTINGS = [{}, {"orientations": "max"}, {"fourier_channel": True}]


def built(**settings) -> OctahedralRB3D:
    """A network whose batch normalisation has seen volumes, so that none of its numbers is the initial one."""
    torch.manual_seed(0)
    network = OctahedralRB3DSpec(**{"blocks": 1, "features": 16} | settings).build()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(8, 1, 8, 8, 8))
    return network.eval()


@pytest.mark.parametrize("edge", [7, 8, 9, 10], ids="box {}".format)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_features_are_the_same_in_all_24_turns(settings, edge):
    network, x = built(**settings), volumes(2, (edge, edge, edge))
    with torch.no_grad():
        features = network(x)
        error = max(float((network(rotation(x)) - features).abs().max()) for rotation in cube_rotations())
        mirrored = float((network(x.flip(2)) - features).abs().max())
    assert error < 1e-4 < 1e-2 < mirrored  # a mirror image is another molecule


def test_features_are_the_same_in_all_24_turns_while_it_trains():
    """Batch statistics are shared by the turns."""
    network, x = built().train(), volumes(4, (8, 8, 8))
    with torch.no_grad():
        features = network(x)
        assert max(float((network(rotation(x)) - features).abs().max()) for rotation in cube_rotations()) < 1e-4


def turned_fields(rotation: Rotation, x: Tensor) -> Tensor:
    """Turn fields by the definition: channel g of the turned map is channel h⁻¹g, its places turned by h."""
    rotations = cube_rotations()
    matrices = [torch.tensor(each.matrix()) for each in rotations]
    h = torch.tensor(rotation.matrix())
    order = [next(i for i, m in enumerate(matrices) if torch.equal(m, h.T @ g)) for g in matrices]
    return rotation(x.unflatten(1, (-1, 24))[:, :, order].flatten(1, 2))


@pytest.mark.parametrize("layer", ["convolution", "pool", "norm", "bottleneck"])
def test_each_layer_turns_with_its_input(layer):
    torch.manual_seed(0)
    layers = {"convolution": GroupConv(2, 1, kernel=3), "pool": halve, "norm": FieldNorm(2).train()}
    function = layers | {"bottleneck": GroupBottleneck(2)}
    x = torch.randn(2, 48, 5, 6, 5)
    with torch.no_grad():
        for rotation in cube_rotations()[::5]:
            expected = turned_fields(rotation, function[layer](x))
            assert relative_error(function[layer](turned_fields(rotation, x)), expected) < 1e-5


def test_lifting_convolves_with_one_kernel_in_its_24_turns():
    torch.manual_seed(0)
    lifting, x = GroupConv(1, 1, kernel=3, lifts=True), volumes(2, (6, 6, 6))
    kernel = lifting.weight.reshape(1, 1, 3, 3, 3)
    expected = torch.cat([F.conv3d(x, rotation(kernel), padding=1) for rotation in cube_rotations()], dim=1)
    assert relative_error(lifting(x), expected) < 1e-6


def test_the_rotation_that_turns_a_volume_is_its_matrix():
    point = torch.zeros(1, 1, 5, 5, 5)
    point[0, 0, 0, 1, 2] = 1  # at (-2, -1, 0) from the centre
    for rotation in cube_rotations():
        expected = torch.tensor(rotation.matrix()) @ torch.tensor([-2, -1, 0])
        assert (rotation(point)[0, 0].nonzero()[0] - 2).tolist() == expected.tolist()


def test_number_of_parameters_follows_from_the_layers():
    """Of 2 fields: 27 places to lift; blocks of 1³ and 3³ kernels over 24 relative rotations; 384 numbers to 256."""
    block = 24 * (2 * 1 + 27 * 1 * 2 + 2 * 1 + 27 * 2 * 1) + 2 * (1 + 2 + 2)
    network = OctahedralRB3DSpec().build()
    assert sum(p.numel() for p in network.parameters()) == 27 * 2 + 2 * 2 + 4 * block + 8 * 48 * 256 + 2 * 256
    assert network.forward_features(volumes(1, (8, 9, 10))).shape == (1, 48, 4, 5, 5)
