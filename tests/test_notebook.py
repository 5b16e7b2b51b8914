"""What a notebook shows: HTML in which nothing is obeyed, and bars; in a browser and in a real kernel."""

from __future__ import annotations

import json
import re
import sys
import types
from html.parser import HTMLParser

import numpy as np
import pytest
from support.mrc_writing import noise, write_mrc
from support.storing import layout, write_store
from support.synthetic import write_classes
from support.tomograms import write_tomogram
from support.untrained import make_run

import cryoreg
from cryoreg import notebook, notebook_bars, telling
from cryoreg.contracts import Subtomograms
from cryoreg.inference.evaluate import Evaluation
from cryoreg.training.finetune import FinetuneResult
from cryoreg.training.pretrain import PretrainResult
from cryoreg.training.progress import ProgressLine

HOSTILE = "<img src=x onerror=alert(1)>&\"'</table><script>alert(2)</script>"


class Tags(HTMLParser):
    """The tags of a text, checked for being closed in order, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


ALLOWED = {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "img", "progress", "span"}


def harmless(text: str) -> Tags:
    found = Tags(text)
    for tag, attributes in found.seen:
        assert tag in ALLOWED
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    return found


def hostile_set(folder):
    for name in ("a", "b"):
        write_mrc(folder / "set" / '<b onclick="x">&' / f"{name}.mrc", noise((6, 6, 6)))
        write_mrc(folder / "set" / "plain" / f"{name}.mrc", noise((6, 6, 6), seed=1))
    return folder / "set"


def test_a_data_set_shows_what_is_known_and_some_slices(tmp_path) -> None:
    data = cryoreg.open_dataset(write_classes(tmp_path / "mrc", classes=2, per_class=10))
    page = harmless(data._repr_html_())
    assert "subtomograms20" in page.text
    assert "8 × 8 × 8 voxels (z, y, x)" in page.text
    assert f"{data.classes[0]} (10)" in page.text
    pictures = [attributes for tag, attributes in page.seen if tag == "img"]
    assert len(pictures) == 8
    assert pictures[0]["alt"] == f"central slice of {data.ids[1]}"


def test_names_of_files_and_classes_are_shown_and_not_obeyed(tmp_path) -> None:
    page = harmless(cryoreg.open_dataset(hostile_set(tmp_path))._repr_html_())
    assert '<b onclick="x">& (2)' in page.text
    harmless(cryoreg.inspect(hostile_set(tmp_path))._repr_html_())


def test_a_bright_voxel_is_where_it_is(tmp_path) -> None:
    """y upwards: the voxel (z, y, x) = (4, 6, 1) of eight is in the row 1 from above, column 1."""
    import base64
    import io

    from PIL import Image

    volume = np.zeros((8, 8, 8), np.float32)
    volume[4, 6, 1] = 1
    picture = notebook._picture(volume[4], "x")
    content = re.search(r"base64,([^\"]+)", picture)[1]
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert np.unravel_index(grey.argmax(), grey.shape) == (1, 1)


class Unreadable(Subtomograms):
    """Says all, and can be read nowhere."""

    classes, labels, ids, groups = [HOSTILE], [0, None], ["a", HOSTILE], [HOSTILE, None]
    voxel_size, box, notes = 10.0, (4, 4, 4), [HOSTILE]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):
        raise cryoreg.api.ConfigError(HOSTILE)


def test_what_cannot_be_read_is_said_in_place_of_pictures() -> None:
    page = harmless(Unreadable()._repr_html_())
    assert page.text.count(HOSTILE) == 3  # class, note, error
    assert "unlabelled1" in page.text
    assert "tomograms1" in page.text


class Simulated(Unreadable):
    """Would be made as it is read."""

    simulated = True


def test_a_simulated_set_is_not_made_for_its_picture() -> None:
    assert "<img" not in Simulated()._repr_html_()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_run(folder / "run", width=4)
    data = write_classes(folder / "mrc", classes=2, per_class=5, seed=1)
    tomogram = write_tomogram(folder / "TS_01.mrc")
    picked = cryoreg.pick(tomogram, radius=40, top=2, output=folder / "picks.star")
    found = {"run": folder / "run", "data": data, "device": "cpu"}
    evaluation = Evaluation(
        "test", (HOSTILE, "b"), ("x", "y"), np.array([0, 1]), np.array([0, 0]), np.ones(2), caution=HOSTILE
    )
    unlabelled = write_store(folder / "set.h5", layout(labels=[None] * 6, classes=[], box=(8, 8, 8)))
    return {
        "embed": cryoreg.embed(**found),
        "predict": cryoreg.predict(**found),
        "cluster": cryoreg.cluster(**found, clusters=2),
        "unlabelled clusters": cryoreg.cluster(folder / "run", data=unlabelled, clusters=2, device="cpu"),
        "inspect": cryoreg.inspect(data),
        "pick": picked,
        "extract": cryoreg.extract(picked.star, folder / "boxes.h5", box=8),
        "evaluate": evaluation,
        "pretrain": PretrainResult(folder, folder / HOSTILE, 1.5),
        "finetune": FinetuneResult(folder, folder / HOSTILE, 0.5, 3, 4),
        "finetune without validation": FinetuneResult(folder, folder, float("nan"), 3, 0),
    }


WORDS = {
    "embed": "subtomograms10",
    "predict": "unsure",
    "cluster": "ARI with the labels",
    "unlabelled clusters": "clusters2",
    "inspect": "no problems found",
    "pick": "2 picks",
    "extract": "written2 subtomograms",
    "evaluate": "50.0 % (9-91 %, 95 % Wilson, 2 subtomograms)",
    "pretrain": "loss1.5000",
    "finetune": "50.0 % (15-85 %, 95 % Wilson, 4 subtomograms)",
    "finetune without validation": "not known",
}


@pytest.mark.parametrize("name", WORDS)
def test_results_show_their_figures(results, name) -> None:
    page = harmless(results[name]._repr_html_())
    assert WORDS[name] in page.text


def test_of_a_long_table_the_first_rows_are_shown() -> None:
    page = harmless(notebook.table(("n", "name"), [(number, HOSTILE) for number in range(1000)]))
    assert page.text.count(HOSTILE) == 20
    assert page.text.endswith("and 980 more")


# ---- bars


class FakeDisplay:
    """IPython's display, which keeps what is shown."""

    def __init__(self) -> None:
        self.shown: list[dict] = []

    def __call__(self, data, raw, display_id):
        assert raw
        assert display_id
        self.shown.append(data)
        return self

    def update(self, data, raw) -> None:
        assert raw
        self.shown.append(data)


