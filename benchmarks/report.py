"""How long does `cryoreg report` take for a thousand subtomograms? Command by command, each in a process of its own.

    python benchmarks/report.py [--count 1000] [--box 32] [--repeats 3] [--output FILE.json]

Data are a store of the embedded demonstration, which is made before. Two commands: of the data alone by the shipped
weights, and of a classifier on them (linear probe, 12 labels a class). Seconds are of the whole command, imports
included: on the wall, and those that its process had a CPU. On a machine that is shared the latter are what the command
costs, and the former what others leave it; the fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from components import machine

from cryoreg.files import write_text

OUT = Path(__file__).parent / "results" / "report-cpu.json"
CRYOREG = [sys.executable, "-m", "cryoreg_cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="subtomograms, in ten classes")
    parser.add_argument("--box", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, help="a store that is there already")
    parser.add_argument("--output", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or made(Path(folder) / "data.h5", options.count, options.box)
        run = Path(folder) / "run"
        finetune = ["finetune", "--data", str(data), "--learner", "linear_probe", "--labels-per-class", "12"]
        call([*finetune, "--run-dir", str(run), "--device", "cpu"])
        commands = {
            "data alone, rb3d_universe": ["report", "--from", "rb3d_universe", "--data", str(data), "--output"],
            "a classifier": ["report", str(run), "--output"],
        }
        figures = {name: fastest(words, Path(folder), options.repeats) for name, words in commands.items()}
    found = {**machine("cpu"), "cores": os.cpu_count()}
    found |= {"subtomograms": options.count, "box": options.box, "repeats": options.repeats, "seconds": figures}
    print(json.dumps(figures, indent=2))
    write_text(options.output, json.dumps(found, indent=2) + "\n")


def made(path: Path, count: int, box: int) -> Path:
    """Write the demonstration as a store."""
    settings = ["--set", f"dataset.per_class={count // 10}", "--set", f"dataset.box={box}"]
    call(["convert", "--dataset", "demo", *settings, "--output", str(path)])
    return path


def fastest(words: list[str], folder: Path, repeats: int) -> dict[str, float]:
    """Return the least seconds of some calls."""
    times = [call([*words, str(folder / f"{number}.html"), "--overwrite"]) for number in range(repeats)]
    return {"wall": round(min(wall for wall, _ in times), 1), "cpu": round(min(cpu for _, cpu in times), 1)}


def call(words: list[str]) -> tuple[float, float]:
    """Run a command; return seconds on the wall, and of a CPU."""
    before, started = _cpu(), time.monotonic()
    subprocess.run([*CRYOREG, *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
