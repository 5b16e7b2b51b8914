"""How fast is a step of RB3D + MoCo at batch 16 and 32³: our engine, a raw loop, and what one writes from the docs?

    python benchmarks/engine.py [--rounds 4] [--steps 30] [--device cpu] [--out benchmarks/results/engine-cpu.json]

Each contender has a process of its own; every round times each once, in turn. Figures are medians over the rounds;
only ratios within a run mean anything. The engine's overhead is measured apart, with raw steps between its own. The
peer is lightly's MoCo example (NTXentLoss with its memory bank, MoCoProjectionHead, update_momentum) around a plainly
written RB3D, MONAI transforms volume by volume in a DataLoader with 2 workers, fp32.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

import cryoreg
from cryoreg.config import Layer, RunConfig, resolve
from cryoreg.contracts import Sample, Subtomograms
from cryoreg.randomness import SampleRng
from cryoreg.runs.run_folder import RunFolder
from cryoreg.training.device import describe, make_fabric, to_device
from cryoreg.training.engine import Engine
from cryoreg.training.loading import Batch
from cryoreg.training.pretrain import PretrainingPlan

BOX, BATCH = 32, 16
AHEAD = 4
"""Batches that two workers of a DataLoader prepare ahead: timed steps must not live off them."""


class InMemory(Subtomograms):
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


def peer(dataset: InMemory, device: torch.device) -> Callable[[int], float]:
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
            return len(dataset) + BATCH * (1 + AHEAD)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            volume = dataset.volumes[index % len(dataset)]
            return transform(volume).as_tensor(), transform(volume).as_tensor()

    loader = DataLoader(
        Views(),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
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


def plan_of(dataset: InMemory, device: str, precision: str) -> tuple[PretrainingPlan, RunConfig, Fabric]:
    layer = {"training": {"device": device, "precision": precision, "channels_last": precision != "fp32"}}
    config = resolve("pretrain", [Layer("benchmark", layer)])
    fabric = make_fabric(config.training)
    return PretrainingPlan(config, dataset, fabric), config, fabric


def raw_stepper(plan: PretrainingPlan, config: RunConfig, fabric: Fabric) -> Callable[[Batch, int], None]:
    """Return a bare step of the same module and augmentation: what the engine adds to it is its overhead."""
    to_device(plan.module, fabric, config.training)
    optimizer = torch.optim.Adam(plan.module.parameters(), lr=1e-4, weight_decay=1e-4)
    bf16 = describe(fabric)["precision"] == "bf16"

    def step(batch: Batch, number: int) -> None:
        rngs = [SampleRng.for_batch(0, 0, batch.samples, view) for view in (0, 1)]
        views = [plan.views.recipes[0](batch.volumes, rng) for rng in rngs]
        with torch.autocast(fabric.device.type, torch.bfloat16, enabled=bf16):
            loss = plan.module(views).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.after_step(number, 1)

    return step


def raw_loop(dataset: InMemory, device: str, precision: str) -> Callable[[int], float]:
    """Return a bare loop, without files, checks or logs."""
    plan, config, fabric = plan_of(dataset, device, precision)
    step = raw_stepper(plan, config, fabric)

    def run(steps: int) -> float:
        started = _now(fabric.device)
        for number, batch in enumerate(plan.loader.epoch()):
            step(batch, number)
        return _now(fabric.device) - started

    return run


class TimedEngine(Engine):
    """Notes how long each epoch takes, with its logs and checkpoint; a raw step may follow each step, untimed."""

    raw_step: Callable[[Batch, int], None] | None = None

    def _epoch(self) -> None:
        started, self.raw_seconds = _now(self.fabric.device), 0.0
        super()._epoch()
        self.seconds = _now(self.fabric.device) - started - self.raw_seconds

    def _step(self, batches: list[Batch]) -> None:
        super()._step(batches)
        if self.raw_step is not None:
            started = _now(self.fabric.device)
            self.raw_step(batches[0], self.position.step)
            self.raw_seconds += _now(self.fabric.device) - started


def run_engine(dataset: InMemory, device: str, precision: str, with_raw_steps: bool = False) -> TimedEngine:
    """Run what `cryoreg pretrain` runs for two epochs, of which the second counts."""
    plan, config, fabric = plan_of(dataset, device, precision)
    config = resolve("pretrain", [Layer("benchmark", config.to_dict()), Layer("here", {"training": {"epochs": 2}})])
    with tempfile.TemporaryDirectory() as parent, RunFolder.open(Path(parent) / "run", config, False) as (folder, _):
        training = TimedEngine(plan, config, folder, fabric)
        if with_raw_steps:
            training.raw_step = raw_stepper(*plan_of(dataset, device, precision))
        training.run()
    return training


def engine(dataset: InMemory, device: str, precision: str) -> Callable[[int], float]:
    """Return our engine: the data set is as long as the steps asked for."""
    return lambda steps: run_engine(dataset, device, precision).seconds


def overhead(dataset: InMemory, device: str, precision: str) -> Callable[[int], float]:
    """Return a measure of raw time over engine time, from raw and engine's steps in alternation."""

    def run(steps: int) -> float:
        training = run_engine(dataset, device, precision, with_raw_steps=True)
        return training.raw_seconds / training.seconds

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


