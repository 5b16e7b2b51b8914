"""One contract for every registered encoder."""

from __future__ import annotations

import pytest
import torch
from encoding import built, default_spec, relative_error, smallest_edge, volumes
from torch import Tensor

from cryoreg import registry
from cryoreg.contracts import Encoder
from cryoreg.errors import DataError
from cryoreg.training.small_convolutions import guard_convolutions

ENCODERS = [component.name for component in registry.components("encoders") if component.builtin]

TOO_SMALL = ["cb3d", "densenet121_3d", "dsrf3d_v2"]

EVERY_ENCODER = pytest.mark.parametrize("name", ENCODERS)


@EVERY_ENCODER
def test_encoder_refuses_boxes_that_it_does_not_claim(name):
    spec = default_spec(name)
    edge, step = smallest_edge(spec), spec.box_step()
    spec.check_box((edge, edge, edge))
    larger = (edge, edge, edge + 3 * step)
    refused = [(edge, edge - 1, edge)]
    if spec.exact_box:
        refused.append(larger)
        limit = f"exactly {edge} voxels"
    else:
        spec.check_box(larger)
        limit = f"at least {edge} voxels" if step == 1 else f"multiples of {step} voxels"
    for box in refused:
        with pytest.raises(DataError, match=f"{limit}.*{'×'.join(map(str, box))}") as error:
            spec.check_box(box)
        assert "\n" not in str(error.value)


@EVERY_ENCODER
def test_encoder_takes_its_smallest_box(name):
    encoder = built(name).eval()
    x = volumes(2, (smallest_edge(default_spec(name)),) * 3)
    features = encoder(x)
    assert features.shape == (2, encoder.num_features)
    assert features.isfinite().all()
    assert min(encoder.forward_features(x).shape) > 0


@pytest.mark.parametrize("name", TOO_SMALL)
def test_no_smaller_box_passes_through_the_network(name):
    with torch.no_grad(), pytest.raises(RuntimeError):
        built(name).eval()(volumes(2, (smallest_edge(default_spec(name)) - 1,) * 3))


@EVERY_ENCODER
def test_encoder_keeps_the_contract(name):
    encoder = built(name).eval()
    x = volumes()
    features = encoder(x)
    assert isinstance(encoder, Encoder)
    assert features.shape == (3, encoder.num_features)
    assert encoder.forward_features(x).shape[0] == 3
    assert encoder.forward_features(x).ndim == 5
    assert features.isfinite().all()
    assert torch.equal(encoder(x), features)
    for row in range(3):
        assert relative_error(encoder(x[row : row + 1])[0], features[row]) < 1e-5


@EVERY_ENCODER
def test_encoder_trains_every_parameter(name):
    encoder = built(name).train()
    encoder(volumes(4)).square().sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def features_and_gradients(encoder: Encoder, x: Tensor, enabled: bool) -> tuple[Tensor, Tensor]:
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled):
        features = encoder(x)
    (features.float() * volumes(1, features.shape[-1:])[0, 0]).sum().backward()
    return features.detach(), torch.cat([p.grad.flatten() for p in encoder.parameters()])


@EVERY_ENCODER
def test_encoder_under_bfloat16_autocast_is_close_to_float32(name):
    """In the smallest box, where torch's own weight gradients are wrong: the engine guards plain convolutions."""
    encoder = built(name).eval().to(memory_format=torch.channels_last_3d)
    guard_convolutions(encoder)
    x = volumes(2, (smallest_edge(default_spec(name)),) * 3)
    features, gradients = features_and_gradients(encoder, x, enabled=True)
    expected_features, expected_gradients = features_and_gradients(encoder, x, enabled=False)
    assert relative_error(features, expected_features) < 0.05
    assert relative_error(gradients, expected_gradients) < 0.3


@EVERY_ENCODER
def test_encoder_state_round_trip(name):
    encoder, other = built(name, seed=0).eval(), built(name, seed=1).eval()
    x = volumes()
    assert not torch.equal(encoder(x), other(x))
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(x), other(x))


@EVERY_ENCODER
def test_encoder_tells_subtomograms_apart(name):
    """Torch's default initialisation leaves features ten times closer together: nothing trains from there."""
    features = built(name).eval()(volumes(8))
    assert (features.std(dim=0).norm() / features.norm(dim=1).mean()).item() > 4e-3
