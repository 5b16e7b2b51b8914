import pytest
import torch
from torch import nn

import cryoreg
from cryoreg.config.settings import TrainingSettings
from cryoreg.training.device import make_fabric, to_device
from cryoreg.training.small_convolutions import GuardedConv3d, guard_convolutions


def gradients(module, x, target, bf16):
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = module(x)
    (y.float() * target).sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


@pytest.mark.parametrize(("kernel", "size"), [(3, 2), (5, 3), (7, 4), (3, 3), (3, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_bf16_gradients_agree_with_float32(kernel, size, layout):
    for seed in range(10):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Conv3d(8, 8, kernel, padding=kernel // 2)).to(memory_format=layout)
        guard_convolutions(module)
        x = torch.randn(4, 8, size, size, size).to(memory_format=layout)
        target = torch.randn(4, 8, size, size, size)
        for exact, found in zip(*(gradients(module, x, target, bf16) for bf16 in (False, True)), strict=True):
            assert (found - exact).norm() < 0.02 * exact.norm()


def test_every_run_on_a_cpu_is_guarded():
    settings = TrainingSettings(epochs=1, optimizer="adam", lr=1.0, schedule="constant", device="cpu")
    encoder = cryoreg.create_encoder("rb3d")
    to_device(encoder, make_fabric(settings), settings)
    assert {type(layer) for layer in encoder.modules() if isinstance(layer, nn.Conv3d)} == {GuardedConv3d}


def test_weights_and_subclasses_stay_what_they_are():
    class Own(nn.Conv3d):
        pass

    module = nn.Sequential(nn.Conv3d(1, 2, 3), Own(2, 2, 3))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    guard_convolutions(module)
    assert [type(layer) for layer in module] == [GuardedConv3d, Own]
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