CONTENDERS: dict[str, Callable[[InMemory, str], Callable[[int], float]]] = {
    "peer: lightly + MONAI, fp32": lambda dataset, device: peer(dataset, torch.device(device)),
    "raw loop, fp32": lambda dataset, device: raw_loop(dataset, device, "fp32"),
    "engine, fp32": lambda dataset, device: engine(dataset, device, "fp32"),
    "raw loop, default": lambda dataset, device: raw_loop(dataset, device, "auto"),
    "engine, default": lambda dataset, device: engine(dataset, device, "auto"),
    "views by gupta2022": lambda dataset, device: augmentation("gupta2022", dataset, device),
    "views by gupta2022_monai": lambda dataset, device: augmentation("gupta2022_monai", dataset, device),
    "overhead, fp32": lambda dataset, device: overhead(dataset, device, "fp32"),
    "overhead, default": lambda dataset, device: overhead(dataset, device, "auto"),
}


def _serve(name: str, steps: int, device: str, pipe: Connection) -> None:
    """Be one contender, in a process of its own: what one sets, such as the allocator's ways, must not help another."""
    run = CONTENDERS[name](InMemory(BATCH * steps), device)
    while pipe.recv():
        pipe.send(run(steps))


def measure(rounds: int, steps: int, device: str) -> dict[str, list[float]]:
    """Return each contender's figure in each round; a first round warms up and does not count."""
    context = torch.multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in CONTENDERS:
        pipes[name], far_end = context.Pipe()
        processes.append(context.Process(target=_serve, args=(name, steps, device, far_end)))
        processes[-1].start()
    figures: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            figure = pipe.recv() if name.startswith("overhead") else steps * BATCH / pipe.recv()
            if number > 0:
                figures[name].append(round(figure, 3))
                unit = "raw / engine" if name.startswith("overhead") else "subtomograms/s"
                print(f"round {number}/{rounds}  {name:<30} {figure:9.3f} {unit}", flush=True)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(False)
        process.join()
    return figures


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
    device = options.device
    figures = measure(options.rounds, options.steps, device)
    pairs = {
        "engine default / peer": ("engine, default", "peer: lightly + MONAI, fp32"),
        "engine fp32 / peer": ("engine, fp32", "peer: lightly + MONAI, fp32"),
        "our views / MONAI's, per volume": ("views by gupta2022", "views by gupta2022_monai"),
    }
    found = {name: ratios(figures, *pair) for name, pair in pairs.items()}
    for precision in ("fp32", "default"):
        values = figures.pop(f"overhead, {precision}")
        found[f"raw / engine, steps in alternation, {precision}"] = statistics.median(values), min(values), max(values)
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
        "subtomograms_per_s": figures,
        "ratios_median_min_max": {name: [round(value, 3) for value in values] for name, values in found.items()},
    }
    for name, (median, low, high) in found.items():
        print(f"{name:<50} {median:.3f}  ({low:.3f} to {high:.3f})")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
