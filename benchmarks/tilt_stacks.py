"""How fast 2D tilt stacks become volumes, and in how much memory: `python benchmarks/tilt_stacks.py [PARTICLES]`.

Stacks of 40 images of 64², float16, of two tomograms, are made and read as `convert` reads them, by one process.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import starfile

from cryoreg.datasets.list_specs import TiltStackSpec

EDGE, TILTS, GOAL = 64, 40, 10_000


def write(root: Path, count: int) -> Path:
    rng, tilts = np.random.default_rng(0), np.linspace(-58.5, 58.5, TILTS)
    names = [f"TS_{1 + number % 2}" for number in range(count)]
    for number in range(count):
        with mrcfile.new(root / f"{number}.mrcs", rng.normal(size=(TILTS, EDGE, EDGE)).astype(np.float16)) as file:
            file.set_image_stack()
    centred = {f"rlnCenteredCoordinate{axis}Angst": rng.uniform(-900, 900, count) for axis in "XYZ"}
    images = [f"{number}.mrcs" for number in range(count)]
    particles = pd.DataFrame({"rlnTomoName": names, "rlnImageName": images, "rlnOpticsGroup": 1, **centred})
    optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnCtfDataAreCtfPremultiplied": [1], "rlnImagePixelSize": [5.0]})
    general = {"rlnTomoSubTomosAre2DStacks": 1}
    starfile.write({"general": general, "optics": optics, "particles": particles}, root / "particles.star")
    overview = {"rlnTomoName": ["TS_1", "TS_2"], "rlnTomoHand": -1.0, "rlnVoltage": 300.0}
    overview |= {"rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.07}
    series = {"rlnTomoXTilt": 0.0, "rlnTomoYTilt": tilts, "rlnTomoZRot": 85.0, "rlnMicrographPreExposure": 3.0}
    series |= {"rlnDefocusU": 30000.0, "rlnDefocusV": 29000.0, "rlnDefocusAngle": 20.0}
    tables = dict.fromkeys(("TS_1", "TS_2"), pd.DataFrame(series))
    starfile.write({"global": pd.DataFrame(overview), **tables}, root / "tomograms.star")
    return root / "particles.star"


def peak() -> float:
    """Return the largest memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), count)
        began = time.process_time()
        dataset = TiltStackSpec(root=path).load()
        opened, first = time.process_time() - began, []
        for index in (0, 1):
            began = time.process_time()
            dataset[index]
            first.append(time.process_time() - began)
        early, began, wall = peak(), time.process_time(), time.perf_counter()
        for index in range(2, count):
            dataset[index]
        each = (time.process_time() - began) / (count - 2)
        on_the_clock = (time.perf_counter() - wall) / (count - 2)
    print(f"opening {count}: {opened:.2f} s; the first of a tilt series: {max(first):.2f} s")
    print(f"each of the others: {1e3 * each:.0f} ms of one core ({1e3 * on_the_clock:.0f} ms by the clock)")
    print(f"{GOAL:,} of {EDGE}² × {TILTS}: {GOAL * each / 60:.1f} min of one core, {GOAL * each / 120:.1f} min on two")
    print(f"memory: {early:.0f} MB after two, {peak():.0f} MB after {count}")


if __name__ == "__main__":
    main()
