"""`cryoreg predict`: lists come back with all that they had, and with classes that plain torch agrees with."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
import torch
from click.testing import CliRunner
from support import particle_writing
from support.mrc_writing import state, write_mrc
from support.synthetic import write_classes
from support.tomograms import POINTS, write_tomogram

import cryoreg
from cryoreg.contracts import Origin
from cryoreg.datasets.conversion.convert import convert
from cryoreg.datasets.io.relion_tables import read_blocks
from cryoreg.datasets.normalisation import normalise
from cryoreg.errors import CheckpointError, ConfigError, CryoregError, DataError, OutputError
from cryoreg.inference.particle_text import ParticleText
from cryoreg.inference.prediction_files import star_text
from cryoreg.predictions import Predictions, class_numbers
from cryoreg.runs.weights import load_weights, save_weights
from cryoreg_cli.main import cryoreg as command_line

FAST = {"device": "cpu", "workers": 0, "precision": "fp32"}
CPU = ["--device", "cpu", "--set", "training.workers=0"]
ADDED = [
    *("rlnClassNumber", "cryoregClassName", "cryoregConfidence", "cryoregUnsure"),
    *("cryoregFamiliarity", "cryoregNoneOfThese"),
]
COUNT = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    source = {"name": "mrc_folder", "root": write_classes(folder / "data", classes=3, per_class=20)}
    cryoreg.finetune(
        folder / "run",
        encoder={"name": "rb3d", "width": 4},
        augmentation="none",
        dataset=source,
        batch_size=8,
        epochs=30,
        optimizer="adam",
        lr=1e-2,
        **FAST,
    )
    return folder / "run"


@pytest.fixture
def volumes(tmp_path) -> Path:
    """Volumes and a stack below a project folder."""
    root = write_classes(tmp_path / "project" / "Extract", classes=3, per_class=2, seed=5)
    files = sorted(root.rglob("*.mrc"))
    for number, file in enumerate(files):
        file.rename(root / f"sub {number}.mrc")
    for folder in root.glob("class*"):
        folder.rmdir()
    stack = np.stack([mrcfile.read(root / f"sub {number}.mrc") for number in range(len(files))])
    write_mrc(root / "stack.mrcs", stack)
    return tmp_path / "project"


def relion3(project: Path) -> Path:
    """One block without a name, numbers as few programs would write them, a comment, no end of line at the end."""
    rows = [
        f'tomo{i}.mrc  {1e9 + i:.6f} -0.00 1.50E+01 "Extract/sub {i}.mrc"  007' + ("  # good" if i == 1 else "")
        for i in range(COUNT)
    ]
    labels = ["_rlnMicrographName #1", "_rlnCoordinateX #2", "_rlnCoordinateY #3", "_rlnCoordinateZ #4"]
    text = ["", "# made by hand", "data_", "", "loop_", *labels, "_rlnImageName #5", "_rlnHelicalTubeID #6 ", *rows]
    return write(project / "relion3.star", "\n".join(text))


def relion31(project: Path) -> Path:
    """Optics and particles, slots of a stack, an earlier class, lines as Windows ends them."""
    rows = [f"{i + 1:06d}@Extract/stack.mrcs\t1\t{i % 4}\t12345678901234567890\t0.10000" for i in range(COUNT)]
    text = [
        *("# version 30001", "", "data_optics", "", "loop_", "_rlnOpticsGroup #1", "_rlnImagePixelSize #2"),
        *("_rlnOpticsGroupName #3", "1 10.0000 'optics group 1'", "", "# version 30001", "", "data_particles", ""),
        *("loop_ ", "_rlnImageName #1 ", "_rlnOpticsGroup #2 ", "_rlnClassNumber #3 ", "_rlnTomoParticleId #4 "),
        *("_rlnAngleRot #5 ", *rows, " ", ""),
    ]
    return write(project / "relion31.star", "\r\n".join(text))


def relion5(project: Path) -> Path:
    """Coordinates in Å from the centre; boxes are cut from a tomogram; a block of its own at the end."""
    particle_writing.relion5(project)
    write_tomogram(project / "TS_01.mrc")
    text = (project / "list.star").read_text().rstrip() + "\n\n\ndata_more\n\n_rlnComment 'kept as well'\n\n"
    (project / "list.star").unlink()
    return write(project / "relion5.star", text)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def predict(run: Path, path: Path | None = None, output: Path | None = None, **more) -> Predictions:
    source = more.pop("dataset", None) or ({"root": path} if path else None)
    return cryoreg.predict(run, dataset=source, output=output, **FAST | more)


def as_text(path: Path) -> dict[str, pd.DataFrame | dict]:
    """Read every value of every block as text, with starfile."""
    labels = re.findall(r"^_(\S+)", path.read_text(), re.MULTILINE)
    return starfile.read(path, always_dict=True, parse_as_string=labels)


def particles(path: Path) -> pd.DataFrame:
    blocks = as_text(path)
    return blocks.get("particles", blocks.get(""))


@pytest.mark.slow
@pytest.mark.parametrize("make", [relion3, relion31, relion5])
def test_star_keeps_every_block_column_and_row_as_text(run, volumes, make, tmp_path):
    path = make(volumes)
    before = state(volumes)
    predicted = predict(run, path, tmp_path / "out.star", dataset=reader(path))
    assert state(volumes) == before
    old, new = as_text(path), as_text(tmp_path / "out.star")
    assert list(new) == list(old)
    name = "particles" if "particles" in old else ""
    for block in old.keys() - {name}:
        assert new[block] == old[block] if isinstance(old[block], dict) else new[block].equals(old[block])
    kept = new[name].drop(columns=ADDED).rename(columns={"cryoregPreviousClassNumber": "rlnClassNumber"})
    assert list(kept.columns) == list(old[name].columns)
    assert kept.equals(old[name])
    assert list(new[name].columns[-len(ADDED) :]) == ADDED
    assert new[name]["cryoregClassName"].tolist() == [predicted.classes[p] for p in predicted.predictions]
    assert new[name]["rlnClassNumber"].tolist() == [str(1 + p) for p in predicted.predictions]
    assert new[name]["cryoregUnsure"].tolist() == [str(int(u)) for u in predicted.unsure]
    np.testing.assert_allclose(new[name]["cryoregConfidence"].astype(float), predicted.confidences, atol=5.1e-5)


@pytest.mark.parametrize("make", [relion3, relion31, relion5])
def test_no_character_of_a_list_changes(run, volumes, make, tmp_path):
    """What is left once new labels and the values at the ends of rows are cut away is the old file, byte by byte."""
    path = make(volumes)
    predict(run, path, tmp_path / "out.star", dataset=reader(path))
    end = rb"(?= *(?:  # good)?[\r\n]|\Z)"
    text = (tmp_path / "out.star").read_bytes()
    text = text.replace(b"cryoregPreviousClassNumber", b"@@@")
    text = re.sub(rb"_(?:rlnClassNumber|cryoreg\w+) #\d+\r?\n", b"", text).replace(b"@@@", b"rlnClassNumber")
    text = re.sub(rb" [123] class\d [01]\.\d{4} [01] [01]\.\d{4} [01]" + end, b"", text)
    assert text == path.read_bytes()


def reader(path: Path) -> dict:
    """Say how to open a list where more than one reader fits."""
    named = {"relion3": {"name": "star"}, "relion5": {"name": "tomogram", "box": 8, "tomograms": path.parent}}
    return {"root": path} | named.get(path.stem, {})


def test_predictions_agree_with_plain_torch(run, volumes):
    predicted = predict(run, relion31(volumes), dataset=None)
    tensors, card = load_weights(run / "classifier.safetensors")
    stack = torch.from_numpy(mrcfile.read(volumes / "Extract" / "stack.mrcs").copy())[:, None]
    with torch.no_grad():
        features = cryoreg.create_encoder(pretrained=run).eval()(normalise(stack))
    logits = (features @ tensors["head.weight"].T + tensors["head.bias"]).double()
    expected = (logits / card["calibration"]["temperature"]).softmax(1).numpy()
    np.testing.assert_allclose(predicted.probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(predicted.predictions, expected.argmax(1))
    np.testing.assert_array_equal(predicted.confidences, predicted.probabilities.max(1))
    assert predicted.ids == tuple(f"{i + 1:06d}@Extract/stack.mrcs" for i in range(COUNT))
    assert predicted.classes == ("class0", "class1", "class2")


def test_it_knows_what_it_learnt(run, volumes):
    assert predict(run, relion31(volumes)).predictions.tolist() == [0, 0, 1, 1, 2, 2]


def test_predictions_of_the_runs_own_data_are_those_of_evaluate(run):
    predicted, evaluation = predict(run), cryoreg.evaluate(run)
    rows = [predicted.ids.index(name) for name in evaluation.ids]
    np.testing.assert_array_equal(predicted.predictions[rows], evaluation.predictions)
    np.testing.assert_allclose(predicted.confidences[rows], evaluation.confidences, rtol=1e-5)


def test_an_earlier_class_is_kept_through_repeated_predictions(run, volumes):
    first, second = volumes / "first.star", volumes / "second.star"
    predict(run, relion31(volumes), first)
    predict(run, first, second, unsure=1.0)
    old, new = particles(first), particles(second)
    assert old["cryoregPreviousClassNumber"].tolist() == [str(i % 4) for i in range(COUNT)]
    assert new.drop(columns="cryoregUnsure").equals(old.drop(columns="cryoregUnsure"))
    assert new["cryoregUnsure"].tolist() == ["1"] * COUNT


def spoil(volumes: Path, number: int) -> None:
    write_mrc(volumes / "Extract" / f"sub {number}.mrc", np.zeros((8, 8, 8), np.float32))


def test_what_cannot_be_read_keeps_its_row(run, volumes, tmp_path):
    path = relion3(volumes)
    spoil(volumes, 2)
    with pytest.raises(DataError, match="sub 2"):
        predict(run, path, tmp_path / "out.star", dataset=reader(path))
    assert not (tmp_path / "out.star").exists()
    whole = predict(run, path, tmp_path / "out.star", dataset=reader(path), skip_bad=True)
    assert list(whole.left_out) == ["Extract/sub 2.mrc"]
    assert "constant" in whole.left_out["Extract/sub 2.mrc"]
    assert len(whole.ids) == COUNT - 1
    table = particles(tmp_path / "out.star")
    assert table.loc[2, ADDED].tolist() == ["0", "none", "0.0000", "1", "0.0000", "1"]
    assert table["cryoregClassName"].tolist() == ["class0", "class0", "none", "class1", "class2", "class2"]


def test_skipping_works_where_other_processes_read(run, volumes):
    path = relion3(volumes)
    spoil(volumes, 0)
    predicted = predict(run, path, dataset=reader(path), skip_bad=True, workers=1, resident=False)
    assert (list(predicted.left_out), len(predicted.ids)) == (["Extract/sub 0.mrc"], COUNT - 1)


def test_every_block_of_particles_gets_a_class_for_every_row(run, volumes, tmp_path):
    """Blocks of two tomograms, with other columns in another order; one of them was classified by somebody."""
    images = [f"{i + 1:06d}@Extract/stack.mrcs" for i in range(COUNT)]
    first = ["data_TS_01", "", "loop_", "_rlnTomoName #1", "_rlnImageName #2", *(f"TS_01 {i}" for i in images[:2]), ""]
    labels = ["_rlnImageName #1", "_rlnClassNumber #2", "_rlnTomoName #3", "_rlnNote #4"]
    rows = [f"{image} 7 TS_02 'note {number}' # kept" for number, image in enumerate(images[2:])]
    last = ["data_TS_02", "loop_", *labels, *rows, "", "data_empty", "", "loop_", "_rlnImageName #1", ""]
    path = write(volumes / "blocks.star", "\n".join([*first, "data_general", "_rlnWhat 'all of it'", "", *last]))
    predicted = predict(run, path, tmp_path / "out.star")
    chosen = [1 + prediction for prediction in predicted.predictions]
    document = gemmi.cif.read(str(tmp_path / "out.star"))
    assert [block.name for block in document] == ["TS_01", "general", "TS_02", "empty"]
    found = [
        [[row.str(place) for place in range(3)] for row in document[name].find([f"_{label}" for label in labels])]
        for name, labels in (
            ("TS_01", ["rlnImageName", "rlnTomoName", "rlnClassNumber"]),
            ("TS_02", ["rlnImageName", "rlnTomoName", "rlnClassNumber"]),
        )
    ]
    assert [[row[:2] for row in rows] for rows in found] == [
        [[image, "TS_01"] for image in images[:2]],
        [[image, "TS_02"] for image in images[2:]],
    ]
    assert [int(row[2]) for rows in found for row in rows] == chosen
    assert list(document["TS_02"].find_loop("_cryoregPreviousClassNumber")) == ["7"] * (COUNT - 2)
    assert not list(document["TS_01"].find_loop("_cryoregPreviousClassNumber"))
    old, new = (file.read_text().splitlines() for file in (path, tmp_path / "out.star"))
    kept = [line for line in new if not re.match(r"_cryoreg(?!Prev)|_rlnClassNumber", line)]
    for before, after in zip(old, kept, strict=True):
        plain = before.replace("_rlnClassNumber", "_cryoregPreviousClassNumber")
        content, mark, comment = plain.partition(" # ")
        assert after.startswith(content)
        assert after.endswith(mark + comment)
    again = cryoreg.create_dataset("star", root=tmp_path / "out.star", folder=volumes, label="cryoregClassName")
    assert again.groups[:3] == ["TS_01", "TS_01", "TS_02"]


def test_a_store_of_a_list_goes_back_to_the_list(run, volumes, tmp_path):
    """Also where the store lacks some of the list's particles."""
    path = relion3(volumes)
    spoil(volumes, 4)
    convert(cryoreg.create_dataset("star", root=path), tmp_path / "some.h5", skip_bad=True)
    predicted = predict(run, tmp_path / "some.h5", tmp_path / "out.star")
    assert len(predicted.ids) == COUNT - 1
    assert particles(tmp_path / "out.star")["rlnClassNumber"].tolist() == ["1", "1", "2", "2", "0", "3"]


