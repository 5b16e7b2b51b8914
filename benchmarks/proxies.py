"""What do more structures cost? A step of the method `structures` without its encoder, by the number of them.

    OMP_NUM_THREADS=1 python benchmarks/proxies.py [--counts 1500 10000 100000] [--batch 128] [--out FILE.json]

A step is the head, the softmax over a proxy for each structure, its gradient and AdamW; features are random. Median of
the steps after the first, by the clock and, on a CPU, by the process's time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from engine import _now
from torch import Tensor, nn

import cryoreg
from cryoreg.config import build_spec

FEATURES = 256
"""Of RB3D."""


class Given(nn.Module):
    """An encoder whose input are its features."""

    num_features = FEATURES

    def forward(self, x: Tensor) -> Tensor:
        return x


def step_times(structures: int, batch: int, steps: int, device: torch.device) -> list[tuple[float, float]]:
    torch.manual_seed(0)
    spec = build_spec("method", "structures", {}).spec
    method = spec.model_copy(update={"classes": structures}).build(Given()).to(device)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(method.parameters(), 3e-3)
    times = []
    for _ in range(steps + 1):
        x = torch.randn(batch, FEATURES, device=device)
        labels = torch.randint(structures, (batch,), device=device)
        clock, processor = _now(device), time.process_time()
        optimizer.zero_grad()
        method([x], labels).loss.backward()
        optimizer.step()
        times.append((_now(device) - clock, time.process_time() - processor))
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1500, 10_000, 100_000])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        **{"threads": torch.get_num_threads(), "load_average": os.getloadavg()[0]},
        **{"torch": torch.__version__, "cryoreg": cryoreg.__version__, "batch": options.batch},
        "step_without_encoder": {},
    }
    for count in options.counts:
        columns = zip(*step_times(count, options.batch, options.steps, device), strict=True)
        clock, processor = (round(1e3 * statistics.median(column), 1) for column in columns)
        print(f"{count:>9,} structures  {clock:9.1f} ms by the clock, {processor:9.1f} ms of the processor", flush=True)
        result["step_without_encoder"][str(count)] = {"milliseconds": clock, "milliseconds_of_processor": processor}
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
