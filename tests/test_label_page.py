"""`cryoreg label`: the server's manners, labels that survive it, what labels teach."""

from __future__ import annotations

import csv
import io
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.ndimage import gaussian_filter
from support.labelling import ALONE, TOKEN, client_of, label_run

from cryoreg.datasets.label_lists import with_labels
from cryoreg.errors import CryoregError
from cryoreg.labelling.opening import (
    begin_with,
    free_place,
    numbered,
    open_session,
    open_source,
    prepare,
)
from cryoreg.labelling.pictures import LOOKS, Pictures
from cryoreg.labelling.session import Row, Session, said_by
from cryoreg.wrapped import Wrapped
from cryoreg_cli.main import cryoreg as command

pytest.importorskip("starlette", reason="needs cryoreg[label]")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return label_run(tmp_path_factory.mktemp("label"))


@pytest.fixture(scope="module")
def trained(run):
    return open_source(run, None, ALONE)


@pytest.fixture(autouse=True, scope="module")
def quick_map():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryoreg.labelling.teaching.umap", lambda components: components[:, 1::-1])
        yield


@pytest.fixture
def session(trained, tmp_path):
    return open_session(trained, tmp_path / "labels.csv", "run", ["ring"])


@pytest.fixture
def client(session):
    return client_of(session)


def say(client, *changes, source="one by one", **more):
    return client.post(f"/{TOKEN}/labels", json={"changes": list(changes), "source": source}, **more)


PLACES = ("", "data", "changes", "static/main.js", "sheets/slice/0", "pictures/slice/0", "export/csv", "similar/0")


@pytest.mark.parametrize("place", PLACES)
def test_nobody_is_answered_without_the_token(session, place):
    client = client_of(session)
    session.label([Row(0, "ring", "")], "one by one")
    assert client.get(f"/{TOKEN}/{place}").status_code == 200
    for other in (f"/{place}", f"/{TOKEN[:-1]}/{place}", f"/{TOKEN}x/{place}", f"//{TOKEN}/{place}"):
        assert client.get(other).status_code == 404, other
    assert client.post("/x/labels", json={"changes": [[1, "rod", ""]], "source": "one by one"}).status_code == 404
    assert session.labels() == {0: "ring"}


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}])
def test_other_sites_are_not_answered(session, headers):
    client = client_of(session)
    assert client.get(f"/{TOKEN}/data", headers=headers).status_code in (400, 404)
    assert say(client, [0, "ring", ""], headers=headers).status_code in (400, 404)
    assert session.labels() == {}


@pytest.mark.parametrize(
    "path",
    [
        *(
            "static/../server.py",
            "static/%2e%2e%2fserver.py",
            "static/index.html",
            "static/no.js",
            "static//etc/passwd",
        ),
        *("sheets/slice/1", "sheets/slice/-1", "sheets/slice/0x", "sheets/slice/٣", "sheets/nothing/0"),
        *("pictures/slice/60", "pictures/slice/0?turn=999", "sections/0/0", "similar/60", "export/exe", "nowhere"),
        "pictures/slice/99999999999999999999999",
    ],
)
def test_what_is_not_there_is_not_found(client, path):
    assert client.get(f"/{TOKEN}/{path}").status_code == 404


