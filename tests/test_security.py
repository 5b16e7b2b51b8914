"""Hostile checkpoints, configurations and names: nothing runs, nothing is written elsewhere, the answer is one line."""

from __future__ import annotations

import csv
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from rich.console import Console
from support.hostile import CONTROL, MARK, Evil, answer, files_of, nothing_changes, refused
from support.mrc_writing import noise, write_mrc
from support.synthetic import write_classes
from support.untrained import make_run

from cryoreg.analysis.view import Look, Subject, to_html
from cryoreg.files import cell
from cryoreg.runs import checkpoint
from cryoreg.runs.weights import load_weights, write_weights
from cryoreg.weights_header import checksum as checksum_of
from cryoreg_cli.terminal import PlainStream, one_plain_line

DEEP = 200_000
CPU = ("--device", "cpu", "--set", "training.workers=0")


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """An empty current folder inside of the folder that is watched."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    make_run(folder, width=4)
    return folder


# Checkpoints


def zipped(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def module_of_torch() -> bytes:
    """A pickle that calls what torch itself has, which a list of allowed modules would let through."""
    return b"\x80\x02ctorch.hub\nload\n(X\x08\x00\x00\x00evil/hubX\x04\x00\x00\x00evilctorch\nos.system\ntR."


def unsafe_zip(program: bytes) -> bytes:
    """Return a file of torch with another pickle in it."""
    source, target = io.BytesIO(zipped({"a": torch.zeros(2)})), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, program if entry.filename.endswith("data.pkl") else old.read(entry))
    return target.getvalue()


def bomb() -> bytes:
    """Return a file of torch in which 16 MB of zeros are a few kB."""
    source, target = io.BytesIO(zipped({"format": checkpoint.FORMAT, "a": torch.zeros(2**22)})), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return target.getvalue()


def old_tar() -> bytes:
    """Return a tar file as torch once wrote them, with a member that climbs out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in (("pickle", pickle.dumps(Evil())), (f"../../{MARK}", b"evil"), ("storages", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


CHECKPOINTS: dict[str, Callable[[], bytes]] = {
    "an object": lambda: zipped({"state_dict": Evil()}),
    "an object as a name": lambda: zipped({"state_dict": {Evil(): torch.zeros(1)}}),
    "a bare pickle": lambda: pickle.dumps({"state_dict": Evil()}, protocol=2),
    "a function of torch": lambda: unsafe_zip(module_of_torch()),
    "os.system by its name": lambda: unsafe_zip(b"\x80\x02cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85R."),
    "a class made by hand": lambda: unsafe_zip(b"\x80\x02(cbuiltins\neval\nX\x01\x00\x00\x001o."),
    "an old tar": old_tar,
    "a bomb": bomb,
}


@pytest.mark.parametrize("content", CHECKPOINTS)
@pytest.mark.parametrize("name", ["evil.pth.tar", "evil.pt"])
def test_checkpoints_of_other_code(work, content, name):
    (work / name).write_bytes(CHECKPOINTS[content]())
    refused(work, "finetune", "--from", work / name, *CPU, "--run-dir", "out", phrase=name)


@pytest.mark.parametrize("content", CHECKPOINTS)
def test_checkpoints_with_a_proper_checksum(work, content):
    (work / "last.ckpt").write_bytes(checkpoint._with_checksum(CHECKPOINTS[content]()))
    refused(work, "inspect", work / "last.ckpt", phrase="last.ckpt")


def rewritten(run: Path, folder: Path, change: Callable[[dict], Any]) -> Path:
    """Write the run's classifier with another card and a checksum that fits it."""
    tensors, card = load_weights(run / "classifier.safetensors")
    new = change(json.loads(json.dumps(card)))
    text = new if isinstance(new, str) else json.dumps(new)
    checksum = checksum_of(safetensors.torch.save(tensors), text)
    path = folder / "classifier.safetensors"
    path.write_bytes(safetensors.torch.save(tensors, metadata={"card": text, "sha256": checksum}))
    return path


def but(**changes: Any) -> Callable[[dict], dict]:
    """Return what replaces values of a card; keys of its config are ``config__encoder``."""

    def change(card: dict) -> dict:
        for name, value in changes.items():
            *sections, key = name.split("__")
            place = card
            for section in sections:
                place = place[section]
            place[key] = value
        return card

    return change


CARDS: dict[str, Callable[[dict], Any]] = {
    "no JSON": lambda card: "{evil",
    "a number": lambda card: 7,
    "a list": lambda card: [card],
    "nested without end": lambda card: "[" * DEEP,
    "empty": lambda card: {},
    "no config": but(config=None),
    "config of another type": but(config=["encoder"]),
    "config without encoder": but(config={}),
    "a module as encoder": but(config__encoder={"name": "os:system"}),
    "an encoder of another type": but(config__encoder=["rb3d"]),
    "a monstrous encoder": but(config__encoder__width=10**12),
    "a model from the network": but(config__encoder={"name": "timm3d", "model": "hf-hub:evil/evil"}),
    "a target to call": but(config__encoder={"_target_": "os.system", "name": "rb3d"}),
    "a data set without end": but(config__dataset={"name": "lab", "root": "/dev/zero"}),
    "classes of another type": but(classes=7),
    "no classes": but(classes=None),
    "another box": but(box="32"),
    "a calibration of another type": but(calibration={"temperature": "hot"}),
    "a calibration that divides by zero": but(calibration={"temperature": 0}),
    "no normalisation": lambda card: {key: value for key, value in card.items() if key != "normalisation"},
    "voxel size of another type": but(voxel_size="../../etc"),
    "packages of another type": but(config__packages=["encoder"]),
}


@pytest.mark.parametrize("name", CARDS)
def test_cards(work, run, name):
    path = rewritten(run, work, CARDS[name])
    refused(work, "predict", path, *CPU, "--output", "out.csv")


@pytest.mark.parametrize("name", ["no JSON", "a list", "nested without end", "empty", "config without encoder"])
def test_cards_to_start_from(work, run, name):
    path = rewritten(run, work, CARDS[name])
    refused(work, "finetune", "--from", path, *CPU, "--run-dir", "out")


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A run that can be resumed."""
    folder = tmp_path_factory.mktemp("begun")
    words = ["--dataset", "mrc_folder", "--data", write_classes(folder / "data"), "--set", "encoder.width=4"]
    words += ["--method", "simclr", "--epochs", "1", "--batch-size", "4", *CPU]
    status, output = answer("pretrain", *words, "--run-dir", folder / "run")
    assert status == 0, output
    return folder / "run"


STATES: dict[str, Callable[[dict], Any]] = {
    "nothing": lambda state: {},
    "config of another type": but(config=7),
    "another task": but(config__task=["pretrain"]),
    "progress of another type": but(progress={"epoch": "x", "step": "../.."}),
    "progress with more": but(progress__executed=1),
    "negative progress": but(progress__step=-1),
    "weights of another type": but(module=[1]),
    "a weight that is none": but(module={"a": "b"}),
    "an optimizer that is none": but(optimizer={"param_groups": 7}),
    "a monitor that is none": but(monitor={}),
}


@pytest.mark.parametrize("name", STATES)
def test_runs_to_resume(work, begun, name):
    shutil.copytree(begun, work / "run")
    path = work / "run" / "checkpoints" / "last.ckpt"
    state = checkpoint.load_checkpoint(path)
    checkpoint.save_checkpoint(path, STATES[name](state))
    status, output = answer("pretrain", "--resume", "--run-dir", work / "run")
    assert status == 1, output
    assert output.count("Error: ") == 1
    assert "last.ckpt" in output
    assert not list(work.rglob(MARK))


@pytest.mark.parametrize("length", [2**62, 2**31, 10**6, 3])
def test_safetensors_that_lie_about_their_header(work, length):
    (work / "encoder.safetensors").write_bytes(length.to_bytes(8, "little") + b'{"a":{}}' + bytes(64))
    refused(work, "predict", work / "encoder.safetensors", *CPU, "--output", "out.csv", phrase="encoder.safetensors")


# Configurations


CONFIGS = {
    "nested without end": "x = " + "[" * DEEP,
    "tables without end": "[" + ".".join("a" * 5000) + "]\nx = 1",
    "a number without end": f"[training]\nepochs = {'9' * 5000}",
    "a module as method": '[method]\nname = "os:system"',
    "a call as method": "[method]\nname = \"__import__('os').system('touch executed')\"",
    "a target to call": f'[method]\nname = "moco"\n_target_ = "os.system"\n_args_ = ["touch {MARK}"]',
    "a path as encoder": '[encoder]\nname = "../../evil"',
    "an encoder from the network": '[encoder]\nname = "timm3d"\nmodel = "hf-hub:evil/evil"',
    "weights that are a pickle": '[encoder]\nname = "timm3d"\nmodel = "resnet18"\nweights = "../evil.pth"',
    "a section without end": f"[{'x' * 100_000}]",
    "control characters": '[method]\nname = "\\u001b]0;owned\\u0007"',
    "not UTF-8": "[method]\nname = '\udcff'",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(work, name):
    (work / "evil.pth").write_bytes(zipped(Evil()))
    (work / "run.toml").write_bytes(CONFIGS[name].encode(errors="surrogateescape"))
    refused(work, "pretrain", "--config", work / "run.toml", *CPU, "--run-dir", "out")


TRANSFORMS = [
    '{_target_ = "os.system", command = "touch executed"}',
    '{name = "os.system"}',
    '{name = "Lambda", func = "os.system"}',
    '{name = "RandLambda", func = "os.system"}',
    '{name = "LoadImage"}',
    '{name = "SaveImage", output_dir = ".."}',
    '{name = "Compose"}',
    '{name = "CuCIM"}',
    '{name = "__class__"}',
    "{name = \"RandFlip\", prob = \"__import__('os').system('touch executed')\"}",
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_augmentations_of_monai(work, transform):
    (work / "run.toml").write_text(f'[augmentation]\nname = "monai"\ntransforms = [{transform}]\n')
    data = write_classes(work / "data")
    words = ["--dataset", "mrc_folder", "--data", data, "--config", work / "run.toml"]
    refused(work, "preview", *words, "--output", "out.png")


STUDY = """
labels = ["100 %"]
[data.{data}]
dataset = {{ name = "{reader}", root = "{root}" }}
[encoders.rb3d]
name = "{encoder}"
[starts.random]
[settings.{setting}]
training = {{ epochs = 1 }}
"""


def study(**changes: str) -> str:
    values = {"data": "d", "reader": "mrc_folder", "root": "/nowhere", "encoder": "rb3d", "setting": "s"}
    return STUDY.format(**values | changes)


STUDIES = {
    "nested without end": "x = " + "[" * DEEP,
    "a number without end": f"scale = {'9' * 5000}",
    "data of another type": "data = 7",
    "a source of another type": "data.a = 7",
    "a module as encoder": study(encoder="os:system"),
    "a module as reader": study(reader="os:system"),
    "a name that climbs": study(data='"../../../evil"', root="/nowhere"),
    "an unknown setting": study() + 'setup = ["touch executed"]\n',
}


@pytest.mark.parametrize("name", STUDIES)
def test_studies(work, name):
    (work / "study.toml").write_text(STUDIES[name])
    before = files_of(work)
    status, output = answer("benchmark", str(work / "study.toml"), "--run-dir", "out")
    assert status in (1, 2), output
    new = [path for path in files_of(work) if path not in before]
    assert all(path.startswith(str(work / "work" / "out")) for path in new)
    assert MARK not in {Path(path).name for path in new}
    assert output.count("Error: ") == 1
    assert "Traceback" not in output


@pytest.mark.parametrize("key", ["method.temperature", "training.epochs"])
def test_settings_without_end(work, key):
    refused(work, "pretrain", "--set", f"{key}={'[' * DEEP}", "--run-dir", "out")


# Names

NAMES = [
    "[/bold]",
    "[link=file:///etc/passwd]a",
    ":skull:",
    "$\\frac$",
    "=cmd|' C calc'!A0",
    "<script>alert(1)<!--",
    "\x1b[2J\x1b]0;owned\x07",
    "$(touch executed)",
    "..a",
    "a'b\"c`touch executed`",
]
"""Of classes: harmless as text, but not to rich, matplotlib, spreadsheets, browsers, terminals or shells."""


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Path:
    """A run whose classes have such names."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "data" / "json_label").mkdir(parents=True)
    for number in range(3 * len(NAMES)):
        write_mrc(folder / "data" / "subtomogram_mrc" / f"tomotarget{number}.mrc", noise((8, 8, 8), seed=number))
        label = {"loc": None, "rotate": None, "name": NAMES[number % len(NAMES)]}
        (folder / "data" / "json_label" / f"target{number}.json").write_text(json.dumps(label))
    make_run(folder / "run", width=4, dataset={"name": "lab", "root": str(folder / "data")})
    return folder


def shown(text: str) -> list[str]:
    """Return the names that are in a text as they are."""
    return [name for name in NAMES if name in text]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "{data}"],
        ["evaluate", "{run}", *CPU],
        ["predict", "{run}", *CPU, "--output", "out.csv"],
        ["cluster", "{run}", *CPU, "--clusters", "2", "--output", "out.csv", "--montage", "out.png"],
        ["preview", "--augmentation", "none", "--dataset", "lab", "--data", "{data}"],
        ["view", "{data}", "--count", "3", "--low-pass", "0", "--level", "1", "--html", "out.html"],
        ["explain", "{run}", *CPU, "--count", "3", "--part", "all", "--output", "out"],
        ["convert", "--dataset", "lab", "--data", "{data}", "--output", "out.h5"],
        ["convert", "--dataset", "lab", "--data", "{data}", "--output", "out", "--to", "lab"],
        ["embed", "{run}", *CPU, "--output", "out.csv"],
    ],
    ids=lambda words: " ".join(word for word in words if not word.startswith("{"))[:40],
)
def test_names_are_names_everywhere(named, work, words):
    """Nothing fails over a name, nothing runs, and files come only where they were asked for."""
    places = {"{data}": str(named / "data"), "{run}": str(named / "run")}
    with nothing_changes(named / "data"):
        status, output = answer(*(places.get(word, word) for word in words))
    assert status == 0, output
    assert not list(work.rglob(MARK)) + list(named.rglob(MARK))
    assert {path.name.partition(".")[0] for path in (work / "work").iterdir()} <= {"out", "preview", "view"}
    if words[0] in ("inspect", "evaluate"):
        narrow = {name for name in NAMES if CONTROL.search(name)}
        assert set(shown(output)) >= set(NAMES) - narrow


