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
import torch
from click.testing import CliRunner
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score
from support.browsing import open_browser
from support.synthetic import write_classes

import cryoreg
from cryoreg.analysis.report import NAME, figures
from cryoreg.analysis.report.contents import Contents, choose_shown, copies_across, gather
from cryoreg.analysis.report.layout import Neighbours, layouts, nearest, same_threads
from cryoreg.analysis.report.page import render
from cryoreg.analysis.report.quality import class_rows, confident_mistakes, evaluation_of, reliabilities
from cryoreg.analysis.report.run_facts import Course, course, sections, warnings_of_run
from cryoreg.analysis.report.sprites import EDGE, sheet_of, slice_sheet
from cryoreg.config import Layer
from cryoreg.errors import ConfigError
from cryoreg.inference.embedding import Embedding, parts_of
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
    return gather(Trained.open(tuned, [Layer("test", {"training": {"precision": "fp32"}})]), limit=45)


@pytest.fixture(scope="module")
def page(contents, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / NAME
    path.write_text(render(contents), encoding="utf-8")
    return path


def embedding(labels, logits, **changes) -> Embedding:
    """An embedding by a classifier of a, b and c."""
    count = len(labels)
    logits = np.asarray(logits, np.float32)
    card = {"classes": ["a", "b", "c"], "data": "", "calibration": {"temperature": 2.0}}
    known = {
        "samples": np.arange(count),
        "ids": [f"s{i}" for i in range(count)],
        "labels": labels,
        "features": logits,
        "logits": logits,
        "card": card,
        **dict.fromkeys(("groups", "files", "rows", "parts"), [None] * count),
    }
    return Embedding(**(known | changes))


@pytest.fixture(scope="module")
def judged() -> Embedding:
    rng = np.random.default_rng(0)
    labels = [None if draw == 3 else "abc"[draw] for draw in rng.integers(0, 4, 300)]
    logits = rng.normal(size=(300, 3)) + [[2.0 * (name == label) for name in "abc"] for label in labels]
    return embedding(labels, 4 * logits)  # where 2 would be the odds of this making


@pytest.mark.slow
def test_the_figures_are_those_of_evaluate(tuned, contents):
    expected = cryoreg.evaluate(tuned)
    assert contents.part == "test"
    assert contents.figures[0].value == expected.accuracy
    assert contents.figures[0].counted.interval == expected.proportion.interval
    assert contents.evaluation is not None
    np.testing.assert_array_equal(contents.evaluation.confusion, expected.confusion)


def test_class_table_and_confusion_agree_with_sklearn(judged):
    evaluation = evaluation_of(judged, np.arange(300), "all")
    truth = [label for label in judged.labels if label]
    said = [name for label, name in zip(judged.labels, judged.predictions, strict=True) if label]
    figures_of = {"labels": list("abc"), "average": None}
    for column, score in (("precision", precision_score), ("accuracy", recall_score), ("f1", f1_score)):
        found = [getattr(row, column) for row in class_rows(evaluation)]
        np.testing.assert_allclose(found, score(truth, said, **figures_of))
    counts = Counter(truth)
    assert [row.subtomograms for row in class_rows(evaluation)] == [counts[name] for name in "abc"]
    heat = figures.confusion(evaluation)["data"][0]
    expected = confusion_matrix(truth, said)
    np.testing.assert_array_equal(heat["text"], expected)
    np.testing.assert_allclose(heat["z"], 100 * expected / expected.sum(1, keepdims=True), atol=0.01)


def test_reliability_agrees_with_a_slow_count(judged):
    evaluation = evaluation_of(judged, np.arange(300), "all")
    before, after = reliabilities(evaluation)
    assert after.error < before.error, "logits were made twice too large, and T is 2"
    for found, confidences in ((before, evaluation.uncalibrated), (after, evaluation.confidences)):
        rows = []
        for low in range(15):
            held = [i for i, c in enumerate(confidences) if low / 15 < c <= (low + 1) / 15]
            if held:
                right = [evaluation.labels[i] == evaluation.predictions[i] for i in held]
                rows.append((np.mean([confidences[i] for i in held]), np.mean(right), len(held)))
        np.testing.assert_allclose([(one.confidence, one.accuracy, one.subtomograms) for one in found.bins], rows)


def test_mistakes_are_wrong_and_the_most_confident():
    logits = [[5, 0, 0], [0, 9, 0], [0, 0, 7], [3, 0, 0], [0, 8, 0]]
    judged = embedding(["b", "a", "c", "b", None], logits)
    assert confident_mistakes(judged, np.arange(5)) == [1, 0, 3]
    assert confident_mistakes(judged, np.array([0, 2, 3]), count=1) == [0]


def test_pca_is_that_of_a_singular_value_decomposition():
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32) * [5, 3, 1, 0.1]
    plane = layouts(features.astype(np.float32))[0].points
    u, s, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(plane), np.abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_umap_separates_what_is_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(30, 8)), rng.normal(size=(30, 8)) + 20]).astype(np.float32)
    first, again = (layouts(features)[0] for _ in range(2))
    assert first.name == "UMAP"
    np.testing.assert_array_equal(first.points, again.points)
    rows = nearest(first.points - first.points.mean(0), 1).rows[:, 0]
    assert np.mean((rows < 30) == (np.arange(60) < 30)) > 0.9


