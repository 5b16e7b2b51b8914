"""Runs one step of `gpu.sh`; writes NAME.log and NAME.step.json: the device, the command, how it ended, its time.

python benchmarks/gpu_step.py NAME --device cuda --out DIR -- COMMAND ...
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from command_lines import command_line

import cryoreg

LINES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / f"{options.name}.log"
    begun = time.monotonic()
    status = run(command, log)
    record = {
        "step": options.name,
        "device": device_name(options.device),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"cryoreg": cryoreg.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(command),
        "exit_status": status,
        "seconds": round(time.monotonic() - begun, 1),
        "last_lines": log.read_text(errors="replace").splitlines()[-LINES:],
    }
    (options.out / f"{options.name}.step.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    sys.exit(status)


def run(command: list[str], log: Path) -> int:
    """Run a command, whose output is shown and kept."""
    with log.open("w") as file:
        try:
            started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError as error:
            file.write(f"{command[0]}: {error}\n")
            return 127
        for line in started.stdout or ():
            print(line, end="", flush=True)
            file.write(line)
        return started.wait()


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device


if __name__ == "__main__":
    main()
