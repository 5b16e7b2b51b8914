"""The page of `cryoreg label` in a browser: real clicks and keys, a lasso, ten thousand particles, light and dark."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from support.browsing import open_browser
from support.labelling import ALONE, TOKEN, label_run

from cryoreg.contracts import Sample, Subtomograms
from cryoreg.labelling.opening import open_session, open_source, prepare
from cryoreg.labelling.session import Row, Session

uvicorn = pytest.importorskip("uvicorn", reason="needs cryoreg[label]")
pytestmark = pytest.mark.slow


def wait(happens, seconds=120):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@contextmanager
def serving(session):
    """Serve a session on a port of its own; yield the address of its page, and what stops the server."""
    from cryoreg.labelling.server import make_app

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(make_app(session, TOKEN), log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()

        def stop():
            server.should_exit = True
            thread.join(timeout=30)

        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}/", stop
        stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return open_source(label_run(tmp_path_factory.mktemp("label")), None, ALONE)


@pytest.fixture
def session(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("cryoreg.labelling.teaching.umap", lambda components: components[:, 1::-1])
    return open_session(trained, tmp_path / "labels.csv", "my particles", ["ring", "rod"])


@pytest.fixture
def opened(session, browser):
    with serving(session) as (url, _):
        open_page(browser, url)
        yield session
    session.teacher.stop()


def open_page(browser, url):
    browser.get("about:blank")  # an earlier page may still ask a server that has ended
    browser.get_log("browser")
    browser.get(url)
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready") == "true")


def press(browser, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def text(browser, name):
    return browser.execute_script("return document.getElementById(arguments[0]).textContent", name)


def choose(browser, name, value):
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", name)).select_by_value(value)


def next_frames(browser, number=3):
    """Wait until a page has drawn what it was told, which it does with the frame after."""
    after = "const on = (left) => (left ? requestAnimationFrame(() => on(left - 1)) : arguments[1]()); on(arguments[0])"
    browser.execute_async_script(after, number)


def test_keys_label_undo_and_go_on(opened, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    session = opened
    told = "return document.querySelector('.cell.at:not([hidden])')?.getAttribute('aria-label') ?? ''"
    press(browser, "1", "2", "j")
    wait(lambda: session.labels() == {0: "ring", 1: "rod", 2: "junk"})
    wait(lambda: browser.execute_script(told).startswith(f"{session.ids[3]}, no class"))
    press(browser, "u")
    wait(lambda: session.labels() == {0: "ring", 1: "rod"})
    right = [Keys.ARROW_RIGHT] * 2
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(*right).key_up(Keys.SHIFT).perform()
    wait(lambda: text(browser, "chosen") == "3 selected")
    press(browser, "c")
    wait(lambda: browser.switch_to.active_element.get_attribute("id") == "new-name")
    press(browser, *"tube 5", Keys.ENTER)
    wait(lambda: session.labels() == {0: "ring", 1: "rod", 3: "tube 5", 4: "tube 5", 5: "tube 5"})
    assert session.file.path.read_text().count("several at once") == 3
    names = "return [...document.querySelectorAll('#classes .name')].map((each) => each.textContent)"
    wait(lambda: browser.execute_script(names) == ["ring", "rod", "tube 5", "junk"])
    choose(browser, "show", "class:tube 5")
    wait(lambda: text(browser, "shown") == "3 of 60 shown")
    press(browser, Keys.ESCAPE, Keys.HOME, Keys.ARROW_RIGHT, Keys.BACKSPACE)
    wait(lambda: session.labels() == {0: "ring", 1: "rod", 3: "tube 5", 5: "tube 5"})
    assert browser.get_log("browser") == []


def test_suggestions_come_are_accepted_and_ask_for_more(opened, browser, trained):
    from selenium.webdriver.common.keys import Keys

    session = opened
    session.teacher.start()
    session.label([Row(row, "ring" if row < 30 else "rod", "") for row in (*range(5), *range(30, 35))], "one by one")
    wait(lambda: "From 10 labels" in text(browser, "state"))
    assert "95 % interval" in text(browser, "state")
    choose(browser, "show", "suggested:rod")
    wait(lambda: int(text(browser, "shown").split()[0]) > 15)
    number = int(text(browser, "shown").split()[0])
    browser.find_element("id", "all").click()
    press(browser, Keys.ENTER)
    wait(lambda: sum(name == "rod" for name in session.labels().values()) == 5 + number)
    assert session.file.path.read_text().count(",suggestion") == number
    wait(lambda: f"From {10 + number} labels" in text(browser, "state"))
    browser.find_element("id", "next").click()
    wait(lambda: browser.execute_script("return document.getElementById('arrange').value") == "next")
    first = "return Number(document.querySelector('.cell:not([hidden])[aria-posinset=\"1\"]')?.dataset.row)"
    wait(lambda: browser.execute_script(first) in session.teacher.next)  # the grid is drawn with the next frame


def test_what_is_drawn_around_is_shown_and_labelled(opened, browser):
    from selenium.webdriver.common.action_chains import ActionChains

    session = opened
    session.teacher.start()
    wait(lambda: len(session.teacher.layouts) == 2)
    points = browser.find_element("id", "points")
    wait(lambda: browser.execute_script("return document.getElementById('layout').value") == "UMAP")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", points)
    next_frames(browser)  # the map is drawn once it is in view
    across, up = (int(0.48 * points.size[side]) for side in ("width", "height"))
    actions = ActionChains(browser, duration=80).move_to_element_with_offset(points, -across, -up).click_and_hold()
    for step in ((across, 0), (0, 2 * up), (-across, 0)):
        actions.move_by_offset(*step).pause(0.1)  # a browser takes one position of the mouse for each frame
    actions.release().perform()
    places = session.teacher.layouts["UMAP"][:, 0]
    left = set(np.flatnonzero(places < (places.min() + places.max()) / 2).tolist())
    wait(lambda: "selected" in text(browser, "chosen"))
    press(browser, "1")
    wait(lambda: session.labels())
    assert len(left ^ set(session.labels())) <= 2, "but for points on the line"
    assert text(browser, "shown") == f"{len(session.labels())} of 60 shown"


def test_clusters_of_a_file_arrange_the_grid_at_first(session, browser, tmp_path):
    rows = [f"{name},{1 + row % 3}" for row, name in enumerate(session.ids)]
    (tmp_path / "clusters.csv").write_text("\n".join(["id,cluster", *rows]) + "\n")
    prepare(session, None, tmp_path / "clusters.csv", data_classes=False)
    with serving(session) as (url, _):
        open_page(browser, url)
        first = """return [...document.querySelectorAll(".cell:not([hidden])")].map((each) =>
            [Number(each.getAttribute("aria-posinset")), Number(each.dataset.row)])"""
        by_cluster = [[place, 3 * (place - 1)] for place in range(1, 7)]
        wait(lambda: sorted(browser.execute_script(first))[:6] == by_cluster)
        choose(browser, "show", "said:1")
        wait(lambda: text(browser, "shown") == "20 of 60 shown")


def test_two_browsers_see_each_other_and_neither_overwrites(opened, browser):
    session = opened
    session.label([Row(0, "rod", "")], "one by one")
    caption = "return document.querySelector('#row-0 .caption')?.textContent"
    wait(lambda: browser.execute_script(caption) == "rod")
    browser.execute_async_script(
        """const done = arguments[0];
        import(new URL("static/store.js", location)).then(({ state, label }) => {
          state.labels[0] = "";  // as it was before the other one's label had come
          label([0, 1], "ring", "several at once").then(done);
        });"""
    )
    assert session.labels() == {0: "rod", 1: "ring"}
    assert "1 had been labelled by somebody else" in text(browser, "alarm")
    wait(lambda: browser.execute_script(caption) == "rod")


def test_undo_goes_on_after_a_reload_and_after_another_start(session, browser, trained):
    undo = "return !document.getElementById('undo').disabled"
    with serving(session) as (url, _):
        open_page(browser, url)
        press(browser, "1", "2", "2")
        wait(lambda: session.labels() == {0: "ring", 1: "rod", 2: "rod"})
        open_page(browser, url)
        press(browser, "u")
        wait(lambda: session.labels() == {0: "ring", 1: "rod"})
    again = Session(trained.dataset, session.file.path, "my particles")
    with serving(again) as (url, _):
        open_page(browser, url)
        wait(lambda: browser.execute_script(undo))
        browser.find_element("id", "undo").click()
        wait(lambda: again.labels() == {0: "ring"})
        press(browser, "u")
        wait(lambda: again.labels() == {})
        wait(lambda: not browser.execute_script(undo))
    assert [row.split(",")[1] for row in session.file.path.read_text().splitlines()[1:]] == [
        "ring",
        "rod",
        "rod",
        *[""] * 3,
    ]


NAMES = "return [...document.querySelectorAll('#classes .name')].map((each) => each.textContent)"


def type_class(browser, name):
    from selenium.webdriver.common.keys import Keys

    press(browser, "c")
    wait(lambda: browser.switch_to.active_element.get_attribute("id") == "new-name")
    press(browser, *name, Keys.ENTER)


def rename(browser, old, new):
    from selenium.webdriver.common.keys import Keys

    browser.find_element("css selector", f"[aria-label='rename {old}']").click()
    press(browser, Keys.BACKSPACE, *new, Keys.ENTER)


def test_what_is_clicked_is_not_drawn_anew_meanwhile(session, browser):
    """A press and its release may have a label, or a new class, between them; so may two presses of Tab."""
    with serving(session) as (url, _):
        open_page(browser, url)
        button, pen = (
            browser.find_element("css selector", f"#classes li:first-child .{each}") for each in ("class", "rename")
        )
        session.name_class("arch")
        session.label([Row(4, "ring", "")], "elsewhere")
        wait(lambda: "1 so far" in button.get_attribute("aria-label"))
        assert browser.execute_script(NAMES) == ["ring", "rod", "arch", "junk"]
        browser.execute_script("arguments[0].focus()", button)
        session.label([Row(5, "ring", "")], "elsewhere")
        wait(lambda: "2 so far" in button.get_attribute("aria-label"))
        assert browser.switch_to.active_element == button
        pen.click()
        assert browser.switch_to.active_element.get_attribute("value") == "ring"


def test_a_class_that_nothing_has_yet_is_kept(session, browser, trained):
    """A reload, another page at the same time, and another start know it; renamed, it keeps its key."""
    other = Session(trained.dataset, session.file.path, "my particles", ["ring", "rod"])
    with serving(session) as (url, _), serving(other) as (elsewhere, _):
        open_page(browser, url)
        first = browser.current_window_handle
        type_class(browser, "tube")
        type_class(browser, "constructor")
        wait(lambda: browser.execute_script(NAMES) == ["ring", "rod", "tube", "constructor", "junk"])
        open_page(browser, url)
        assert browser.execute_script(NAMES) == ["ring", "rod", "tube", "constructor", "junk"]
        browser.switch_to.new_window("tab")
        try:
            open_page(browser, elsewhere)
            rename(browser, "tube", "coil")
            wait(lambda: browser.execute_script(NAMES) == ["ring", "rod", "coil", "constructor", "junk"])
            rename(browser, "rod", "")
            wait(lambda: browser.execute_script(NAMES) == ["ring", "coil", "constructor", "junk"])
        finally:
            browser.close()
            browser.switch_to.window(first)
        wait(lambda: browser.execute_script(NAMES) == ["ring", "coil", "constructor", "junk"])
        press(browser, "2")
        wait(lambda: session.labels() == {0: "coil"})
        rename(browser, "coil", "helix")
        wait(lambda: session.labels() == {0: "helix"})
        press(browser, "u")
        wait(lambda: browser.execute_script(NAMES) == ["ring", "coil", "constructor", "junk"])
        assert session.labels() == {0: "coil"}
        assert browser.get_log("browser") == []
    again = Session(trained.dataset, session.file.path, "my particles", ["ring", "rod"])
    assert again.classes() == ["ring", "coil", "constructor"]
    session.teacher.stop()


def test_lists_are_saved_and_what_they_lack_is_told(opened, browser, tmp_path, monkeypatch):
    opened.label([Row(0, "ring", ""), Row(1, "rod", "")], "one by one")
    (tmp_path / "saved").mkdir()
    where = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    browser.find_element("id", "save-tbl").click()
    wait(lambda: "write CSV" in text(browser, "alarm"))
    monkeypatch.setattr("cryoreg.labelling.server.notes_on_files", lambda *_: ["note: one is at /another folder"])
    browser.find_element("id", "save-csv").click()
    wait(lambda: text(browser, "alarm") == "note: one is at another folder")
    wait(lambda: (tmp_path / "saved" / "labels.csv").exists())
    rows = (tmp_path / "saved" / "labels.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows] == [["id", "class"], [opened.ids[0], "ring"], [opened.ids[1], "rod"]]
    monkeypatch.undo()
    browser.find_element("id", "save-star").click()
    wait(lambda: text(browser, "alarm") == "")
    wait(lambda: (tmp_path / "saved" / "labels.star").exists())


def test_a_label_that_is_not_saved_is_not_shown_as_one(session, browser):
    with serving(session) as (url, stop):
        open_page(browser, url)
        stop()
        press(browser, "1")
        wait(lambda: "not saved" in text(browser, "alarm"))
        assert "0 of 60 labelled" in text(browser, "progress")
    assert session.labels() == {}


def test_all_that_can_be_used_has_a_name_and_is_reached_by_keys(opened, browser):
    from selenium.webdriver.common.keys import Keys

    names = """return [...document.querySelectorAll("button, input, select, a, canvas, img, [role=option], [tabindex]")]
      .filter((each) => each.checkVisibility()).map((each) => [each.outerHTML.slice(0, 80),
        each.getAttribute("aria-label") || each.alt || each.labels?.[0]?.textContent || each.textContent])"""
    wait(lambda: browser.execute_script("return document.querySelectorAll('#looks img').length") == 4)
    assert [html for html, name in browser.execute_script(names) if not name.strip()] == []
    reached = set()
    for _ in range(40):
        press(browser, Keys.TAB)
        reached.add(browser.execute_script("return document.activeElement.id || document.activeElement.className"))
    assert {
        "grid",
        "arrange",
        "show",
        "look",
        "size",
        "class",
        "rename",
        "new-name",
        "turn",
        "layout",
        "help",
    } <= reached
    browser.find_element("id", "grid").send_keys("?")
    assert browser.find_element("id", "keys").is_displayed()
    press(browser, "1", Keys.ESCAPE)
    assert opened.labels() == {}, "keys say nothing while their list is open"


@pytest.mark.parametrize("width", [1280, 800])
def test_light_and_dark_wide_and_narrow(opened, browser, width):
    size = browser.get_window_size()
    try:
        browser.set_window_size(width, 900)
        inside = "return document.documentElement.scrollWidth <= innerWidth"
        contrast = """const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
          const light = (text) => { const [r, g, b] = rgb(text); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
          const style = getComputedStyle(document.getElementById("progress")), paper = getComputedStyle(document.body);
          const [a, b] = [light(style.color), light(paper.backgroundColor)];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);"""
        papers = set()
        for _ in range(2):
            browser.find_element("id", "theme").click()
            papers.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
            assert browser.execute_script(inside)
            assert browser.execute_script(contrast) > 4.5, "what WCAG asks for"
        assert len(papers) == 2
        assert browser.find_element("id", "classes").is_displayed()
    finally:
        browser.set_window_size(size["width"], size["height"])


class Many(Subtomograms):
    """Ten thousand volumes of noise, made when they are read."""

    classes, voxel_size, box = (), 10.0, (8, 8, 8)

    def __init__(self, count):
        self.ids = [f"particle-{row}" for row in range(count)]
        self.labels = self.groups = [None] * count

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        volume = torch.from_numpy(np.random.default_rng(index).normal(size=(1, 8, 8, 8)).astype(np.float32))
        return Sample(volume, None, self.ids[index], None)


def test_ten_thousand_particles_stay_few_in_the_document(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    session = Session(Many(10_000), tmp_path / "labels.csv", "many", ["ring"])
    with serving(session) as (url, _):
        open_page(browser, url)
        cells = "return document.querySelectorAll('.cell').length"
        seen = """const { top, bottom } = document.getElementById("grid").getBoundingClientRect();
          const boxes = [...document.querySelectorAll(".cell:not([hidden])")].map((one) => one.getBoundingClientRect());
          return boxes.filter((each) => each.bottom > top && each.top < bottom).length;"""
        asked = "return performance.getEntriesByType('resource').map((each) => each.name)"
        caption = "return document.querySelector('#row-9999 .caption')?.textContent"
        assert browser.execute_script(cells) < 200
        press(browser, Keys.END, "1")
        wait(lambda: session.labels() == {9999: "ring"})
        wait(lambda: browser.execute_script(caption) == "ring")
        for place in range(5):
            browser.execute_script("document.getElementById('grid').scrollTop = arguments[0]", 17_771 * place)
            wait(lambda: browser.execute_script(seen) > 20)
        assert browser.execute_script(cells) < 200
        sheets = {name for name in browser.execute_script(asked) if "/sheets/" in name}
        assert len(sheets) < 40, "of a hundred; those that were in view"
        press(browser, Keys.HOME)
        browser.find_element("id", "all").click()
        press(browser, "1")
        wait(lambda: len(session.labels()) == 10_000)
        assert browser.get_log("browser") == []