def test_a_name_that_star_cannot_hold_is_refused_and_nothing_is_written(named, work):
    status, output = answer("predict", str(named / "run"), *CPU, "--output", "out.star")
    assert status == 1
    assert output.count("\n") == 1
    assert "a STAR file cannot hold the name" in output
    assert not CONTROL.search(output.rstrip("\n"))
    assert not list((work / "work").glob("out*"))


def test_a_terminal_shows_control_characters_and_does_not_obey(cryoreg_process, named):
    result = cryoreg_process("inspect", str(named / "data"))
    assert result.returncode == 0
    assert not CONTROL.search(result.stdout)
    assert r"\x1b]0;owned" in result.stdout


def test_streams_keep_colours_and_progress_bars():
    stream = io.StringIO()
    console = Console(file=PlainStream(stream), force_terminal=True, color_system="standard")
    console.print("[red]a[/red]")
    console.show_cursor(False)
    assert stream.getvalue() == "\x1b[31ma\x1b[0m\n\x1b[?25l"


@pytest.mark.parametrize(
    "text", ["\x1b]52;c;ZXZpbA==\x07", "\x1b[6n", "\x1bP$q\x1b\\", "\x9b5n", "\x1b[8;1;1t", "a\x08b"]
)
def test_streams_write_out_what_steers_terminals(text):
    stream = io.StringIO()
    PlainStream(stream).write(text)
    assert not CONTROL.search(stream.getvalue())


