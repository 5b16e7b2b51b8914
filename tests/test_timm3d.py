"""Networks of timm in 3D against the same networks in 2D, and inflated layers against sums of 2D ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from support.encoding import relative_error, volumes
from support.synthetic import write_classes
from torch import Tensor, nn

from cryoreg import create_encoder, finetune, pretrain
from cryoreg.encoders.inflation import inflate
from cryoreg.encoders.specs import Timm3DSpec
from cryoreg.errors import CheckpointError, ConfigError, DataError

MODELS = [
    "convnext_atto",
    "convnext_tiny",
    "convnextv2_atto",
    "densenet121",
    "efficientnet_b0",
    "ese_vovnet19b_dw",
    "mobilenetv3_small_100",
    "regnety_002",
    "resnet18",
    "resnet26d",
    "resnet50",
    "tf_efficientnet_b0",
]


def flat_network(model: str, channels: int = 1, classes: int = 0) -> nn.Module:
    """Return timm's own 2D network, with parameters and statistics that all have a part in the output."""
    torch.manual_seed(0)
    flat = timm.create_model(model, in_chans=channels, num_classes=classes).train()
    for name, parameter in flat.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, float(name.endswith("weight")), 0.3)
    for layer in flat.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1
    with torch.no_grad():
        flat(torch.randn(4, channels, 40, 64))
    return flat.eval()


def saved(flat: nn.Module, path: Path) -> Path:
    safetensors.torch.save_file(flat.state_dict(), path)
    return path


