"""A headless browser; what needs one is skipped with a message where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


def open_browser(folder: Path) -> Any:
    """Start Chromium with a profile of its own, which asks nothing of the network. Whoever opens it says `quit`.

    It asks pages for reduced motion: where a page scrolls smoothly, a click meets what has not yet come to rest.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip("needs chromium and chromedriver, which are not here")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    still = "force-prefers-reduced-motion"
    for flag in ("headless=new", "no-sandbox", "window-size=1300,1000", still, f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    for feature in ("background-networking", "component-update", "sync", "gpu"):
        options.add_argument(f"--disable-{feature}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