def test_one_plain_line():
    assert one_plain_line("a\nb\x1b[2J\tc\r\x85d Å") == r"a b\x1b[2J\tc  d Å"


def test_pages_of_surfaces_hold_no_tags_of_others():
    volume = noise((8, 8, 8))
    page = to_html([Subject(f"<script>{MARK}</script>", volume, 10.0)], Look(level=1.0, low_pass=0.0))
    assert f"<script>{MARK}" not in page


def test_a_class_whose_name_is_a_path_makes_no_folder_there(named, work):
    words = ["--dataset", "lab", "--data", named / "data", "--output", "out", "--to", "mrc_folder"]
    refused(work, "convert", *words, phrase="cannot be the name of a folder")


@pytest.mark.parametrize("words", [["predict", "{run}"], ["embed", "{run}"], ["cluster", "{run}", "--clusters", "2"]])
def test_spreadsheets_find_no_formulas(named, work, words):
    status, output = answer(*(word.format(run=named / "run") for word in words), *CPU, "--output", "out.csv")
    assert status == 0, output
    with (work / "work" / "out.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=cmd|' C calc'!A0" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


@pytest.mark.parametrize(
    ("text", "written"),
    [("=1+1", "'=1+1"), ("@a", "'@a"), ("-a", "'-a"), ("-1.5", "-1.5"), ("000001@a.mrcs", "000001@a.mrcs"), ("", "")],
)
def test_cells(text, written):
    assert cell(text) == written


def test_writing_refuses_what_could_not_be_read_safely(tmp_path):
    with pytest.raises(TypeError):
        write_weights(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, {"path": tmp_path})
    assert not list(tmp_path.iterdir())