BAD = {
    "no JSON": b"{",
    "a list": b"[]",
    "no source": b'{"changes": []}',
    "another source": b'{"changes": [], "source": "x"}',
    "no such row": b'{"changes": [[60, "ring", ""]], "source": "undo"}',
    "a negative row": b'{"changes": [[-1, "ring", ""]], "source": "undo"}',
    "a row in words": b'{"changes": [["0", "ring", ""]], "source": "undo"}',
    "true for a row": b'{"changes": [[true, "ring", ""]], "source": "undo"}',
    "a row twice": b'{"changes": [[0, "a", ""], [0, "b", ""]], "source": "undo"}',
    "a number for a name": b'{"changes": [[0, 7, ""]], "source": "undo"}',
    "a line break": b'{"changes": [[0, "a\\nb", ""]], "source": "undo"}',
    "a long name": b'{"changes": [[0, "' + b"a" * 61 + b'", ""]], "source": "undo"}',
    "a word for no class": b'{"changes": [[0, "None", ""]], "source": "one by one"}',
    "blanks": b'{"changes": [[0, " ", ""]], "source": "undo"}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_request_that_makes_no_sense_changes_nothing(client, session, body):
    answer = client.post(f"/{TOKEN}/labels", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert not session.file.path.exists()


def test_a_form_of_another_page_cannot_label(client, session):
    body = b'{"changes": [[0, "ring", ""]], "source": "undo"}'
    assert client.post(f"/{TOKEN}/labels", content=body, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post(f"/{TOKEN}/labels", content=b" " * 5_000_000).status_code == 413
    assert session.labels() == {}


def test_answers_forbid_what_the_page_does_not_need(client):
    headers = client.get(f"/{TOKEN}/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer", "the token is in the address"


def test_labels_are_on_disk_when_the_answer_comes_and_a_new_session_goes_on(client, session, trained):
    assert say(client, [3, "ring", ""], [4, "rod", ""], source="several at once").json() == {"refused": {}}
    assert say(client, [3, "", "ring"], source="undo").json() == {"refused": {}}
    text = session.file.path.read_text()
    assert [row["id"] for row in csv.DictReader(io.StringIO(text))] == [session.ids[row] for row in (3, 4, 3)]
    again = Session(trained.dataset, session.file.path, "run")  # the first one was never closed
    assert again.labels() == {4: "rod"}
    assert again.classes() == ["rod"]


def test_two_browsers_do_not_overwrite_each_other(session, trained):
    ann, bob = client_of(session), client_of(Session(trained.dataset, session.file.path, "run"))  # or two servers
    assert say(ann, [0, "ring", ""]).json() == {"refused": {}}
    assert say(bob, [0, "rod", ""], [1, "rod", ""]).json() == {"refused": {"0": "ring"}}
    assert session.changes(0) == (2, {0: "ring", 1: "rod"})
    changes = ann.get(f"/{TOKEN}/changes?since=1").json()
    assert (changes["version"], changes["changed"]) == (2, {"1": "rod"})
    assert say(bob, [0, "rod", "ring"]).json() == {"refused": {}}, "who has seen it may change it"


def test_a_page_that_is_opened_anew_takes_back_what_was_done_before(client, session, trained):
    say(client, [3, "ring", ""], [4, "ring", ""], source="several at once")
    say(client, [4, "rod", "ring"])
    data = client.get(f"/{TOKEN}/data").json()
    assert data["past"] == [[[3, "ring", ""], [4, "ring", ""]], [[4, "rod", "ring"]]]
    restarted = client_of(Session(trained.dataset, session.file.path, "run", who=data["who"]))
    assert say(restarted, [4, "ring", "rod"], source="undo").json() == {"refused": {}}
    assert restarted.get(f"/{TOKEN}/data").json()["past"] == [[[3, "ring", ""], [4, "ring", ""]]]
    other = client_of(Session(trained.dataset, session.file.path, "run", who="somebody else"))
    assert other.get(f"/{TOKEN}/data").json()["past"] == []


def test_an_undone_renaming_is_undone_for_the_classes_too(client, session):
    session.first_classes = ["ring", "rod"]
    say(client, [0, "rod", ""])
    for name, classes, gone in (("coil", ["ring", "coil"], {"rod": "coil"}), ("ring", ["ring"], {"rod": ""})):
        client.post(f"/{TOKEN}/classes", json={"name": name, "instead_of": "rod"})
        say(client, [0, name, "rod"], source="rename")
        assert session.classes() == classes
        assert client.get(f"/{TOKEN}/changes?since=0").json()["gone"].items() >= gone.items()
        say(client, [0, "rod", name], source="undo")
        answer = client.get(f"/{TOKEN}/changes?since=0").json()
        assert answer["classes"] == ["ring", "rod"], "ring, which nothing has, was there before"
        assert answer["gone"] == {"coil": "rod"}


def test_a_name_that_nothing_has_is_on_disk_when_the_answer_comes(client, session, trained):
    def name(name="", instead_of="", of=client):
        return of.post(f"/{TOKEN}/classes", json={"name": name, "instead_of": instead_of}).json()

    session.first_classes = ["ring", "rod"]
    assert name("tube") == {"classes": ["ring", "rod", "tube"], "gone": {}}
    again = client_of(Session(trained.dataset, session.file.path, "run", ["ring", "rod"]))  # the first was never closed
    assert again.get(f"/{TOKEN}/changes").json()["classes"] == ["ring", "rod", "tube"]
    gone = {"ring": "coil", "tube": ""}
    name("coil", "ring", of=again)
    assert name("", "tube", of=again) == {"classes": ["coil", "rod"], "gone": gone}
    changes = client.get(f"/{TOKEN}/changes").json()
    assert (changes["classes"], changes["gone"], changes["changed"]) == (["coil", "rod"], gone, {})
    assert say(client, [3, "tube", ""], source="one by one").json() == {"refused": {}}
    assert session.classes() == ["coil", "rod", "tube"]
    assert numbered(session.file.path, session.first_classes) == session.numbered() == ["coil", "rod", "tube"]
    labelled = with_labels(trained.dataset, session.file.path)
    assert labelled.classes == ["tube"]
    assert labelled.notes[-1].startswith("1 of 60 subtomograms have a label of labels.csv")


@pytest.mark.parametrize(
    "body", ["", [], {"name": 7}, {"name": "a\nb"}, {"name": ""}, {"name": "N/A"}, {"instead_of": [1]}]
)
def test_what_is_no_name_is_not_kept(client, session, body):
    assert client.post(f"/{TOKEN}/classes", json=body).status_code == 400
    assert not session.file.path.exists()


def test_sheets_show_the_slices(client, trained):
    data = client.get(f"/{TOKEN}/data").json()
    assert data["sheet"] == {"tiles": 100, "columns": 10, "tile": 8}
    sheet = np.asarray(Image.open(io.BytesIO(client.get(f"/{TOKEN}/sheets/slice/0").content)), float)
    assert sheet.shape == (48, 80)
    row = 23
    volume = trained.dataset[row].volume[0].numpy()
    expected = 255 * np.clip(((volume - volume.mean()) / volume.std())[4] / 7 + 3 / 7, 0, 1)[::-1]
    top, left = 8 * (row // 10), 8 * (row % 10)
    assert np.abs(sheet[top : top + 8, left : left + 8] - expected).mean() < 12, "but for JPEG"


def test_a_picture_turns_about_the_vertical(trained):
    """A quarter turn brings the projection along x into view."""
    volume = trained.dataset[0].volume[0].numpy()
    png = Pictures(trained.dataset).picture("projection", 0, 90)
    shown = np.asarray(Image.open(io.BytesIO(png)), float)[::-1]
    along_x = gaussian_filter(volume, 1.0).mean(axis=2).T  # up: y, right: z
    correlation = max(np.corrcoef(shown.ravel(), side.ravel())[0, 1] for side in (along_x, along_x[:, ::-1]))
    assert correlation > 0.95


def test_smooth_looks_are_those_of_the_smoothed_volume(trained):
    volume = trained.dataset[1].volume[0].numpy()
    smooth = gaussian_filter(volume, 1.0)
    for look, wanted in (("denoised", smooth[3:6].mean(axis=0)), ("projection", smooth.mean(axis=0))):
        wanted = (wanted - wanted.mean()) / wanted.std()
        np.testing.assert_allclose(LOOKS[look](volume), wanted, atol=1e-4)


def test_sheets_are_drawn_once_whoever_asks_and_before(trained):
    class Counted(Wrapped):
        read = 0

        def __getitem__(self, index):
            Counted.read += 1
            return super().__getitem__(index)

    pictures = Pictures(Counted(trained.dataset))
    threads = [threading.Thread(target=pictures.sheet, args=(look, 0)) for look in LOOKS]
    threads.append(threading.Thread(target=pictures.draw_all, args=(threading.Event(),)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counted.read == 60
    stopped = threading.Event()
    stopped.set()
    Pictures(Counted(trained.dataset)).draw_all(stopped)
    assert Counted.read == 60


def test_what_labels_teach_is_told(session, trained):
    client = client_of(session)
    session.teacher.start()
    try:
        rows = [*range(0, 6), *range(30, 36)]
        say(client, *([row, trained.dataset.classes[trained.dataset.labels[row]], ""] for row in rows))
        wait(lambda: session.teacher.taught is not None and session.teacher.taught.labels == 12)
        answer = client.get(f"/{TOKEN}/changes?since=0&step=-1").json()
    finally:
        session.teacher.stop()
    taught, known = answer["taught"], answer["taught"]["known"]
    truth = [trained.dataset.classes[label] for label in trained.dataset.labels]
    right = [known["classes"][said] == true for said, true in zip(known["predictions"], truth, strict=True)]
    assert np.mean(right) > 0.8, "the blob's place is told apart even by random weights"
    assert not set(taught["next"]) & set(rows)
    assert len(taught["next"]) == 20
    assert taught["course"][-1]["labels"] == 12
    assert {len(axis) for axis in taught["layouts"]["PCA"]} == {60}
    similar = client.get(f"/{TOKEN}/similar/7").json()
    assert similar[0] == 7
    assert sorted(similar) == list(range(60))
    scaled = session.teacher.features / np.linalg.norm(session.teacher.features, axis=1, keepdims=True)
    nearness = scaled @ (scaled[7] + scaled[31] + scaled[50])
    both = client.get(f"/{TOKEN}/similar/7,31,50").json()
    np.testing.assert_allclose(nearness[both], np.sort(nearness)[::-1], rtol=1e-5)
    assert client.get(f"/{TOKEN}/similar/7,60").status_code == client.get(f"/{TOKEN}/similar/,").status_code == 404


def wait(happens, seconds=60):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_classes_of_the_data_and_of_a_table_can_be_taken_over(session):
    session.label([Row(0, "mine", "")], "one by one")
    assert begin_with(session, said_by(session.dataset), "data") == 59
    assert session.labels()[0] == "mine"
    assert session.labels()[59] == "class1"


def test_clusters_are_groups_and_no_labels(session, client, tmp_path):
    rows = [f"{name},{1 + row % 12}" for row, name in enumerate(session.ids)]
    assert client.get(f"/{TOKEN}/data").json()["grouped"] is False
    (tmp_path / "clusters.csv").write_text("\n".join(["id,cluster", *rows]) + "\n")
    prepare(session, None, tmp_path / "clusters.csv", data_classes=False)
    data = client.get(f"/{TOKEN}/data").json()
    assert data["said"] == {"names": [str(1 + k) for k in range(12)], "codes": [row % 12 for row in range(60)]}
    assert data["grouped"]
    assert session.labels() == {}
    (tmp_path / "some.csv").write_text(f"id,class\n{session.ids[5]},ring\n")
    prepare(session, tmp_path / "some.csv", None, data_classes=False)
    assert session.labels() == {5: "ring"}


def test_a_file_that_cannot_be_added_to_is_refused_before_any_work(trained, tmp_path):
    for path in (tmp_path / "no" / "labels.csv", tmp_path, trained.path):
        with pytest.raises(CryoregError, match=r"no folder|is a folder|never changed"):
            open_session(trained, path, "run")


def test_numbers_of_classes_are_those_of_keys_and_junk_has_the_last(trained, tmp_path):
    session = open_session(trained, tmp_path / "labels.csv", "run")
    for row, name in enumerate(("junk", "rod", "ring", "tube")):
        session.label([Row(row, name, "")], "one by one")
    session.label([Row(3, "ring", "tube")], "one by one")
    assert session.numbered() == numbered(tmp_path / "labels.csv") == ["rod", "ring", "junk"]
    (tmp_path / "others.csv").write_text("id,class\na,ring\n")
    assert numbered(tmp_path / "others.csv") == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--classes", "a\x07b"], "can be no class"),
        (["--classes", "rod,none"], "'none' can be no class"),
        (["--who", " ann"], "can be no name"),
        (["--from", "rb3d_universe"], "whose own encoder is asked"),
        (["--query", "nothing"], "nothing"),
        (["--export", "x.doc"], "written as .csv, .star, .tbl"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, words, complaint):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["label", str(run), "--no-browser", *words])
    assert result.exit_code == 1
    assert complaint in result.stderr


def test_labels_that_nobody_names_a_file_for_leave_other_files_alone(trained, tmp_path):
    first, second, third = (tmp_path / f"labels{end}.csv" for end in ("", "_2", "_3"))
    assert free_place(trained.dataset, first) == first
    first.write_text("id,class\na,b\n")
    second.write_text("id,class,who,when,source\nelsewhere,ring,ann,2026,me\n")
    assert free_place(trained.dataset, first) == third
    open_session(trained, third, "run").label([Row(3, "ring", "")], "one by one")
    assert free_place(trained.dataset, first) == third, "which is gone on with"
    assert (first.read_text(), len(second.read_text().split())) == ("id,class\na,b\n", 2)


def test_labels_of_other_data_are_not_gone_on_with(trained, tmp_path):
    (tmp_path / "labels.csv").write_text("id,class,who,when,source\nelsewhere,ring,ann,2026,me\n")
    with pytest.raises(CryoregError, match=r"labels of other data.*elsewhere"):
        open_session(trained, tmp_path / "labels.csv", "run")
