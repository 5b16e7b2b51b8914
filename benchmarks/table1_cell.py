"""One cell of Table 1 of Gupta et al. 2022 at full length: MoCo and random weights, 25 % of the labels, SNR 0.05.

    python benchmarks/table1_cell.py --work DIR [--device cuda] [--structures DIR] [--scale 1] [--out FILE.json]

The study `gupta2022-sim` with one noise level, one share of labels and one seed, in the paper's setting: 200 epochs of
pretraining on 3,000 subtomograms of 32³ voxels, 50 of fine-tuning on 750. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from cryoreg.benchmark.execution import Execution
from cryoreg.benchmark.run_study import run_study
from cryoreg.benchmark.study import Study, load_study
from cryoreg.benchmark.tables import to_markdown

DATA, LABELS, STARTS, SETTING = "SNR 0.05", "25 %", ("random", "moco"), "paper"


def cell(scale: float, seed: int, device: str, structures: Path | None) -> Study:
    """Return the study of the one cell, computed on ``device``."""
    where = {"training": {"device": device}}
    changes: dict[str, Any] = {"pretrain": where, "settings": {SETTING: where}, "scale": scale, "seeds": [seed]}
    whole = load_study("gupta2022-sim", changes | {"labels": [LABELS], "probes": False}, structures)
    return whole.model_copy(
        update={
            "data": {DATA: whole.data[DATA]},
            "starts": {name: whole.starts[name] for name in STARTS},
            "settings": {SETTING: whole.settings[SETTING]},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--structures", type=Path, help="PDB, mmCIF and MRC files [ten made-up assemblies]")
    parser.add_argument("--scale", type=float, default=1.0, help="of subtomograms and epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    study = cell(options.scale, options.seed, options.device, options.structures)
    begun = time.monotonic()
    table = run_study(study, options.work, Execution(), lambda line: print(line, flush=True))
    result = {
        "device": torch.cuda.get_device_name() if options.device != "cpu" and torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "structures": "ten made-up assemblies" if options.structures is None else "given",
        **{"data": DATA, "labels": LABELS, "setting": SETTING, "scale": options.scale, "seed": options.seed},
        "seconds_of_this_call": round(time.monotonic() - begun, 1),
        "accuracy_percent": {row.start: summary.mean for (row, _), summary in table.cells.items()},
        "paper_percent": {row.start: [summary.paper, summary.paper_sd] for (row, _), summary in table.cells.items()},
    }
    print(to_markdown(table))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