@pytest.mark.parametrize(("count", "features"), [(1, 4), (2, 4), (5, 1), (40, 4)])
def test_features_that_are_all_alike_or_few_have_a_layout(count, features):
    for one in layouts(np.ones((count, features), np.float32)):
        assert one.points.shape == (count, 2)
        assert np.isfinite(one.points).all()
    assert nearest(np.ones((count, features), np.float32)).rows.shape == (count, min(5, count - 1))


def test_neighbours_agree_with_plain_cosines():
    features = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    found = nearest(features, 3)
    np.testing.assert_array_equal(found.rows, np.argsort(-cosines, axis=1)[:, :3])
    np.testing.assert_allclose(found.cosine, -np.sort(-cosines, axis=1)[:, :3], atol=1e-6)


def test_agreement_counts_pairs_of_known_labels():
    neighbours = Neighbours(np.array([[1], [0], [0], [2]]), np.ones((4, 1), np.float32))
    assert neighbours.agreement(["a", "a", "b", None]) == (pytest.approx(2 / 3), pytest.approx(5 / 9))
    assert np.isnan(neighbours.agreement([None] * 4)).all()


def pixels(sheet):
    return np.asarray(Image.open(io.BytesIO(sheet.jpeg)), float)


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (5, 20)])
def test_each_tile_of_the_sheet_is_where_it_says(size):
    tiles = np.full((23, *size), 40, np.uint8)
    tiles[17] = 220
    sheet = sheet_of(tiles)
    whole, (top, left) = pixels(sheet), sheet.place(17)
    np.testing.assert_allclose(whole[top : top + size[0], left : left + size[1]], 220, atol=3)
    assert (whole > 100).sum() <= np.prod(sheet.pitch), "it runs into others"


def test_slices_are_central_and_upright(source):
    dataset = cryoreg.create_dataset(source["name"], root=source["root"])
    sheet = slice_sheet(dataset, [3, 41])
    top, left = sheet.place(1)
    found = pixels(sheet)[top : top + 8, left : left + 8]
    volume = dataset[41].volume[0].numpy()
    grey = np.clip(((volume - volume.mean()) / volume.std() + 3) / 7, 0, 1)[4, ::-1] * 255
    assert np.corrcoef(found.ravel(), grey.ravel())[0, 1] > 0.95


def test_the_map_shows_what_is_measured_first():
    chosen = choose_shown(np.array([2, 5]), 10, 4)
    assert len(chosen) == 4
    assert {2, 5} < set(chosen.tolist())
    assert len(choose_shown(np.arange(0, 10, 2), 10, 3)) == 3
    assert set(choose_shown(np.arange(0, 10, 2), 10, 3).tolist()) < set(range(0, 10, 2))
    assert choose_shown(np.array([2]), 5, 99).tolist() == [0, 1, 2, 3, 4]


def test_colours_are_told_apart_by_the_colour_blind():
    """Machado, Oliveira & Fernandes 2009, matrices of full protanopia, deuteranopia and tritanopia, in linear RGB."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    sights = [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
    for palette in (figures.PALETTE, figures.ON_DARK):
        rgb = np.array([[int(one[at : at + 2], 16) / 255 for at in (1, 3, 5)] for one in palette])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        for sight in sights:
            seen = np.clip(linear @ np.array(sight).T, 0, 1)
            lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
            apart = deltaE_ciede2000(lab[:, None], lab[None]) + 100 * np.eye(len(palette))
            assert apart.min() > 10, "a clear difference; 2 is just noticeable"


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
    parts = parts_of(trained)
    (found,) = copies_across(trained, parts, limit=60)
    assert "in more than one split, voxel by voxel" in found
    assert "were not looked for" in copies_across(trained, parts, limit=59)[0]


@pytest.mark.slow
def test_a_pretraining_run_has_a_report_beside_it(pretrained, monkeypatch):
    monkeypatch.setattr("cryoreg.analysis.report.contents.draw_comparison", refuse)
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


def test_what_sets_the_threads_of_openmp_leaves_torchs_as_they_were():
    before = torch.get_num_threads()
    with same_threads():
        torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before


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
