"""What the specs of `broken_specs` build: a sound part of each kind, and others with one fault each."""

from __future__ import annotations

import atexit
import copy
import functools
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from cryoreg.contracts import Encoder, Method, Sample, StepOutput
from cryoreg.encoders.specs import RB3DSpec
from cryoreg.randomness import SampleRng
from cryoreg.runs.weights import write_weights

# ---- encoders ----


class _Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.convolution = nn.Conv3d(1, width, 4, stride=2)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.convolution(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3, 4))


class NetOfNoContract(_Net):
    pass


class Net(_Net, Encoder):
    pass


class NetThatMiscounts(Net):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.num_features += 1


class NetWithoutMap(Net):
    def forward_features(self, x: Tensor) -> Tensor:
        return super().forward_features(x).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean(2)


class NetThatDivides(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / x.std((1, 2, 3, 4), keepdim=True))


class NetOfUnits(Net):
    def forward(self, x: Tensor) -> Tensor:
        return 1 + 1e-3 * super().forward(x)


class NetThatDraws(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features * (1 + 1e-5 * torch.rand_like(features))


class NetOfBatches(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features - features.mean(0) / 2


class NetThatWrites(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.relu_())


class NetWithSpare(Net):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.spare = nn.Parameter(torch.ones(1))


class NetWithSecret(Net):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.scale = 1 + torch.rand(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


class NetUnderAutocast(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.5 if torch.is_autocast_enabled("cpu") else 1.0)


class NetThatBranches(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features if features.sum().item() < 1e9 else torch.zeros_like(features)


# ---- methods ----


class Contrast(Method):
    """The negatives are the batch; projections are taken about a moving center, which all processes share."""

    center: Tensor

    def __init__(self, encoder: Encoder, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.head = nn.Linear(encoder.num_features, 8)
        self.register_buffer("center", torch.zeros(8))
        self._seen = torch.zeros(8)

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        features = [self.encoder(view) for view in views]
        with torch.autocast("cpu", enabled=False):
            first, second = (self.head(each.float()) - self.center for each in features)
            similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / self.temperature
            loss = F.cross_entropy(similarity, torch.arange(len(first)))
        if torch.is_grad_enabled():
            self._seen = first.detach().mean(0)
        return StepOutput(loss, features[0].detach())

    def after_step(self, step: int, total_steps: int) -> None:
        if distributed.is_initialized():
            distributed.all_reduce(self._seen)
        self.center.lerp_(self._seen, 0.01)


class ContrastOfCopy(Contrast):
    def __init__(self, encoder: Encoder, temperature: float) -> None:
        super().__init__(copy.deepcopy(encoder), temperature)


class ContrastOfOneRow(Contrast):
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        output = super().forward(views)
        return output._replace(loss=output.loss[None])


class ContrastOfCrowds(Contrast):
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        output = super().forward(views)
        return output._replace(loss=output.loss * (len(views[0]) > 2))


class ContrastWithGraph(Contrast):
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        return super().forward(views)._replace(features=self.encoder(views[0]))


class ContrastThatWrites(Contrast):
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        return super().forward([view.clamp_(-2, 2) for view in views])


class ContrastUphill(Contrast):
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        output = super().forward(views)
        return output._replace(loss=2 * output.loss.detach() - output.loss)


class ContrastWithSpare(Contrast):
    def __init__(self, encoder: Encoder, temperature: float) -> None:
        super().__init__(encoder, temperature)
        self.spare = nn.Parameter(torch.ones(1))


class ContrastOfChance(Contrast):
    def __init__(self, encoder: Encoder, temperature: float) -> None:
        super().__init__(encoder, temperature)
        self.head.weight.data *= 1 + random.random()


class ContrastThatForgets(Contrast):
    calls = 0

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        output = super().forward(views)
        return output._replace(loss=output.loss * (1 + self.calls / 10))

    def after_step(self, step: int, total_steps: int) -> None:
        super().after_step(step, total_steps)
        self.calls += 1


class ContrastThatCounts(Contrast):
    count: Tensor

    def __init__(self, encoder: Encoder, temperature: float) -> None:
        super().__init__(encoder, temperature)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        self.count += 1
        return super().forward(views)


class ContrastThatPushes(Contrast):
    @torch.no_grad()
    def after_step(self, step: int, total_steps: int) -> None:
        super().after_step(step, total_steps)
        self.head.weight += 0.01


class ContrastAlone(Contrast):
    def after_step(self, step: int, total_steps: int) -> None:
        self.center.lerp_(self._seen, 0.01)


class ContrastThatHides(Contrast):
    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        output = super().forward(views)
        return output._replace(features=output.features + torch.randn_like(output.features))


class ContrastThatClaims(Contrast):
    """To a blind encoder the partner is one of 8: ln 8 = 2.08."""

    collapsed_loss = 1.0


# ---- augmentations ----


class Noise:
    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return x + self.strength * rng.normal(x.shape[1:])


class NoiseOfDoubles(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return super().__call__(x, rng).double()


class NoiseThatDivides(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return super().__call__(x / x.std((1, 2, 3, 4), keepdim=True), rng)


class NoiseThatWrites(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return super().__call__(x.clamp_(-2, 2), rng)


class NoiseOfSeed(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return super().__call__(x, rng) + 0.1 * (torch.initial_seed() % 7)


class NoNoise(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return 1.1 * x


class NoiseOfBatches(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return super().__call__(x, rng) - x.mean()


class NoiseThatDraws(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        torch.rand(1)
        return super().__call__(x, rng)


class NoiseOnDefaultDevice(Noise):
    def __call__(self, x: Tensor, rng: SampleRng) -> Tensor:
        return super().__call__(x, rng) * torch.full(x.shape, 2.0)


class NoiseWithLambda(Noise):
    def __init__(self, strength: float) -> None:
        super().__init__(strength)
        self.function = lambda: strength


# ---- data sets ----


class Volumes:
    """Volumes of two classes in an array of one file, which is read again for each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        count, *box = self.array().shape
        self.box = tuple(box)
        self.voxel_size: float | None = 10.0
        self.classes = ["a", "b"]
        self.labels = [index % 2 for index in range(count)]
        self.ids = [f"{root.stem}/{index}" for index in range(count)]
        self.groups: list[str | None] = [None] * count

    def array(self) -> np.ndarray:
        return np.load(self.root)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        volume = torch.from_numpy(self.array()[index][None])
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index])


class VolumesWithCache(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        if not (index := root.with_suffix(".index")).exists():
            index.touch()


class VolumesWithMoreGroups(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.groups.append("tomogram")


class VolumesWithArrays(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.groups = np.array(self.groups, dtype=object)


class VolumesOfNumberedTomograms(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.groups = [index // 2 for index in range(len(self))]


class VolumesWithHoles(Volumes):
    def array(self) -> np.ndarray:
        volumes = super().array()
        volumes[2, 1, 1, 1] = np.nan
        return volumes


class VolumesOfNoSize(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.voxel_size = 0.0


class VolumesOfUnknownClass(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.labels[1] = 2


class VolumesOfNoClass(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.classes = ["None", "b"]


class VolumesOfOneName(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ids = [root.stem] * len(self)


class VolumesOfContrasts(Volumes):
    contrasts = "dark"


class VolumesOfWhiteness(Volumes):
    contrast = "white"


class VolumesOfDoubles(Volumes):
    def array(self) -> np.ndarray:
        return super().array().astype(np.float64)


class VolumesOfOtherNames(Volumes):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return Sample(sample.volume, sample.label, f"{index:03d}", sample.group)


class VolumesInMemory(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.loaded = super().array()

    def __getitem__(self, index: int) -> Sample:
        volume = torch.from_numpy(self.loaded)[index][None]
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index])


class VolumesWithoutEnd(Volumes):
    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index % len(self))


class VolumesWithLambda(Volumes):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.function = lambda: root


# ---- weights ----


@functools.cache
def _weights(name: str, width: int = 2, **card: object) -> Path:
    """Write a network of random weights and a card that says ``card``; return the file."""
    encoder = RB3DSpec(width=width).build()
    config = {
        "task": "pretrain",
        "encoder": {"name": "rb3d", "width": 2},
        "dataset": {"name": "demo"},
        "split": {},
        "packages": {"encoder": "cryoreg 0.1.0"},
    }
    known = {"normalisation": "per-volume z-score", "num_features": encoder.num_features, "data": "", "box": [8, 8, 8]}
    known |= {"voxel_size": 10.0, "contrast": "bright", "config": config, "holds": "encoder"}
    folder = Path(tempfile.mkdtemp(prefix="cryoreg-weights-"))
    atexit.register(shutil.rmtree, folder, True)
    write_weights(folder / name, encoder.state_dict(), known | card)
    return folder / name


def weights() -> Path:
    return _weights("sound.safetensors")


def weights_of_no_contrast() -> Path:
    return _weights("grey.safetensors", contrast=None)


def weights_with_a_path() -> Path:
    return _weights("local.safetensors", source="/home/ada/runs/pre")


def weights_of_another_width() -> Path:
    return _weights("wide.safetensors", width=4)


def weights_that_miscount() -> Path:
    return _weights("odd.safetensors", num_features=17)


@functools.cache
def weights_with_a_flipped_bit() -> Path:
    path = _weights("flipped.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path
