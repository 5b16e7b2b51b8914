"""The short training: a few steps of MoCo on RB3D and simulated subtomograms, in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cryoreg.diagnosis import separate_process
from cryoreg.diagnosis.finding import Finding, ok, problem

_SECONDS = 300
_CODE = """
import json, os, tempfile, time
from pathlib import Path
with tempfile.TemporaryDirectory(prefix="cryoreg-doctor-") as folder:
    os.environ |= {"CRYOREG_CACHE": folder, "TORCHINDUCTOR_CACHE_DIR": folder}
    started = time.monotonic()
    from cryoreg.config import Layer, resolve
    from cryoreg.training.pretrain import run_pretraining
    from cryoreg.runs.run_folder import RunFolder
    run = Path(folder, "run")
    choices = {
        "method": {"name": "cryoreg:moco", "queue_size": 16},
        "encoder": {"name": "cryoreg:rb3d"},
        "augmentation": {"name": "cryoreg:gupta2022"},
        "dataset": {"name": "cryoreg:demo", "per_class": 4, "box": 16},
        "training": {"epochs": 2, "batch_size": 8},
    }
    result = run_pretraining(resolve("pretrain", [Layer("doctor", choices)]), run)
    steps = RunFolder(run).steps.read()
    import torch
    device = "a GPU" if torch.cuda.is_available() else "the CPU"
    seconds = time.monotonic() - started
print(json.dumps({"steps": len(steps), "loss": result.loss, "seconds": seconds, "device": device}))
"""


def check() -> Iterator[Finding]:
    """Yield whether a few steps of training end with a finite loss; everything is written to a temporary folder."""
    found = separate_process.run_python(_CODE, seconds=_SECONDS)
    if found.error:
        yield problem(
            f"a short training failed: {found.error}",
            "mend the problems above; then: cryoreg pretrain --dataset demo, with CRYOREG_DEBUG=1 for the traceback",
        )
        return
    result = found.result
    text = "{steps} steps of MoCo and RB3D in {seconds:.0f} s on {device}: loss {loss:.3f}".format_map(result)
    yield ok(text) if math.isfinite(result["loss"]) else problem(text, "set --precision fp32; check the driver")
