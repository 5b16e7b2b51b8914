"""`cryoreg report`: its figures against independent ones, its page in a browser, hostile names, size."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.browsing import open_browser
from support.synthetic import write_classes

import cryoreg
from cryoreg.analysis.report import NAME, figures
from cryoreg.analysis.report.contents import Contents, gather
from cryoreg.analysis.report.layout import layouts, nearest
from cryoreg.analysis.report.measured import see
from cryoreg.analysis.report.page import payload, render
from cryoreg.analysis.report.run_facts import Course, course, sections, warnings_of_run
from cryoreg.analysis.report.sprites import EDGE, sheet_of, slice_sheet
from cryoreg.analysis.report.wariness import copies_across
from cryoreg.config import Layer
from cryoreg.errors import ConfigError
from cryoreg.inference.embedding import parts_of
from cryoreg.inference.subtomogram_table import COLUMNS
from cryoreg.inference.trained import Trained
from cryoreg_cli.main import cryoreg as command

FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32"}
ENCODER = {"name": "rb3d", "width": 4}
HOSTILE = ["<script>window.hacked=1<!--", 'a&b "quoted" <img src=x onerror=window.hacked=1>', "plain"]
LIMIT_BYTES = 10_000_000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = write_classes(tmp_path_factory.mktemp("data") / "mrc", classes=3, per_class=20)
    for label, name in enumerate(HOSTILE):
        (root / f"class{label}").rename(root / name)
    return {"name": "mrc_folder", "root": root}


@pytest.fixture(scope="module")
def pretrained(source, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    cryoreg.pretrain(run, encoder=ENCODER, dataset=source, epochs=2, probe_every_epochs=1, **FAST)
    return run


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tuned"
    cryoreg.finetune(run, pretrained=pretrained, augmentation="none", epochs=3, lr=0.01, **FAST)
    return run


@pytest.fixture(scope="module")
def contents(tuned) -> Contents:
    trained = Trained.open(tuned, [Layer("test", {"training": {"precision": "fp32"}})])
    return gather(trained, see(trained, 45), 45)


@pytest.fixture(scope="module")
def page(contents, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / NAME
    path.write_text(render(contents), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_figures_are_those_of_evaluate(tuned, contents):
    expected = cryoreg.evaluate(tuned)
    assert contents.part == "test"
    assert contents.figures[0].value == expected.accuracy
    assert contents.figures[0].counted.interval == expected.proportion.interval
    assert contents.evaluation is not None
    np.testing.assert_array_equal(contents.evaluation.confusion, expected.confusion)


def pixels(sheet):
    return np.asarray(Image.open(io.BytesIO(sheet.jpeg)), float)


def test_slices_are_central_and_upright(source):
    dataset = cryoreg.create_dataset(source["name"], root=source["root"])
    sheet = slice_sheet(dataset, [3, 41])
    top, left = sheet.place(1)
    found = pixels(sheet)[top : top + 8, left : left + 8]
    volume = dataset[41].volume[0].numpy()
    grey = np.clip(((volume - volume.mean()) / volume.std() + 3) / 7, 0, 1)[4, ::-1] * 255
    assert np.corrcoef(found.ravel(), grey.ravel())[0, 1] > 0.95


def test_curves_follow_the_logs(pretrained):
    charts = {chart["layout"]["title"]["text"]: chart["data"] for chart in figures.curves(course(pretrained))}
    rows = list(csv.DictReader((pretrained / "metrics.csv").open()))
    loss = charts["loss"][0]
    assert loss["x"] == [1, 2]
    assert loss["y"] == [float(row["loss"]) for row in rows]
    assert [line["name"] for line in charts["validation accuracy"]] == ["linear probe", "kNN probe"]
    assert charts["learning rate"][0]["x"][-1] < 2


def test_settings_that_are_not_the_default_are_marked(tuned):
    found = {section.name: section for section in sections(Trained.open(tuned))}
    marked = {one.key for one in found["encoder"].settings + found["training"].settings if one.changed}
    assert {"width", "lr", "batch_size", "pretrained"} <= marked
    assert not {"momentum", "schedule", "norm"} & marked
    assert found["encoder"].component == "rb3d"
    assert found["encoder"].package == f"cryoreg {cryoreg.__version__}"


def test_warnings(tuned):
    trained = Trained.open(tuned)
    empty = Course({}, {})
    trained.card["metrics"]["epoch"] = 1.0
    assert warnings_of_run(trained, empty) == []
    collapsed = Course({"epoch": [0, 1, 2], "collapsed": [0, 1, 1]}, {})
    assert "collapsed after 2 epochs (the first: 1)" in warnings_of_run(trained, collapsed)[0]
    last = Course({"epoch": [0, 1]}, {})
    assert "still learning" in warnings_of_run(trained, last)[0]
    trained.card["config"]["packages"]["encoder"] = "cryoreg-other 3.1"
    trained.card["voxel_size"] = 99.0
    differ, package = warnings_of_run(trained, empty)
    assert "not the training data" in differ
    assert "came from cryoreg-other 3.1" in package


def test_copies_across_splits_are_told(tuned, source, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(source["root"], root)
    for name in HOSTILE:
        shutil.copy(root / name / "000.mrc", root / name / "001.mrc")
        shutil.copy(root / name / "000.mrc", root / name / "002.mrc")
        shutil.copy(root / name / "000.mrc", root / name / "003.mrc")
    trained = Trained.open(tuned, [Layer("--data", {"dataset": {"root": root}})])
    parts = parts_of(Trained.open(tuned, []))
    (found,) = copies_across(trained, parts, limit=60)
    assert "in more than one split, voxel by voxel" in found
    assert "were not looked for" in copies_across(trained, parts, limit=59)[0]


@pytest.mark.slow
@pytest.mark.usefixtures("without_umap")
def test_figures_of_data_that_changed_since_the_run_are_not_called_held_out(tmp_path):
    root = write_classes(tmp_path / "mrc", classes=2, per_class=10)
    dataset = {"name": "mrc_folder", "root": root}
    cryoreg.finetune(tmp_path / "run", encoder=ENCODER, dataset=dataset, epochs=1, pretrained="scratch", **FAST)
    moved = sorted((root / "class0").iterdir())[0]
    moved.rename(root / "class1" / f"moved{moved.suffix}")
    trained = Trained.classifier(tmp_path / "run")
    found = gather(trained, see(trained, 100), 100)
    assert found.verdict.answer == "not yet"
    assert any("of the 20 that have a label, which it has learnt from" in line for line in found.verdict.sentences)
    changed = (
        "its data or their labels have changed since the run, so nobody can tell what the network has seen of them"
    )
    assert changed in found.warnings


def test_a_pretraining_run_has_a_report_beside_it(pretrained, monkeypatch):
    monkeypatch.setattr("cryoreg.analysis.report.contents.compare_networks", refuse)
    for _ in range(2):  # what is derived may be replaced
        result = CliRunner().invoke(command, ["report", str(pretrained), "--limit", "30"])
        assert result.exit_code == 0, result.output
    text = (pretrained / NAME).read_text()
    assert 'id="confusion"' not in text
    assert "linear probe" in text
    assert "Grad-CAM was not drawn: a single cell" in text
    assert len(json.loads(re.search(r'id="payload">(.*?)</script>', text).group(1))["ids"]) == 30


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.html", "or say --overwrite"),
        ("nowhere/r.html", "no folder"),
        ("r.html", "no weights"),
    ],
)
def test_refused_in_one_line(name, message, tmp_path):
    (tmp_path / "there.html").write_text("mine")
    result = CliRunner().invoke(command, ["report", str(tmp_path / "no run"), "--output", str(tmp_path / name)])
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.html"]
    assert (tmp_path / "there.html").read_text() == "mine"


def refuse(*arguments):
    raise ConfigError("a single cell")


def without_plotly(text: str) -> str:
    from plotly.offline import get_plotlyjs

    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), "")


def test_the_page_needs_no_other_and_is_safe(page):
    own = without_plotly(page.read_text(encoding="utf-8"))
    assert not re.search(r"https?:", own), "no address at all beside plotly's own texts"
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", own)
    assert sources
    assert all(source.startswith(("data:", "#")) or source == "x onerror=window.hacked=1>" for source in sources)
    assert "<script>window.hacked" not in own
    assert "<img src=x" not in own
    assert "&lt;script&gt;window.hacked=1" in own


def test_a_class_has_one_colour_also_where_others_are_never_predicted(contents):
    from dataclasses import replace

    logits = np.zeros((len(contents.shown), 3), np.float32)
    logits[:, 2] = 1
    last = contents.shown.classes[2]
    labels = ["unheard of", *[last] * (len(logits) - 1)]
    colours = payload(replace(contents, shown=replace(contents.shown, logits=logits, labels=labels)))["colours"]
    assert set(colours["prediction"]["codes"]) == set(colours["label"]["codes"][1:]) == {2}
    assert colours["prediction"]["names"] == colours["label"]["names"] == [*contents.shown.classes, "unheard of"]


def noisy_page(contents: Contents, count: int = 5000) -> str:
    """A report of many subtomograms, of 32³ voxels of noise, which is what compresses worst."""
    from dataclasses import replace

    rng = np.random.default_rng(0)
    tiles = np.clip(rng.normal(109, 36, (count, EDGE, EDGE)), 0, 255).astype(np.uint8)
    features = rng.normal(size=(count, 16)).astype(np.float32)
    labels = [contents.evaluation.classes[row % 3] for row in range(count)]
    texts = {"ids": [f"tomogram_{row // 10:05d}/particle_{row:06d}" for row in range(count)], "labels": labels}
    groups = [f"tomogram_{row // 10:05d}" for row in range(count)]
    shown = replace(
        contents.shown,
        **texts,
        **{"groups": groups, "files": groups, "rows": list(range(count)), "parts": ["test"] * count},
        features=features,
        logits=features[:, :3],
    )
    plain = layouts(features[:, :2])[-1:] * 2
    neighbours = nearest(features)
    return render(replace(contents, shown=shown, sheet=sheet_of(tiles), layouts=plain, neighbours=neighbours))


@pytest.mark.slow
@pytest.mark.usefixtures("without_umap")
def test_5000_noisy_subtomograms_stay_below_10_mb(contents):
    size = len(noisy_page(contents).encode())
    assert 6e6 < size < LIMIT_BYTES


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    driver = open_browser(folder)
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    driver.downloads = folder
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def opened(browser, page):
    browser.get(f"file://{page}")
    wait(lambda: browser.execute_script("return document.documentElement.dataset.ready") == "true")
    return browser


def wait(happens, seconds: float = 30):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def shown_points(driver) -> list[int]:
    script = "return document.querySelector('#scatter').data.flatMap((trace) => trace.customdata)"
    return driver.execute_script(script)


@pytest.mark.slow
def test_in_a_browser_all_is_drawn_without_a_complaint(opened, contents):
    assert sorted(shown_points(opened)) == list(range(45))
    assert len(opened.find_elements("css selector", "#scatter .point")) == 45
    for chart in ("confusion", "reliability", "curve-0"):
        assert opened.find_elements("css selector", f"#{chart} .main-svg")
    assert opened.execute_script("return window.hacked") is None
    assert opened.get_log("browser") == []
    names = [cell.text for cell in opened.find_elements("css selector", "#classes tbody th")]
    assert names == list(contents.evaluation.classes)
    ticks = [tick.text for tick in opened.find_elements("css selector", "#confusion .ytick text")]
    assert [tick.rstrip("…") for tick in ticks] == [name[:17] if len(name) > 18 else name for name in names]


@pytest.mark.slow
def test_in_a_browser_colours_and_maps_switch(opened, contents):
    from selenium.webdriver.support.select import Select

    menu = Select(opened.find_element("id", "colour"))
    assert [option.text for option in menu.options] == ["label", "prediction", "right or wrong", "split", "confidence"]
    menu.select_by_visible_text("split")
    names = opened.execute_script("return document.querySelector('#scatter').data.map((trace) => trace.name)")
    assert names == ["test", "train", "val"]
    sizes = opened.execute_script("return document.querySelector('#scatter').data.map((trace) => trace.x.length)")
    assert dict(zip(names, sizes, strict=True)) == Counter(contents.shown.parts)
    menu.select_by_visible_text("confidence")
    colours = opened.execute_script("return document.querySelector('#scatter').data[0].marker.color")
    np.testing.assert_allclose(colours, contents.shown.confidences, atol=6e-4)
    opened.find_element("css selector", "[data-layout='1']").click()
    across = opened.execute_script("return document.querySelector('#scatter').data[0].x")
    np.testing.assert_allclose(across, contents.layouts[1].points[:, 0], rtol=1e-3)
    menu.select_by_visible_text("label")


@pytest.mark.slow
def test_in_a_browser_pointing_shows_the_slice(opened, contents):
    from selenium.webdriver.common.action_chains import ActionChains

    point = opened.find_elements("css selector", "#scatter .point")[7]
    opened.execute_script("document.querySelector('#map').scrollIntoView({behavior: 'instant'})")
    ActionChains(opened).move_to_element(point).perform()
    card = opened.find_element("id", "card")
    wait(card.is_displayed)
    row = int(opened.execute_script("return document.querySelector('#card canvas').dataset.drawn"))
    assert contents.shown.ids[row] in card.text
    assert contents.shown.labels[row] in card.text
    script = """const canvas = document.querySelector('#card canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return Array.from(data).filter((_, number) => number % 4 === 0);"""
    (top, left), (height, width) = contents.sheet.place(row), contents.sheet.tile
    expected = pixels(contents.sheet)[top : top + height, left : left + width]
    np.testing.assert_allclose(np.reshape(opened.execute_script(script), (height, width)), expected, atol=2)


@pytest.mark.slow
def test_in_a_browser_drawing_around_points_saves_their_ids(opened, contents):
    from selenium.webdriver.common.action_chains import ActionChains

    plot = opened.find_element("css selector", "#scatter .nsewdrag")
    opened.execute_script("document.querySelector('#map').scrollIntoView({behavior: 'instant'})")
    across, up = (int(0.49 * plot.size[side]) for side in ("width", "height"))
    actions = ActionChains(opened, duration=80).move_to_element_with_offset(plot, -across, -up).click_and_hold()
    for step in ((2 * across, 0), (0, 2 * up), (-2 * across, 0)):
        actions.move_by_offset(*step).pause(0.1)  # a browser takes one position of the mouse for each frame
    actions.release().perform()
    label = opened.find_element("id", "selected")
    wait(lambda: "selected" in label.text and "nothing" not in label.text)
    chosen = int(label.text.split()[0])
    assert chosen > 30, "nearly all of 45 were drawn around"
    opened.find_element("id", "csv").click()
    opened.find_element("id", "txt").click()
    wait(lambda: all((opened.downloads / f"selected.{kind}").exists() for kind in ("csv", "txt")))
    ids = (opened.downloads / "selected.txt").read_text(encoding="utf-8").splitlines()
    with (opened.downloads / "selected.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ids
    assert len(set(ids)) == chosen
    assert list(rows[0]) == [name for name in COLUMNS if name in rows[0]]
    known = dict(zip(contents.shown.ids, contents.shown.labels, strict=True))
    assert all(known[row["id"]] == row["label"] for row in rows)


def test_in_a_browser_a_click_shows_neighbours(opened, contents):
    opened.execute_script(
        "document.querySelector('#scatter').emit('plotly_click', {points: [{customdata: arguments[0]}]})", 12
    )
    captions = [code.text for code in opened.find_elements("css selector", "#clicked code")]
    assert captions == [contents.shown.ids[row] for row in (12, *contents.neighbours.rows[12])]


@pytest.mark.slow
def test_in_a_browser_light_and_dark(opened):
    paper = "return getComputedStyle(document.body).backgroundColor"
    script = "return document.querySelector('#scatter')._fullLayout.font.color"
    before, ink = opened.execute_script(paper), opened.execute_script(script)
    opened.execute_script("scrollTo({top: 0, behavior: 'instant'})")
    opened.find_element("id", "theme").click()
    assert opened.execute_script(paper) != before
    assert opened.execute_script(script) != ink
    opened.find_element("id", "theme").click()
    assert opened.execute_script(paper) == before
    assert opened.get_log("browser") == []


def test_a_run_from_weights_by_name_says_where_these_are_no_more():
    weights = {"training": {"pretrained": "rb3d_universe"}, "encoder": {"name": "rb3d"}}
    card = {"config": {**weights, "packages": {"encoder": "cryoreg 0.0.1", "weights": "cryoreg 0.0.1"}}}
    trained = SimpleNamespace(card=card, differences=list)
    here = f"came from cryoreg 0.0.1; here it is cryoreg {cryoreg.__version__}"
    assert warnings_of_run(trained, Course({}, {})) == [f"encoder 'rb3d' {here}", f"weights 'rb3d_universe' {here}"]
    weights["training"]["pretrained"] = "gone"
    assert "weights 'gone' came from cryoreg 0.0.1, which is not installed here" in warnings_of_run(
        trained, Course({}, {})
    )
    card["config"]["packages"] = {"weights": f"cryoreg {cryoreg.__version__}"}  # which has it under that name no more
    assert warnings_of_run(trained, Course({}, {})) == []
    card["config"]["packages"] = {"weights": "nobody-s-package 1.0"}
    assert warnings_of_run(trained, Course({}, {})) == [
        "weights 'gone' came from nobody-s-package 1.0, which is not installed here"
    ]
