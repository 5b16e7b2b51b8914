"""Sets of which some subtomograms have no class: each command does with them what it should, whatever the reader."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
import torch
from click.testing import CliRunner
from support.mrc_writing import noise, write_mrc

import cryoreg
from cryoreg.benchmark.cells import probe
from cryoreg.config import Layer, resolve
from cryoreg.datasets.unlabelled import names_no_class
from cryoreg.errors import DataError
from cryoreg.runs.run_folder import RunFolder
from cryoreg.training.pretrain import pretraining_samples, shown_labels
from cryoreg_cli.main import cryoreg as command

KINDS = ("star", "tomogram", "csv", "store")
EMPTY = ("None", "NA", "n/a", "none")
TOMOGRAMS, PLACES = 6, [(8, 8, 8), (8, 8, 24), (8, 24, 8), (24, 8, 8), (24, 24, 8), (24, 8, 24)]
FAST = ["--epochs", "1", "--batch-size", "4", "--set", "training.device=cpu", "--set", "training.workers=0"]
SMALL = ["--encoder", "rb3d", "--set", "encoder.width=4"]


def rows() -> list[dict]:
    """Six particles in each of six tomograms: two of each class, and two without."""
    found = []
    for number in range(TOMOGRAMS):
        for place, (z, y, x) in enumerate(PLACES):
            label = ("ribosome", "proteasome", None)[place % 3]
            name = f"sub/{number}_{place}.mrc"
            found.append({"x": x, "y": y, "z": z, "tomogram": f"TS_{number}", "class": label, "name": name})
    return found


def volume(seed: int, bright: bool) -> np.ndarray:
    data = noise((8, 8, 8), seed)
    data[2:4, 2:6, 2:6] += 5.0 * bright
    return data


def write_volumes(folder: Path) -> None:
    for number in range(TOMOGRAMS):
        tomogram = noise((32, 32, 32), number)
        for place, (z, y, x) in enumerate(PLACES):
            made = volume(10 * number + place, place % 3 == 0)
            tomogram[z - 4 : z + 4, y - 4 : y + 4, x - 4 : x + 4] = made
            write_mrc(folder / "sub" / f"{number}_{place}.mrc", made)
        write_mrc(folder / "tomograms" / f"TS_{number}.mrc", tomogram)


def write_star(path: Path, columns: dict) -> Path:
    frame = pd.DataFrame(columns)
    cells = [EMPTY[i % len(EMPTY)] if row["class"] is None else row["class"] for i, row in enumerate(rows())]
    starfile.write({"particles": frame.assign(myClass=cells)}, path)
    return path


def write_csv(path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["x", "y", "z", "tomogram", "class"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "class": row["class"] or ("", "NA")[i % 2]} for i, row in enumerate(rows()))
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, list[str]]:
    """Kind -> the options that name the set."""
    folder = tmp_path_factory.mktemp("partly")
    write_volumes(folder)
    listed = rows()
    star = write_star(
        folder / "list.star",
        {"rlnImageName": [row["name"] for row in listed], "rlnTomoName": [row["tomogram"] for row in listed]},
    )
    points = {f"rlnCoordinate{axis.upper()}": [row[axis] for row in listed] for axis in "xyz"}
    placed = write_star(folder / "points.star", {**points, "rlnTomoName": [row["tomogram"] for row in listed]})
    table = write_csv(folder / "points.csv")
    boxes = ["--set", "dataset.box=8", "--set", f"dataset.tomograms={folder / 'tomograms'}"]
    found = {
        "star": ["--dataset", "star", "--data", str(star), "--set", "dataset.label=myClass"],
        "tomogram": ["--dataset", "tomogram", "--data", str(placed), "--set", "dataset.label=myClass", *boxes],
        "csv": ["--dataset", "tomogram", "--data", str(table), *boxes],
    }
    store = folder / "store.h5"
    run("convert", *found["star"], "--output", store)
    return found | {"store": ["--dataset", "store", "--data", str(store)]}


def run(*words: object, fails: bool = False) -> str:
    result = CliRunner().invoke(command, list(map(str, words)))
    assert (result.exit_code != 0) == fails, f"{words}: {result.output}\n{result.exception!r}"
    assert fails or result.exception is None
    return result.output


def config(options: list[str], task: str = "pretrain", **training):
    chosen = {"name": options[1], "root": options[3]}
    chosen |= dict(each.removeprefix("dataset.").split("=", 1) for each in options[5::2])
    return resolve(task, [Layer("test", {"dataset": chosen, "training": training})])


@pytest.fixture(scope="module")
def tuned(sets, tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """Kind -> a fine-tuning run, and what it said."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        kind: (folder / kind, run("finetune", *SMALL, *options, *FAST, "--run-dir", folder / kind))
        for kind, options in sets.items()
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_with_its_gaps_and_that_is_said(sets, tuned, kind):
    dataset = config(sets[kind]).spec("dataset").build()
    assert sorted(dataset.classes) == ["proteasome", "ribosome"]
    told = [None if label is None else dataset.classes[label] for label in dataset.labels]
    assert told == [row["class"] for row in rows()]
    assert "12 of 36 subtomograms have no class" in tuned[kind][1]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_of_labelled_ones_in_every_part(tuned, kind):
    run_dir, _ = tuned[kind]
    seen: list[str] = []
    for part in ("train", "val", "test"):
        run("evaluate", run_dir, "--part", part)
        figures = json.loads((run_dir / f"evaluation_{part}.json").read_text())
        assert sum(map(sum, figures["confusion"])) == figures["subtomograms"]
        listed = table(run_dir / f"predictions_{part}.csv")
        assert {row["label"] for row in listed} == {"ribosome", "proteasome"}
        seen += [row["id"] for row in listed]
    assert len(seen) == len(set(seen)) == 24


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_predicted_and_embedded(tuned, tmp_path, kind):
    run_dir, _ = tuned[kind]
    run("predict", run_dir, "--output", tmp_path / "p.csv")
    assert len(table(tmp_path / "p.csv")) == 36
    run("embed", run_dir, "--output", tmp_path / "e.csv")
    embedded = table(tmp_path / "e.csv")
    assert sum(row["label"] == "" for row in embedded) == 12
    assert {row["split"] for row in embedded if row["label"]} == {"train", "val", "test"}
    assert {row["split"] for row in embedded if not row["label"]} <= {"train", ""}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_looks_at_it_ends_well(sets, tuned, tmp_path, kind):
    run_dir, _ = tuned[kind]
    run("inspect", sets[kind][3], *sets[kind][:2], *sets[kind][4:])
    run("preview", *sets[kind], "--output", tmp_path / "preview.png")
    run("cluster", run_dir, "--clusters", "2", "--output", tmp_path / "c.csv", "--montage", tmp_path / "c.png")
    assert len(table(tmp_path / "c.csv")) == 36
    run("explain", run_dir, "--part", "all", "--count", "3", "--output", tmp_path / "explained")
    run("export", run_dir, "--classifier", "--half", "--output", tmp_path / "h.safetensors")
    run("convert", *sets[kind], "--output", tmp_path / "s.h5")
    again = cryoreg.create_dataset("store", root=tmp_path / "s.h5")
    assert sum(label is None for label in again.labels) == 12