@pytest.fixture
def cell(monkeypatch) -> FakeDisplay:
    display = FakeDisplay()
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    return display


def test_elsewhere_there_is_no_notebook(monkeypatch) -> None:
    assert not notebook_bars.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: object()))
    assert not notebook_bars.in_notebook()  # a terminal's


def test_a_bar_moves_as_items_are_taken(cell, monkeypatch) -> None:
    monkeypatch.setattr(notebook_bars, "_SECONDS_BETWEEN", -1)
    assert list(telling.track(range(4), HOSTILE)) == [0, 1, 2, 3]
    done = [re.search(r'value="(\d+)" max="4"', each["text/html"])[1] for each in cell.shown]
    assert done == ["0", "1", "2", "3", "4", "4"]
    assert cell.shown[-1]["text/plain"] == f"{HOSTILE}  100 %"
    for each in cell.shown:
        harmless(each["text/html"])


def test_of_an_unknown_number_the_count_is_shown(cell) -> None:
    assert len(list(telling.track((each for each in range(3)), "made"))) == 3
    assert cell.shown[-1]["text/plain"] == "made  3"


def test_where_all_is_quiet_there_is_no_bar(cell) -> None:
    with telling.quietly():
        assert list(telling.track(range(4), "quiet")) == [0, 1, 2, 3]
    assert cell.shown == []


def test_training_shows_epoch_loss_and_time_left(cell, capsys) -> None:
    with ProgressLine("pretrain", epochs=2, steps_per_epoch=2, done=0) as line:
        for loss in (4.0, 3.0, 2.0, 1.0):
            line.advance(loss, subtomograms=8)
    assert "epoch 2/2  loss 1.0000" in cell.shown[-1]["text/plain"]
    assert "100 %" in cell.shown[-1]["text/plain"]
    assert "ETA 0 s" in cell.shown[-1]["text/plain"]
    assert capsys.readouterr().err == ""
    with ProgressLine("other rank", epochs=1, steps_per_epoch=1, done=0, silent=True) as line:
        line.advance(1.0, 1)
    assert "other rank" not in json.dumps(cell.shown)


CELLS = """
import warnings; warnings.simplefilter("ignore")
from cryoreg.training.progress import ProgressLine
from cryoreg.telling import track
from cryoreg import notebook
list(track(range(3), "cutting"))
with ProgressLine("pretrain", 1, 2, 0) as line:
    line.advance(2.0, 8); line.advance(1.0, 8)
class Known:
    def _repr_html_(self): return notebook.shown("Known", {"a": "<b>"})
Known()
"""


@pytest.mark.slow
def test_a_real_kernel_shows_bars_and_tables(tmp_path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS)])
    client = nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = book.cells[0].outputs
    assert [each.output_type for each in outputs] == ["display_data", "display_data", "execute_result"]
    cutting, training, known = (each.data["text/html"] for each in outputs)
    assert 'value="3" max="3"' in cutting
    assert "epoch 1/1  loss 1.0000" in training
    assert "&lt;b&gt;" in known
