"""Does the page of `cryoreg label` stay fluid with ten thousand particles? Opens it in Chromium, scrolls, labels.

    OMP_NUM_THREADS=1 python benchmarks/label_page.py [--count 10000] [--box 24] [--out JSON]

A store of made-up volumes (a blob in one of eight places, noise) is labelled through the command itself. Figures are by
the clock, and of frames also by the time that the page's main thread had the processor: only the latter means much on a
machine that is shared. A frame has 16.7 ms at 60 frames a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from cryoreg.datasets.store.writer import StoreLayout, StoreWriter

RESULTS = Path(__file__).parent / "results/label-page.json"
TOMOGRAMS, CLASSES = 20, 8
FRAMES, STEP = 200, 240
"""Frames of scrolling, and pixels in each: some fourteen thousand a second."""
LABELS = 200
PATIENCE = 1800
Figures = dict[str, Any]

sys.path.append(str(Path(__file__).parents[1] / "tests"))


def make_store(path: Path, count: int, edge: int) -> None:
    """Write a store of volumes whose class is where a blob lies."""
    rng = np.random.default_rng(0)
    layout = StoreLayout(
        ids=[f"particle-{row:05d}" for row in range(count)],
        labels=[row % CLASSES for row in range(count)],
        groups=[f"TS_{row % TOMOGRAMS:02d}" for row in range(count)],
        classes=[f"class {number}" for number in range(CLASSES)],
        box=(edge, edge, edge),
        voxel_size=10.0,
        contrast="bright",
    )
    with StoreWriter(path, layout) as writer:
        for row in range(count):
            volume = rng.normal(size=layout.box).astype(np.float32)
            corner = [edge // 4 + (edge // 4) * (row % CLASSES >> bit & 1) for bit in range(3)]
            volume[tuple(slice(at, at + edge // 4) for at in corner)] += 2
            writer.put(row, volume, None, {})
        writer.finish()


@contextmanager
def page_of(store: Path) -> Iterator[str]:
    """Yield the address of the page, as the command prints it."""
    command = [sys.executable, "-m", "cryoreg_cli", "label", store.name, "--no-browser"]
    server = subprocess.Popen(command, cwd=store.parent, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield next(line.split()[1] for line in server.stdout if line.startswith("page"))
    finally:
        server.terminate()
        server.wait()


def until(happens: Callable[[], object]) -> float:
    """Wait for something; return the seconds that it took."""
    start = time.monotonic()
    while not happens():
        if time.monotonic() > start + PATIENCE:
            raise TimeoutError("it did not happen")
        time.sleep(0.02)
    return time.monotonic() - start


def opening(driver: Any, url: str) -> Figures:
    """Measure how soon the grid is there, and its first pictures."""
    start = time.monotonic()
    driver.get(url)
    until(lambda: driver.execute_script("return document.querySelectorAll('.cell:not([hidden])').length > 8"))
    grid = time.monotonic() - start
    shown = "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/sheets/')).length > 0"
    until(lambda: driver.execute_script(shown))
    return {"seconds_to_grid": grid, "seconds_to_first_sheet": time.monotonic() - start}


def scrolling(driver: Any) -> Figures:
    """Measure frames while the grid scrolls, by the clock and by the processor's time of the main thread."""
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before = _busy(driver)
    frames = driver.execute_async_script(
        """const [count, step, done] = arguments, grid = document.getElementById("grid"), times = [];
        const frame = (now) => {
          times.push(now);
          grid.scrollTop += step;
          if (times.length <= count) requestAnimationFrame(frame); else done(times);
        };
        requestAnimationFrame(frame);""",
        FRAMES,
        STEP,
    )
    busy = _busy(driver) - before
    steps = np.diff(frames)
    return {
        "frames": FRAMES,
        "pixels_a_frame": STEP,
        "main_thread_ms_a_frame": 1000 * busy / FRAMES,
        "ms_between_frames_median": float(np.median(steps)),
        "ms_between_frames_95_percent": float(np.percentile(steps, 95)),
        "cells_in_document": driver.execute_script("return document.querySelectorAll('.cell').length"),
    }


