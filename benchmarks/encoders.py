"""What does a step of each candidate for a shipped encoder cost? Forward and backward at 16³, batch 128, on one CPU.

    OMP_NUM_THREADS=1 nice python benchmarks/encoders.py [--steps 3] [--box 16] [--batch 128] [--only NAME ...]

Training mode, channels-last, as the engine has it, in float32 and under bf16 autocast; the loss is the features' mean
square. Speeds are volumes per second of the time that the process had a CPU, by the fastest step after the first: on a
machine that is shared, only ratios within a run mean much. --only measures some; what the file holds of others stays.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from components import count, earlier, machine
from torch import nn

from cryoreg import create_encoder
from cryoreg.files import write_text
from cryoreg.training.small_convolutions import guard_convolutions

OUT = Path(__file__).parent / "results" / "encoders-cpu.json"
CANDIDATES: dict[str, dict[str, Any]] = {
    **{f"rb3d, width {width}": {"name": "rb3d", "norm": "batch", "width": width} for width in (16, 32, 48, 64)},
    "rb3d, width 32, norm none": {"name": "rb3d"},
    "rb3d, width 32, Fourier channel": {"name": "rb3d", "norm": "batch", "fourier_channel": True},
    "octahedral_rb3d, 2 blocks": {"name": "octahedral_rb3d", "blocks": 2},
    "octahedral_rb3d": {"name": "octahedral_rb3d"},
    "octahedral_rb3d, Fourier channel": {"name": "octahedral_rb3d", "fourier_channel": True},
    **{f"resnet10_3d, width {width}": {"name": "resnet10_3d", "width": width} for width in (16, 32)},
    "resnet18_3d, width 16": {"name": "resnet18_3d", "width": 16},
}


def measure(settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    encoder = create_encoder(**settings).train().to(memory_format=torch.channels_last_3d)
    guard_convolutions(encoder)
    x = torch.randn(options.batch, 1, *3 * [options.box])
    return {
        **{"settings": settings, "parameters": count(encoder), "features": encoder.num_features},
        **{f"per_cpu_s_{kind}": speed(encoder, x, options.steps, kind == "bf16") for kind in ("fp32", "bf16")},
    }


def speed(encoder: nn.Module, x: torch.Tensor, steps: int, bf16: bool) -> float:
    """Return volumes per CPU second of the fastest step after the first, which warms up."""
    seconds = [step(encoder, x, bf16) for _ in range(1 + steps)]
    return round(len(x) / min(seconds[1:]), 1)


def step(encoder: nn.Module, x: torch.Tensor, bf16: bool) -> float:
    started = time.process_time()
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, bf16):
        features = encoder(x)
    features.float().square().mean().backward()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--box", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", choices=CANDIDATES)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    here = {**machine("cpu"), "box": options.box, "batch": options.batch, "steps": options.steps}
    figures = earlier(options.out, here)
    for name in options.only or CANDIDATES:
        figures[name] = measure(CANDIDATES[name], options)
        print(f"{name:<34}", figures[name], flush=True)
        write_text(options.out, json.dumps({**here, "figures": figures}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