def test_dynamo_tables_change_in_column_22_only(run, tmp_path):
    write_tomogram(tmp_path / "1.mrc")
    path = particle_writing.dynamo(tmp_path, column22=7)
    path.write_text(path.read_text().replace(" ", "  ", 1))
    predicted = predict(run, output=tmp_path / "out.tbl", dataset={"name": "tomogram", "root": path, "box": 8})
    old, new = (re.findall(r"\S+|\s+", file.read_text()) for file in (path, tmp_path / "out.tbl"))
    changed = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    row = 2 * 35
    assert changed == [number * row + 2 * 21 for number in range(len(POINTS))]
    assert [new[place] for place in changed] == [str(1 + p) for p in predicted.predictions]


def test_csv_has_every_probability(run, volumes, tmp_path):
    predicted = predict(run, relion31(volumes), tmp_path / "out.csv", unsure=0.9)
    with (tmp_path / "out.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == list(predicted.ids)
    assert [(row["file"], row["row"]) for row in table] == [(str(volumes / "relion31.star"), str(i)) for i in range(6)]
    assert [row["prediction"] for row in table] == [predicted.classes[p] for p in predicted.predictions]
    assert [row["unsure"] for row in table] == [str(int(c < 0.9)) for c in predicted.confidences]
    chances = np.array([[float(row[f"p_{name}"]) for name in predicted.classes] for row in table])
    np.testing.assert_allclose(chances, predicted.probabilities, atol=5.1e-5)


def test_volumes_without_a_list_get_one_that_can_be_read_again(run, volumes, tmp_path):
    root = volumes / "Extract"
    (root / "stack.mrcs").unlink()
    predicted = predict(run, root, tmp_path / "out.star")
    again = cryoreg.create_dataset("star", root=tmp_path / "out.star", folder=volumes, label="cryoregClassName")
    assert again.voxel_size == 10
    assert [again.classes[label] for label in again.labels] == [predicted.classes[p] for p in predicted.predictions]
    flat = cryoreg.create_dataset("mrc_folder", root=root)
    assert all(torch.equal(again[i].volume, flat[i].volume) for i in range(len(flat)))


def test_slots_of_a_stack_count_from_one(run, volumes, tmp_path):
    predict(
        run, output=tmp_path / "out.star", dataset={"name": "mrc_stack", "root": volumes / "Extract" / "stack.mrcs"}
    )
    again = cryoreg.create_dataset("star", root=tmp_path / "out.star")
    assert len(again) == COUNT
    np.testing.assert_array_equal(again[0].volume[0], mrcfile.read(volumes / "Extract" / "sub 0.mrc"))


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [
        (["a", "b", "c"], [1, 2, 3]),
        (["1", "2", "10"], [1, 2, 10]),
        (["0", "1"], [2, 1]),
        (["3", "0", "7"], [3, 8, 7]),
        (["0"], [1]),
        (["0", "00"], [1, 2]),
        (["1", "01"], [1, 2]),
        (["4", "x"], [1, 2]),
    ],
)
def test_class_numbers_are_names_where_those_are_numbers(classes, numbers):
    assert class_numbers(classes) == numbers


