"""How long STAR files of a million rows take, and in how much memory: `python benchmarks/star_lists.py [ROWS]`.

A list of RELION's kind (13 columns, 100 tomograms of 64³) is made, and three things are measured, each in a process of
its own, in seconds of one core and in MB at the most: reading the list, writing classes into it as `predict` does, all
columns kept, and `cryoreg inspect`, which opens the tomograms, too. ``work_s`` is without imports.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np

TOMOGRAMS, EDGE = 100, 64
NOTE = "cpu_s and work_s are seconds of one core; wall_s tells what else ran"
OPTICS = ("rlnOpticsGroup", "rlnOpticsGroupName", "rlnTomoTiltSeriesPixelSize", "rlnVoltage")
COLUMNS = (
    *("rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"),
    *("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
    *("rlnOpticsGroup", "rlnClassNumber", "rlnRandomSubset"),
)


def write(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for number in range(TOMOGRAMS):
        with mrcfile.new(folder / f"TS_{number:03d}.mrc", rng.normal(size=(EDGE,) * 3).astype(np.float32)) as file:
            file.voxel_size = 10.0
    heads = [
        "\n".join([f"data_{name}", "", "loop_", *(f"_{label} #{i}" for i, label in enumerate(labels, 1))])
        for name, labels in (("optics", OPTICS), ("particles", COLUMNS))
    ]
    places, rest = rng.uniform(16, EDGE - 17, (count, 3)), rng.uniform(-90, 90, (count, 6))
    names, classes = np.sort(rng.integers(0, TOMOGRAMS, count)), rng.integers(1, 4, count)
    path = folder / "particles.star"
    with path.open("w") as file:
        file.write(f"\n{heads[0]}\n1 opticsGroup1 10.0 300.0\n\n\n{heads[1]}\n")
        row = "TS_%03d" + " %12.6f" * 9 + " %12d" * 3 + "\n"
        for i in range(count):
            file.write(row % (names[i], *places[i], *rest[i], 1, classes[i], 1 + i % 2))
    return path


def read(path: str) -> float:
    from cryoreg.datasets.particles.lists import read_particle_list

    began = time.process_time()
    read_particle_list(path)
    return time.process_time() - began


def write_back(path: str) -> float:
    from cryoreg.contracts import Origin
    from cryoreg.inference.particle_text import ParticleText
    from cryoreg.inference.prediction_files import star_text
    from cryoreg.predictions import Predictions

    began = time.process_time()
    text = ParticleText.star(path)
    took, count = time.process_time() - began, text.particles
    nothing = np.zeros((count, 0))
    predicted = Predictions(
        ids=(),
        classes=("a", "b"),
        probabilities=nothing,
        predictions=np.arange(count) % 2,
        confidences=np.linspace(0, 1, count),
        unsure=np.zeros(count, bool),
        threshold=0.0,
        temperature=None,
        origins=tuple(Origin(path, row) for row in range(count)),
        groups=(),
        left_out={},
    )
    began = time.process_time()
    Path(path).with_name("out.star").write_text(star_text(text, predicted))
    return took + time.process_time() - began


def measured(command: list[str]) -> dict[str, float]:
    """Return what a process took: seconds of one core, seconds, MB at the most."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return ({"work_s": round(float(said), 2)} if said.replace(".", "").isdecimal() else {}) | {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.perf_counter() - began, 2),
        "peak_mb": round(usage.ru_maxrss / 1e3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(write(Path(folder), told.rows))
        size = round(Path(path).stat().st_size / 1e6)
        again = [sys.executable, "-c", "import sys, star_lists; print(getattr(star_lists, sys.argv[1])(sys.argv[2]))"]
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        results: dict[str, object] = {"note": NOTE, "rows": told.rows, "columns": len(COLUMNS), "mb": size}
        results["read"] = measured([*again, "read", path])
        results["write_back"] = measured([*again, "write_back", path])
        results["inspect"] = measured([sys.executable, "-m", "cryoreg_cli", "inspect", path])
    print(json.dumps(results, indent=1))
    if told.json:
        told.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
