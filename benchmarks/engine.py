"""How fast is a step of RB3D + MoCo at batch 16 and 32³: our engine, a raw loop, and what one writes from the docs?

    python benchmarks/engine.py [--rounds 4] [--steps 30] [--device cpu] [--out benchmarks/results/engine-cpu.json]

Every round times each contender once, in turn, so that what else the machine does hits all alike; figures are medians
over the rounds, and only ratios within a run mean anything. The peer is lightly's MoCo example (NTXentLoss with its
memory bank, MoCoProjectionHead, update_momentum) around a plainly written RB3D, MONAI transforms volume by volume in a
DataLoader with 2 workers, fp32.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

import cryoreg
from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.contracts import Sample
from cryoreg.randomness import SampleRng
from cryoreg.training.device import make_fabric
from cryoreg.training.engine import Engine
from cryoreg.training.pretrain import PretrainJob
from cryoreg.training.run_folder import RunFolder

BOX, BATCH = 32, 16
AHEAD = 4
"""Batches that two workers of a DataLoader prepare ahead: timed steps must not live off them."""


class InMemory:
    """A data set of volumes that are already read, so that no contender pays for the disk."""

    classes: tuple[str, ...] = ()
    voxel_size = 10.0
    box = (BOX, BOX, BOX)

    def __init__(self, count: int) -> None:
        self.volumes = np.random.default_rng(0).standard_normal((count, 1, *self.box), dtype=np.float32)
        self.labels = [None] * count
        self.groups = [None] * count
        self.ids = [str(index) for index in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return Sample(torch.from_numpy(self.volumes[index]), None, self.ids[index], None)


class PlainRB3D(nn.Module):
    """RB3D as one writes it from the paper's figure."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.right = nn.Conv3d(32, 16, 3, padding=1)
            self.left = nn.Sequential(
                nn.Conv3d(32, 16, 1), nn.ReLU(), nn.Conv3d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv3d(32, 16, 1)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.cat([self.left(x), torch.relu(self.right(x))], dim=1))

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), *(self.Block() for _ in range(4)),
            nn.AdaptiveAvgPool3d(2), nn.Flatten(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def peer(dataset: InMemory, device: torch.device, steps: int) -> Callable[[int], float]:
    """Return the loop that lightly's and MONAI's documentation lead to."""
    import copy

    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from monai.transforms import Compose, Identity, NormalizeIntensity, OneOf, RandAffine, RandScaleCrop, Resize
    from torch.utils.data import DataLoader, Dataset

    crop = Compose([RandScaleCrop(roi_scale=0.5 ** (1 / 3), random_size=True), Resize(dataset.box, mode="trilinear")])
    affine = RandAffine(
        prob=0.5,
        rotate_range=(np.pi / 4, 0, 0),
        translate_range=(0, 0.1 * BOX, 0.1 * BOX),
        scale_range=(0.1, 0.1, 0.1),
        padding_mode="zeros",
    )
    transform = Compose([NormalizeIntensity(), OneOf([crop, Identity()]), affine])

    class Views(Dataset):
        def __len__(self) -> int:
            return BATCH * (1 + steps + AHEAD)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            volume = dataset.volumes[index % len(dataset)]
            return transform(volume).as_tensor(), transform(volume).as_tensor()

    loader = DataLoader(Views(), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
    query = nn.Sequential(PlainRB3D(), MoCoProjectionHead(256, 256, 128)).to(device)
    key = copy.deepcopy(query)
    deactivate_requires_grad(key)
    criterion = NTXentLoss(temperature=0.2, memory_bank_size=(128, 128))
    optimizer = torch.optim.Adam(query.parameters(), lr=1e-4, weight_decay=1e-4)

    def run(steps: int) -> float:
        batches = iter(loader)
        started = None
        for step in range(steps + 1):  # the first fills the workers' queues, untimed
            x_query, x_key = next(batches)
            update_momentum(query, key, 0.999)
            with torch.no_grad():
                keys = key(x_key.to(device))
            loss = criterion(query(x_query.to(device)), keys)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == 0:
                started = _now(device)
        seconds = _now(device) - started
        for _ in batches:  # what the workers still prepare must not slow the next contender
            pass
        return seconds

    return run


def job_of(dataset: InMemory, device: str, precision: str) -> tuple[PretrainJob, RunConfig, Fabric]:
    layer = {"training": {"device": device, "precision": precision, "channels_last": precision != "fp32"}}
    config = resolve("pretrain", [Layer("benchmark", layer)])
    fabric = make_fabric(config.training)
    return PretrainJob(config, dataset, fabric.device), config, fabric


def raw_loop(dataset: InMemory, device: str, precision: str) -> Callable[[int], float]:
    """Return a bare loop over the same module, augmentation and batches: what the engine adds is its overhead."""
    job, config, fabric = job_of(dataset, device, precision)
    if config.training.channels_last:
        job.module.to(memory_format=torch.channels_last_3d)
    job.module.to(fabric.device)
    optimizer = torch.optim.Adam(job.module.parameters(), lr=1e-4, weight_decay=1e-4)
    bf16 = str(fabric.strategy.precision.precision) == "bf16-mixed"

    def run(steps: int) -> float:
        started = _now(fabric.device)
        for step, batch in enumerate(job.loader.epoch()):
            rngs = [SampleRng.for_batch(0, 0, batch.samples, view) for view in (0, 1)]
            views = [job.augment(batch.volumes, rng) for rng in rngs]
            with torch.autocast(fabric.device.type, torch.bfloat16, enabled=bf16):
                loss = job.module(views).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            job.after_step(step, steps)
        return _now(fabric.device) - started

    return run


class TimedEngine(Engine):
    """Notes when each epoch, with its logs and checkpoint, is done."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.times: list[float] = []

    def _epoch(self) -> None:
        super()._epoch()
        self.times.append(_now(self.fabric.device))


def engine(dataset: InMemory, device: str, precision: str) -> Callable[[int], float]:
    """Return what `cryoreg pretrain` runs, with its checks, logs and a checkpoint an epoch; its second epoch counts."""

    def run(steps: int) -> float:
        job, config, fabric = job_of(dataset, device, precision)
        config = resolve("pretrain", [Layer("job", config.to_dict()), Layer("here", {"training": {"epochs": 2}})])
        with tempfile.TemporaryDirectory() as folder, RunFolder.open(Path(folder) / "run", config, False) as (place, _):
            training = TimedEngine(job, config, place, fabric)
            training.run()
        first, second = training.times
        return second - first

    return run


def augmentation(name: str, dataset: InMemory, device: str) -> Callable[[int], float]:
    """Return a loop that makes the two views of every batch and does nothing else."""
    augment = cryoreg.create_augmentation(name)
    x = torch.from_numpy(dataset.volumes[:BATCH]).to(device)

    def run(steps: int) -> float:
        started = _now(x.device)
        for step in range(steps):
            for view in (0, 1):
                augment(x, SampleRng.for_batch(0, step, torch.arange(BATCH, device=x.device), view))
        return _now(x.device) - started

    return run


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(contenders: dict[str, Callable[[int], float]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Return subtomograms/s of each contender in each round; a first, short round warms up and does not count."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            speed = steps * BATCH / run(steps)
            if number > 0:
                speeds[name].append(round(speed, 2))
                print(f"round {number}/{rounds}  {name:<34} {speed:8.1f} subtomograms/s", flush=True)
    return speeds


def ratios(speeds: dict[str, list[float]], of: str, to: str) -> tuple[float, float, float]:
    """Return median, lowest and highest of the rounds' ratios."""
    values = [a / b for a, b in zip(speeds[of], speeds[to], strict=True)]
    return statistics.median(values), min(values), max(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30, help="per contender and round: the length of an epoch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    dataset, device = InMemory(BATCH * options.steps), options.device
    training = {
        "peer: lightly + MONAI, fp32": peer(dataset, torch.device(device), options.steps),
        "raw loop, fp32": raw_loop(dataset, device, "fp32"),
        "engine, fp32": engine(dataset, device, "fp32"),
        "raw loop, default": raw_loop(dataset, device, "auto"),
        "engine, default": engine(dataset, device, "auto"),
    }
    views = {name: augmentation(name, dataset, device) for name in ("gupta2022", "gupta2022_monai")}
    speeds = measure(training, options.rounds, options.steps)
    speeds |= measure(views, options.rounds, options.steps)
    pairs = {
        "engine default / peer": ("engine, default", "peer: lightly + MONAI, fp32"),
        "engine fp32 / peer": ("engine, fp32", "peer: lightly + MONAI, fp32"),
        "engine fp32 / raw loop fp32": ("engine, fp32", "raw loop, fp32"),
        "engine default / raw loop default": ("engine, default", "raw loop, default"),
        "augmentation: ours / MONAI per volume": ("gupta2022", "gupta2022_monai"),
    }
    result = {
        "machine": {
            "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "box": BOX,
        "batch": BATCH,
        "steps": options.steps,
        "subtomograms_per_s": speeds,
        "ratios_median_min_max": {
            name: [round(value, 3) for value in ratios(speeds, *pair)] for name, pair in pairs.items()
        },
    }
    for name, (median, low, high) in result["ratios_median_min_max"].items():
        print(f"{name:<40} {median:.2f}  ({low:.2f} to {high:.2f})")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
