"""Make the pictures of these pages anew, from the embedded data, so that they show what there is.

    python docs/screenshots.py [NAME ...]

Needs Chromium and its driver. Each picture is made by the command that its page speaks of, in a folder of its own, and
lies in `assets`. A test sees to it that each is in a page, with words for those who do not see it, and is small.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from rich.ansi import AnsiDecoder
from rich.console import Console

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs/assets"
CLASSES = ("C2", "C4", "C6", "D2", "D7", "O")
"""Of the ten classes of the embedded data: those that are labelled on the page of labels."""
LABELLED, WEIGHTS = 8, "rb3d_universe"
WIDTH, HEIGHT = 1280, 1100
WIDEST, QUALITY = 1280, 80
PATIENCE = 1200
"""Seconds that a page may take, on a busy machine."""

sys.path.append(str(ROOT / "tests"))


def run(folder: Path, *words: str) -> str:
    """Run cryoreg in a folder; return what it says."""
    command = [sys.executable, "-m", "cryoreg_cli", *words]
    alone = {**os.environ, "CRYOREG_PLUGINS": ""}  # the same pictures, whatever else is installed
    return subprocess.run(command, cwd=folder, env=alone, check=True, stdout=subprocess.PIPE, text=True).stdout


def demo(folder: Path) -> str:
    """Return the name of a store with the embedded data."""
    if not (folder / "demo.h5").exists():
        run(folder, "convert", "--dataset", "demo", "--output", "demo.h5")
    return "demo.h5"


def save(source: Path, name: str, keep: Callable[[Image.Image], Image.Image] = lambda image: image) -> None:
    """Save a picture as WebP, no wider than pages are."""
    image = keep(Image.open(source).convert("RGB"))
    image.thumbnail((WIDEST, 10 * WIDEST))
    image.save(ASSETS / name, quality=QUALITY, method=6)


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Yield a headless browser whose window is as wide as a page of ours."""
    from support.browsing import open_browser

    driver = open_browser(folder)
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        yield driver
    finally:
        driver.quit()


def wait(happens: Callable[[], object]) -> None:
    """Wait for what a page shows by and by."""
    end = time.monotonic() + PATIENCE
    while not happens():
        if time.monotonic() > end:
            raise TimeoutError("the page does not show what it should")
        time.sleep(0.3)


def label_page(folder: Path) -> None:
    """Some labels of six classes, and what they suggest of the others."""
    store = demo(folder)
    server = subprocess.Popen(
        [sys.executable, "-m", "cryoreg_cli", "label", store, "--no-browser", "--labels-from", _some_labels(folder)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = next(line.split()[1] for line in server.stdout if line.startswith("page"))
        with browser(folder) as driver:
            _arrange(driver, url)
            driver.save_screenshot(str(folder / "label.png"))
    finally:
        server.terminate()
    save(folder / "label.png", "label.webp")


def _some_labels(folder: Path) -> str:
    """Write the true classes of the first few of some."""
    import cryoreg

    dataset = cryoreg.create_dataset("demo")
    names = [dataset.classes[label] for label in dataset.labels if label is not None]
    rows = [row for name in CLASSES for row in [row for row, one in enumerate(names) if one == name][:LABELLED]]
    lines = [f"{dataset.ids[row]},{names[row]}" for row in rows]
    (folder / "some.csv").write_text("\n".join(["id,class", *lines]) + "\n")
    return "some.csv"


def _arrange(driver: Any, url: str) -> None:
    """Show denoised pictures, and the map of features beside them."""
    from selenium.webdriver.support.select import Select

    driver.get(url)
    wait(lambda: driver.execute_script("return document.getElementById('layout').value") == "UMAP")
    wait(lambda: "guessed right" in driver.find_element("id", "state").text)
    Select(driver.find_element("id", "look")).select_by_value("denoised")
    pictures = """return [...document.querySelectorAll(".cell:not([hidden]) .picture")].map(
        (each) => each.style.backgroundImage.slice(5, -2))"""
    loaded = """const names = performance.getEntriesByType("resource").map((each) => each.name);
        return arguments[0].every((each) => names.some((name) => name.endsWith(each)))"""
    wait(lambda: driver.execute_script(loaded, driver.execute_script(pictures)))
    driver.execute_script("document.activeElement.blur()")
    time.sleep(1)


def report_page(folder: Path) -> None:
    """The map of features in a report of the data alone."""
    run(folder, "report", "--from", WEIGHTS, "--data", demo(folder), "--output", "report.html")
    with browser(folder) as driver:
        driver.get((folder / "report.html").as_uri())
        driver.execute_script("document.getElementById('map').scrollIntoView()")
        time.sleep(3)
        driver.save_screenshot(str(folder / "report.png"))
    save(folder / "report.png", "report.webp")


def clusters(folder: Path) -> None:
    """Clusters, their means and examples."""
    words = ("--clusters", "10", "--output", "clusters.csv", "--montage", "clusters.png")
    run(folder, "cluster", "--from", WEIGHTS, "--data", demo(folder), *words)
    save(folder / "clusters.png", "clusters.webp")


def views(folder: Path) -> None:
    """Subtomograms and their augmented views."""
    run(folder, "preview", demo(folder), "--augmentation", "cryoet", "--count", "3", "--output", "views.png")
    save(folder / "views.png", "views.webp")


def average(folder: Path) -> None:
    """The average of a class, its halves and their Fourier shell correlation."""
    run(folder, "average", "D7", "--data", demo(folder), "--limit", "60", "--output", "average.mrc")
    save(folder / "average.png", "average.webp")


def command_line(folder: Path) -> None:
    """The commands by the steps of the work, as a terminal shows them."""
    console = Console(record=True, width=80, file=(folder / "out").open("w"), force_terminal=True)
    console.print("$ cryoreg --help", style="bold", highlight=False)
    for line in AnsiDecoder().decode(run(folder, "--help")):
        console.print(line, highlight=False)
    text = console.export_svg(title="cryoreg --help", unique_id="help")
    text = re.sub(r"<!--.*?-->", "", text)
    text = re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)  # which would be fetched
    (ASSETS / "help.svg").write_text(text.replace("Fira Code", "ui-monospace, Menlo, Consolas"), "utf-8")


PICTURES: Mapping[str, Callable[[Path], None]] = {
    "label.webp": label_page,
    "report.webp": report_page,
    "clusters.webp": clusters,
    "views.webp": views,
    "average.webp": average,
    "help.svg": command_line,
}
"""File in `assets` -> how it is made."""


def main() -> None:
    """Make those that are named, or all."""
    names = sys.argv[1:] or list(PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            PICTURES[name](Path(folder))
            print(f"{name:<14} {(ASSETS / name).stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