def _busy(driver: Any) -> float:
    metrics = {each["name"]: each["value"] for each in driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    return float(metrics["TaskDuration"])


def sizes(url: str, count: int) -> Figures:
    """Measure what is sent."""
    sheets = [len(urlopen(f"{url}sheets/{look}/0").read()) for look in ("slice", "denoised")]
    start = time.monotonic()
    urlopen(f"{url}sheets/slice/{count // 200}").read()
    return {
        "kB_of_data": len(urlopen(f"{url}data").read()) / 1000,
        "kB_of_a_sheet": statistics.mean(sheets) / 1000,
        "particles_on_a_sheet": 100,
        "seconds_to_a_sheet_in_the_middle": time.monotonic() - start,
    }


def labelling(driver: Any, url: str, folder: Path) -> Figures:
    """Measure how soon a label is on disk and shown, what many have taught, and another arrangement."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.select import Select

    def state() -> Figures:
        found: Figures = json.loads(urlopen(f"{url}changes?since=0&step=-1").read())
        return found

    features = until(lambda: state()["taught"]["groups"])
    say = """const [url, from, count, done] = arguments;
      const changes = [...Array(count).keys()].map((k) => [from + k, `class ${(from + k) % 8}`, ""]);
      fetch(`${url}labels`, { method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify({ changes, source: "several at once" }) }).then((answer) => done(answer.status));"""
    for begin in range(0, LABELS, 50):
        driver.execute_async_script(say, url, begin, 50)
        taught = until(lambda begin=begin: (state()["taught"]["known"] or {}).get("labels") == begin + 50)
    until(lambda: driver.execute_script("return document.querySelectorAll('#classes .class').length") == CLASSES + 1)
    driver.execute_script("document.getElementById('grid').focus()")
    driver.execute_script("document.getElementById('grid').scrollTop = 1e9")
    chosen = driver.execute_script(
        """const cell = [...document.querySelectorAll(".cell:not([hidden])")].at(-1);
        cell.click();
        return cell.dataset.row"""
    )
    labels = folder / "labels.csv"
    ActionChains(driver).send_keys("1").perform()
    saved = until(lambda: f"particle-{int(chosen):05d}," in labels.read_text())
    shown = saved + until(
        lambda: (
            driver.execute_script(f"return document.querySelector('#row-{chosen} .caption')?.className")
            == "caption labelled"
        )
    )
    arranged = {}
    for how in ("groups", "doubt"):
        before = _busy(driver)
        Select(driver.find_element("id", "arrange")).select_by_value(how)
        driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        arranged[how] = 1000 * (_busy(driver) - before)
    return {
        "seconds_until_features_beside_the_rest": features,
        f"seconds_to_learn_{LABELS}_labels": taught,
        "seconds_from_key_to_disk": saved,
        "seconds_from_key_to_shown": shown,
        "main_thread_ms_to_arrange": arranged,
    }


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--box", type=int, default=24, help="voxels")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="JSON")
    options = parser.parse_args()
    from support.browsing import open_browser

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "many.h5"
        make_store(store, options.count, options.box)
        start = time.monotonic()
        with page_of(store) as url:
            figures: Figures = {"seconds_until_served": time.monotonic() - start}
            driver = open_browser(folder)
            driver.set_script_timeout(PATIENCE)
            try:
                figures |= opening(driver, url) | scrolling(driver) | sizes(url, options.count)
                figures |= labelling(driver, url, folder) | {"later": scrolling(driver)}
                version = driver.capabilities["browserVersion"]
            finally:
                driver.quit()
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    found = {"particles": options.count, "box": options.box, "chromium": version, **machine, **figures}
    options.out.write_text(json.dumps(found, indent=1, default=float) + "\n", "utf-8")
    print(json.dumps(found, indent=1, default=float))


if __name__ == "__main__":
    main()