@pytest.mark.parametrize("name", ["26S proteasome", "5'-cap #2", "", "α-toxin", 'the "other"', "_x", "data_x"])
def test_any_class_name_can_be_written(tmp_path, name):
    path = write(tmp_path / "a.star", "data_\n\nloop_\n_rlnImageName #1\nx.mrc\n")
    predicted = Predictions(
        ids=("x.mrc",),
        classes=(name, "other"),
        probabilities=np.array([[0.75, 0.25]]),
        predictions=np.array([0]),
        confidences=np.array([0.75]),
        unsure=np.array([False]),
        threshold=0.5,
        temperature=1.0,
        origins=(Origin(str(path), 0),),
        groups=(None,),
        left_out={},
    )
    path.write_text(star_text(ParticleText.star(str(path)), predicted))
    row = gemmi.cif.read(str(path)).sole_block().find([f"_{column}" for column in ADDED[:4]])[0]
    assert [row.str(place) for place in range(4)] == ["1", name, "0.7500", "0"]
    assert read_blocks(path)[""]["cryoregClassName"].tolist() == [name]


def test_text_that_is_not_utf8_survives(tmp_path):
    content = b"# caf\xe9\ndata_\nloop_\n_rlnImageName\nx.mrc\n"
    (tmp_path / "a.star").write_bytes(content)
    text = ParticleText.star(str(tmp_path / "a.star")).with_columns({"rlnClassNumber": ["1"]})
    assert (
        text.encode(errors="surrogateescape")
        == b"# caf\xe9\ndata_\nloop_\n_rlnImageName\n_rlnClassNumber #2\nx.mrc 1\n"
    )