def constant_along_z(image: Tensor, depth: int) -> Tensor:
    return image[:, :, None].repeat(1, 1, depth, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_volume_constant_along_z_has_the_features_of_the_2d_network(model, tmp_path):
    flat = flat_network(model)
    encoder = create_encoder("timm3d", model=model, weights=saved(flat, tmp_path / "2d.safetensors")).eval()
    image = torch.randn(2, 1, 40, 64)
    with torch.no_grad():
        volume = constant_along_z(image, 32)
        features, feature_map = encoder(volume), encoder.forward_features(volume)
        expected, expected_map = flat(image), flat.forward_features(image)
    assert features.shape == (2, encoder.num_features)
    assert relative_error(features, expected) < 1e-4
    assert relative_error(feature_map, constant_along_z(expected_map, feature_map.shape[2])) < 1e-4
    assert expected.std(0).norm() > 1e-3 * expected.norm()


@pytest.mark.slow
def test_the_depth_of_a_constant_volume_does_not_matter(tmp_path):
    flat = flat_network("resnet18")
    encoder = create_encoder("timm3d", weights=saved(flat, tmp_path / "2d.safetensors")).eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        for depth in (1, 5, 40):
            assert relative_error(encoder(constant_along_z(image, depth)), flat(image)) < 1e-5


@pytest.mark.slow
def test_weights_of_colour_images_are_summed_over_the_channels_and_the_classifier_is_dropped(tmp_path):
    flat = flat_network("resnet18", channels=3, classes=1000)
    torch.save({"state_dict": {f"module.{k}": v for k, v in flat.state_dict().items()}}, tmp_path / "2d.pth")
    encoder = create_encoder("timm3d", weights=tmp_path / "2d.pth").eval()
    image = torch.randn(2, 1, 32, 40)
    with torch.no_grad():
        grey = flat.forward_head(flat.forward_features(image.repeat(1, 3, 1, 1)), pre_logits=True)
        assert relative_error(encoder(constant_along_z(image, 8)), grey) < 1e-5


@pytest.mark.slow
def test_random_weights_sum_to_timms_along_z_and_have_the_spread_of_independent_ones():
    torch.manual_seed(0)
    flat = timm.create_model("resnet18", in_chans=1, num_classes=0)
    torch.manual_seed(0)
    solid = create_encoder("timm3d")
    kernels = [layer.weight.detach() for layer in solid.modules() if isinstance(layer, nn.Conv3d)]
    flat_kernels = [layer.weight.detach() for layer in flat.modules() if isinstance(layer, nn.Conv2d)]
    for kernel, expected in zip(kernels, flat_kernels, strict=True):
        assert relative_error(kernel.sum(2), expected) < 1e-5
        assert kernel.std().item() == pytest.approx(expected.std().item() / kernel.shape[2] ** 0.5, rel=0.1)
        if kernel.shape[2] > 1:
            assert abs(torch.corrcoef(torch.stack((kernel[:, :, 0].flatten(), kernel[:, :, 1].flatten())))[0, 1]) < 0.1


LAYERS = {
    "padded": nn.Conv2d(2, 4, 3, padding=1),
    "strided": nn.Conv2d(2, 4, 7, stride=2, padding=3),
    "dilated": nn.Conv2d(2, 4, 3, padding=2, dilation=2, bias=False),
    "grouped": nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "patches": nn.Conv2d(2, 4, 4, stride=4),
    "average": nn.AvgPool2d(3, stride=2, padding=1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_inflated_layer_averages_the_2d_layer_over_the_slices_that_it_sees(name):
    """By linearity; beyond the border, slices repeat."""
    flat = LAYERS[name]
    kernel, stride, padding, dilation = (
        value[0] if isinstance(value, tuple) else value
        for value in (flat.kernel_size, flat.stride, flat.padding, getattr(flat, "dilation", 1))
    )
    x = torch.randn(2, 4 if name == "grouped" else 2, 9, 12, 10)
    with torch.no_grad():
        solid = inflate(nn.Sequential(flat))(x)
        slices = [flat(x[:, :, z]) for z in range(9)]
    for depth in range(solid.shape[2]):
        seen = [depth * stride - padding + k * dilation for k in range(kernel)]
        expected = torch.stack([slices[min(max(z, 0), 8)] for z in seen]).mean(0)
        torch.testing.assert_close(solid[:, :, depth], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_stem_stride_of_one_doubles_the_map():
    x = volumes(1, (33, 64, 40))
    with torch.no_grad():
        assert create_encoder("timm3d").eval().forward_features(x).shape == (1, 512, 2, 2, 2)
        assert create_encoder("timm3d", stem_stride=1).eval().forward_features(x).shape == (1, 512, 3, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet81", r"timm has no model 'resnet81'.*did you mean"),
        ("vit_tiny_patch16_224", "cannot inflate vit_tiny_patch16_224: it takes no image of 32×64.*resnet18"),
        ("skresnet18", r"cannot inflate skresnet18: layer 'layer1.0.conv1.attn.*resnet18"),
        ("ecaresnet50t", r"cannot inflate ecaresnet50t: layer 'layer1.0.se.conv' \(Conv1d\)"),
    ],
)
def test_what_cannot_be_inflated_is_one_clear_line(model, words):
    with pytest.raises(ConfigError, match=words) as error:
        create_encoder("timm3d", model=model)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_boxes_are_those_that_the_model_leaves_something_of():
    before = torch.get_rng_state()
    Timm3DSpec(model="densenet121").check_box((29, 29, 29))
    Timm3DSpec(model="convnext_atto", stem_stride=1).check_box((28, 28, 28))
    for model in ("densenet121", "convnext_atto"):
        with pytest.raises(DataError, match=f"model {model} cannot take.*28×28×28 voxels") as error:
            Timm3DSpec(model=model).check_box((28, 28, 28))
        assert "\n" not in str(error.value)
    assert torch.equal(torch.get_rng_state(), before)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("/nonexistent/evil"),)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_text("hello"), "does not hold the 2D weights of timm's resnet18"),
        (lambda path: path.write_bytes(pickle.dumps(Evil(), protocol=2)), "does not hold the 2D weights"),
        (lambda path: torch.save({"x": torch.ones(2)}, path), "does not hold the 2D weights.*conv1.weight"),
    ],
)
def test_weights_of_something_else_are_one_clear_line(write, words, tmp_path):
    path = tmp_path / "2d.pth"
    write(path)
    with pytest.raises(CheckpointError, match=words) as error:
        create_encoder("timm3d", weights=path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.slow
def test_an_exported_encoder_needs_its_2d_weights_no_more(tmp_path):
    weights = saved(flat_network("mobilenetv3_small_100"), tmp_path / "2d.safetensors")
    data = write_classes(tmp_path / "mrc", per_class=8, box=32)
    run = pretrain(
        tmp_path / "run",
        encoder={"name": "timm3d", "model": "mobilenetv3_small_100", "weights": weights},
        dataset={"name": "mrc_folder", "root": data},
        **{"method": "simclr", "epochs": 1, "batch_size": 4, "device": "cpu", "probe_every_epochs": 0},
    )
    weights.unlink()
    exported = create_encoder(pretrained=run.run_dir).eval()
    assert exported(volumes(1)).shape == (1, exported.num_features)
    finetune(tmp_path / "fine", pretrained=run.run_dir, epochs=1, batch_size=5, device="cpu")