@pytest.mark.slow
@pytest.mark.usefixtures("without_umap")
def test_the_report_measures_labelled_ones(tuned):
    run_dir, _ = tuned["csv"]
    run("report", run_dir)
    figures = json.loads((run_dir / "evaluation_test.json").read_text())
    assert f"test split, {figures['subtomograms']} subtomograms" in (run_dir / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["supcon", "simclr"])
def test_pretraining_takes_them_and_shows_a_method_the_labels_there_are(sets, tmp_path, method):
    run("pretrain", "--method", method, *SMALL, *sets["csv"], *FAST, "--run-dir", tmp_path / "run")
    plan = config(sets["csv"])
    dataset = plan.spec("dataset").build()
    samples, shown = pretraining_samples(plan, dataset).tolist(), shown_labels(plan, dataset)
    assert any(dataset.labels[i] is None for i in samples)
    held_out = {i for i in range(36) if dataset.labels[i] is not None} - set(samples)
    assert held_out.isdisjoint(torch.nonzero(shown >= 0).flatten().tolist())
    assert {i for i in samples if shown[i] >= 0} == {i for i in samples if dataset.labels[i] is not None}
    assert len({dataset.groups[i] for i in samples} & {dataset.groups[i] for i in held_out}) == 0


def test_a_study_probes_with_the_labelled_ones(sets, tmp_path):
    chosen = config(sets["star"], "finetune").to_dict()
    payload = {"config": {key: chosen[key] for key in ("dataset", "split")}, "simulated": False, "labels": ["100 %"]}
    payload["config"]["encoder"] = {"name": "rb3d", "width": 4}
    found = probe(tmp_path, payload, [])
    assert all(0 <= figures["accuracy"] <= 1 for each in found.values() for figures in each.values())


def few(sets, tmp_path, keep: int) -> list[str]:
    """The set of the STAR file with so many labels of each class."""
    frame = starfile.read(sets["star"][3])
    for name in ("ribosome", "proteasome"):
        frame.loc[frame.index[frame.myClass == name][keep:], "myClass"] = "None"
    path = Path(sets["star"][3]).with_name(f"few{keep}.star")
    starfile.write({"particles": frame}, path)
    return [*sets["star"][:3], str(path), *sets["star"][4:]]


@pytest.mark.slow
def test_too_few_labels_to_split_leave_no_folder_and_name_the_way_out(sets, tmp_path):
    options = few(sets, tmp_path, 2)
    words = [*SMALL, *options, *FAST, "--run-dir", tmp_path / "run"]
    said = run("finetune", *words, fails=True)
    assert "too few for 3 parts" in said
    assert not (tmp_path / "run").exists()
    said = run("pretrain", *words, fails=True)
    assert "--set training.part=all" in said
    assert not (tmp_path / "run").exists()
    run("pretrain", *words, "--set", "training.part=all")
    assert RunFolder(tmp_path / "run").last.exists()


@pytest.mark.parametrize("cell", ["", "  ", "None", "none", "NA", "N/A", "nan", "<NA>", "null"])
def test_cells_without_a_class(cell):
    assert names_no_class(cell)


@pytest.mark.parametrize("cell", ["0", "1", "no", "empty", "background", "nano", "Na+ channel", "none of these"])
def test_cells_that_name_a_class(cell):
    assert not names_no_class(cell)


def test_labels_of_one_class_alone_train_no_classifier(sets, tmp_path):
    options = few(sets, tmp_path, 12)
    frame = starfile.read(options[3])
    frame.loc[frame.myClass == "ribosome", "myClass"] = "NA"
    starfile.write({"particles": frame}, options[3], overwrite=True)
    with pytest.raises(DataError, match=r"single class \('proteasome'\)"):
        cryoreg.finetune(tmp_path / "run", dataset=config(options).to_dict()["dataset"])
    assert not (tmp_path / "run").exists()