# What is said


@pytest.fixture
def cryoreg_command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        result = CliRunner().invoke(command_line, [str(word) for word in words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return call


def test_the_command_says_what_differs_before_it_begins(cryoreg_command, run, volumes):
    text = relion31(volumes).read_text().replace("10.0000", "13.0000")
    path = write(volumes / "other.star", text.replace("\r\n", "\n"))
    words = ["--set", "dataset.voxel_size=13", "--output", "out.star", *CPU]
    status, output = cryoreg_command("predict", run, "--data", path, *words)
    assert status == 0, output
    assert output.splitlines()[0] == "note: voxels of 13 Å are brought to 10 Å"
    assert re.search(r"│ +2 │ class1 │ +2 │", output)
    assert re.search(r"6 subtomograms, \d unsure \(confidence below 0.5; calibrated, T = ", output)
    predictions, next_ = output.splitlines()[-2:]
    assert predictions == "predictions  out.star"
    assert next_.startswith("next         cryoreg report ")
    assert Path("out.star").is_file()


def test_a_list_that_was_trained_on_with_labels_needs_none(cryoreg_command, volumes, tmp_path):
    """The real-life case: a few particles have classes, the many to be classified have no such column."""
    relabelled = re.sub(r"\t1\t(\d)", lambda found: f"\t1\t{int(found[1]) % 2 + 3}", relion31(volumes).read_text())
    labelled = write(volumes / "few.star", relabelled)
    source = {"name": "star", "root": labelled, "label": "rlnClassNumber"}
    cryoreg.finetune(
        tmp_path / "fine",
        encoder={"name": "rb3d", "width": 4},
        dataset=source,
        epochs=1,
        **FAST,
    )
    many = re.sub(r"^(\d+@\S+\t1)\t\d", r"\1", labelled.read_text(), flags=re.MULTILINE)
    path = write(volumes / "many.star", many.replace("_rlnClassNumber #3 \n", ""))
    status, output = cryoreg_command("predict", tmp_path / "fine", "--data", path, "--output", "out.star", *CPU)
    assert status == 0, output
    assert set(particles(tmp_path / "out.star")["rlnClassNumber"]) <= {"3", "4"}


def test_boxes_are_cut_as_large_as_the_network_knows(run, volumes, tmp_path):
    predict(run, output=tmp_path / "out.star", dataset={"root": relion5(volumes), "tomograms": volumes})
    assert len(particles(tmp_path / "out.star")) == len(POINTS)


def test_readers_notes_are_said(cryoreg_command, run, volumes, tmp_path):
    particle_writing.csv(volumes)
    write_tomogram(volumes / "TS_01.mrc")
    (volumes / "list.csv").write_text("x,y,z\n1,20,20\n20,20,20\n")
    words = ["--set", f"dataset.tomograms={volumes / 'TS_01.mrc'}", "--output", "out.csv", *CPU]
    status, output = cryoreg_command("predict", run, "--data", volumes / "list.csv", *words)
    assert status == 0, output
    assert "note: 1 of 2 boxes reach beyond their tomograms" in output


@pytest.fixture
def older(run, tmp_path) -> Path:
    """The run as if it had been made before calibration."""
    tensors, card = load_weights(run / "classifier.safetensors")
    folder = tmp_path / "older"
    folder.mkdir()
    save_weights(folder / "classifier.safetensors", tensors, {k: v for k, v in card.items() if k != "calibration"})
    return folder


def test_older_runs_are_not_calibrated_and_say_so(cryoreg_command, run, older):
    status, output = cryoreg_command("predict", older, "--output", "out.csv", *CPU)
    assert status == 0, output
    assert "note: not calibrated" in output
    assert "; not calibrated)" in output
    plain, calibrated = predict(older), predict(run)
    temperature = load_weights(run / "classifier.safetensors").card["calibration"]["temperature"]
    raised = plain.probabilities ** (1 / temperature)
    np.testing.assert_allclose(calibrated.probabilities, raised / raised.sum(1, keepdims=True), rtol=1e-5, atol=1e-9)


def test_auto_takes_the_threshold_of_the_validation_split(run, tmp_path):
    tensors, card = load_weights(run / "classifier.safetensors")
    card["calibration"]["unsure_threshold"] = 0.875
    save_weights(tmp_path / "classifier.safetensors", tensors, card)
    predicted = predict(run=tmp_path, unsure="auto")
    assert predicted.threshold == 0.875
    np.testing.assert_array_equal(predicted.unsure, predicted.confidences < 0.875)


def test_the_summary_counts(run, volumes):
    predicted = predict(run, relion31(volumes), unsure=1.0)
    for index, (number, name, count, mean, unsure) in enumerate(predicted.summary()):
        mine = [c for c, p in zip(predicted.confidences, predicted.predictions, strict=True) if p == index]
        assert (number, name, count, unsure) == (index + 1, f"class{index}", len(mine), len(mine))
        assert mean == pytest.approx(sum(mine) / len(mine) if mine else float("nan"), nan_ok=True)


# What is refused


def existing(run, volumes, tmp_path):
    write(tmp_path / "out.star", "mine")
    return {"path": relion31(volumes), "output": tmp_path / "out.star"}


def same_file(run, volumes, tmp_path):
    path = relion31(volumes)
    return {"path": path, "output": volumes / "Extract" / ".." / path.name, "overwrite": True}


def two_lists(run, volumes, tmp_path):
    """A store of two lists' particles."""
    path = relion31(volumes)
    dataset = cryoreg.create_dataset("star", root=path)
    told = dataset.origin
    dataset.origin = lambda index: told(index) if index else Origin(str(volumes / "other.star"), 0, 10.0)
    convert(dataset, tmp_path / "two.h5")
    return {"path": tmp_path / "two.h5", "output": tmp_path / "out.star"}


def lost_list(run, volumes, tmp_path):
    path = relion31(volumes)
    convert(cryoreg.create_dataset("star", root=path), tmp_path / "some.h5")
    path.unlink()
    return {"path": tmp_path / "some.h5", "output": tmp_path / "out.star"}


def shortened_list(run, volumes, tmp_path):
    path = relion31(volumes)
    convert(cryoreg.create_dataset("star", root=path), tmp_path / "some.h5")
    path.write_bytes(path.read_bytes().replace(b"000006@Extract/stack.mrcs\t1\t1\t12345678901234567890\t0.10000", b""))
    return {"path": tmp_path / "some.h5", "output": tmp_path / "out.star"}


def not_volumes(run, volumes, tmp_path):
    write_classes(tmp_path / "more", classes=2, per_class=2)
    convert(cryoreg.create_dataset("mrc_folder", root=tmp_path / "more"), tmp_path / "some.h5")
    dataset = cryoreg.create_dataset("store", root=tmp_path / "some.h5")
    dataset.origin = lambda index: Origin(str(tmp_path / "some.pickle"), index)
    convert(dataset, tmp_path / "other.h5")
    return {"path": tmp_path / "other.h5", "output": tmp_path / "out.star"}


def encoder_only(run, volumes, tmp_path):
    tensors, card = load_weights(run / "encoder.safetensors")
    save_weights(tmp_path / "encoder.safetensors", tensors, card)
    return {"run": tmp_path, "path": relion31(volumes), "output": tmp_path / "out.star"}


def given(**more):
    def make(run, volumes, tmp_path):
        output = tmp_path / more.get("output", "out.star")
        return {"path": relion31(volumes)} | more | {"output": output}

    return make


def both_readers(run, volumes, tmp_path):
    return {"path": relion3(volumes), "output": tmp_path / "out.star"}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (existing, OutputError, "exists already; choose another name or say --overwrite"),
        (same_file, OutputError, "never changed"),
        (two_lists, DataError, "not all of one list"),
        (lost_list, DataError, "put it back"),
        (shortened_list, DataError, "lists other particles than when these were cut out"),
        (not_volumes, DataError, "write CSV"),
        (encoder_only, CheckpointError, "without a classifier"),
        (both_readers, DataError, "--dataset star or --dataset tomogram"),
        (given(output="out.xml"), ConfigError, "use .star, .csv, .tbl"),
        (given(output="out.tbl"), DataError, "write .star, or CSV"),
        (given(format="mrc"), ConfigError, "no format"),
        (given(unsure=1.5), ConfigError, "between 0 and 1"),
        (given(unsure="auto"), ConfigError, "give a number"),
        (given(path=Path("nowhere.star")), DataError, "nowhere.star"),
        (given(run=Path("nowhere")), CheckpointError, "nowhere"),
    ],
)
def test_refused_in_one_line_and_nothing_is_written(run, volumes, tmp_path, make, error, words):
    call = {"run": run} | make(run, volumes, tmp_path)
    before = state(tmp_path)
    with pytest.raises(error, match=words) as caught:
        predict(**call)
    assert isinstance(caught.value, CryoregError)
    assert len(str(caught.value).splitlines()) == 1
    assert state(tmp_path) == before


def test_a_row_with_too_many_values_is_named(tmp_path):
    path = write(tmp_path / "a.star", "data_\nloop_\n_rlnImageName #1\nx.mrc\ny.mrc 2\n")
    with pytest.raises(DataError, match="line 5 has 2 values for 1 columns"):
        ParticleText.star(str(path)).with_columns({"a": ["1", "1"]})


def test_overwriting_is_asked_for(run, volumes, tmp_path):
    write(tmp_path / "out.star", "mine")
    predict(run, relion31(volumes), tmp_path / "out.star", overwrite=True)
    assert len(particles(tmp_path / "out.star")) == COUNT


def test_the_card_beside_the_weights_says_the_same(run):
    card = json.loads((run / "card.json").read_text())
    assert card["calibration"] == load_weights(run / "classifier.safetensors").card["calibration"]
