"""Doubt from end to end: what fine-tuning leaves, what predict and report say; files that are old or damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from click.testing import CliRunner
from support.mrc_writing import write_mrc
from support.synthetic import write_classes

import cryoreg
from cryoreg.analysis.report.doubt import by_chance, doubts_of
from cryoreg.analysis.report.measured import measured_of
from cryoreg.config import Layer
from cryoreg.doubt.familiar import NONE_BELOW, Familiar
from cryoreg.doubt.familiar_file import FILE, VERSION, load_familiar
from cryoreg.doubt.strangeness import SCORES
from cryoreg.errors import CheckpointError, ConfigError
from cryoreg.inference.doubts import AUTO, Doubter
from cryoreg.inference.embedding import embedding_of, parts_of, samples_of
from cryoreg.inference.prediction_files import DOUBTS, REMARK
from cryoreg.inference.trained import Trained
from cryoreg.runs.weights import load_weights, write_weights
from cryoreg_cli.main import cryoreg as command_line

FAST = {"device": "cpu", "workers": 0, "precision": "fp32"}
CPU = ["--device", "cpu", "--set", "training.workers=0"]
CLASSES, PER_CLASS = 3, 40


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("doubt")
    source = {"name": "mrc_folder", "root": write_classes(folder / "data", CLASSES, PER_CLASS)}
    how = {"batch_size": 16, "epochs": 8, "optimizer": "adam", "lr": 1e-2, "augmentation": "none"}
    cryoreg.finetune(folder / "run", encoder={"name": "rb3d", "width": 4}, dataset=source, **how, **FAST)
    return folder / "run"


@pytest.fixture(scope="module")
def classifier(run) -> Path:
    return run / "classifier.safetensors"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Lists of stacks: another draw of the same kind, and the same with its sign turned."""
    folder = tmp_path_factory.mktemp("project")
    root = write_classes(folder / "more", CLASSES, 20, seed=7)
    stack = np.stack([mrcfile.read(path) for path in sorted(root.rglob("*.mrc"))])
    for name, volumes in (("same", stack), ("inverted", -stack)):
        write_mrc(folder / f"{name}.mrcs", volumes)
        rows = "".join(f"{slot + 1:06d}@{name}.mrcs\n" for slot in range(len(stack)))
        (folder / f"{name}.star").write_text(f"# by hand\ndata_\n\nloop_\n_rlnImageName #1\n{rows}")
    return folder


def predict(run: Path, root: Path | None = None, output: Path | None = None, **more):
    return cryoreg.predict(run, **{"dataset": root and {"root": root}, "output": output} | FAST | more)


def command(*words: object) -> str:
    result = CliRunner().invoke(command_line, [*map(str, words), *CPU])
    assert result.exit_code == 0, result.output
    return result.output


def test_familiarity_is_the_share_of_validation_that_is_as_strange(run, classifier, project):
    """Of each score: counted anew from the answers to the validation split."""
    trained = Trained.classifier(run, [Layer("test", {"training": FAST})])
    val = trained.answers(samples_of(trained, "val").tolist())
    known = load_familiar(classifier).known
    layer = Layer("test", {"training": FAST, "dataset": {"root": str(project / "same.star")}})
    others = Trained.with_data(trained.network, [layer], labels=False)
    answers = others.answers()
    for name, score in SCORES.items():
        found = predict(run, project / "same.star", none_of_these=name).doubts.strangers
        old, new = (score(known, each.logits, each.features) for each in (val, answers))
        near = 1e-3 * np.abs(new)  # what is stored and what is computed anew differ in the last bits
        least, most = (np.array([(old >= value).sum() for value in new + side * near]) for side in (1, -1))
        assert ((1 + least) / (1 + len(old)) <= found.familiarity + 1e-9).all()
        assert ((1 + most) / (1 + len(old)) >= found.familiarity - 1e-9).all()
        assert found.score == name
        np.testing.assert_array_equal(found.none_of_these, found.familiarity <= NONE_BELOW)


def test_the_same_kind_of_data_is_familiar(run, project):
    doubts = predict(run, project / "same.star").doubts
    assert doubts.warnings == ()
    assert set(doubts.drift) == {""}
    assert doubts.strangers.score == load_familiar(run / "classifier.safetensors").chosen
    assert doubts.strangers.none_of_these.mean() < 0.5


def test_inverted_data_are_warned_of_in_terminal_file_and_rows(run, project, tmp_path):
    star, table = tmp_path / "out.star", tmp_path / "out.csv"
    for output in (star, table):
        printed = command("predict", run, "--data", project / "inverted.star", "--output", output)
        assert "warning: these data differ from what was trained on:" in printed
        assert "may be none of these classes" in printed
    lines = star.read_text().splitlines()
    assert lines[0].startswith(f"{REMARK}these data differ from what was trained on: ")
    assert lines[1] == "# by hand"
    columns = starfile.read(star)
    assert {*DOUBTS} <= {*columns}
    rows = pd.read_csv(table)
    np.testing.assert_allclose(columns[DOUBTS[0]], rows["familiarity"], atol=1e-4)
    assert columns[DOUBTS[1]].tolist() == rows["none_of_these"].tolist()
    assert rows["drift"].str.contains("grey values").all()


def test_a_later_prediction_takes_back_what_an_earlier_one_said(run, project, tmp_path):
    first, second, third = (tmp_path / f"{name}.star" for name in ("first", "second", "third"))
    source = {"name": "star", "folder": project}
    predict(run, output=first, dataset=source | {"root": project / "inverted.star"})
    first.write_text(first.read_text().replace("inverted.mrcs", "same.mrcs"))
    predict(run, output=second, dataset=source | {"root": first})
    assert second.read_text().splitlines()[0] == "# by hand"
    predict(run, output=third, dataset=source | {"root": first}, none_of_these="off")
    assert REMARK not in third.read_text()
    assert set(starfile.read(third)[DOUBTS[0]]) == {-1}
    assert set(starfile.read(third)[DOUBTS[1]]) == {-1}


def test_off_adds_no_score_and_drift_is_warned_of_nevertheless(run, project, tmp_path):
    predicted = predict(run, project / "inverted.star", tmp_path / "out.star", none_of_these="off")
    assert predicted.doubts.strangers is None
    assert not {*DOUBTS} & {*starfile.read(tmp_path / "out.star")}
    assert (tmp_path / "out.star").read_text().startswith(REMARK)


def test_answers_by_other_turns_are_not_compared(run, project):
    printed = command(
        *("predict", run, "--data", project / "same.star", "--output", project / "turned.csv"),
        *("--set", "encoder.turns=4"),
    )
    assert "encoder.turns is 4, and was 1 when the run was validated" in printed
    assert "familiarity" not in pd.read_csv(project / "turned.csv")


TURNED = ("--set", "learner.turns=4")


def test_confidences_by_other_turns_are_not_called_calibrated(run, project, tmp_path):
    words = ("predict", run, "--data", project / "same.star", "--output", tmp_path / "out.csv", "--overwrite")
    assert "; calibrated, T = " in command(*words)
    printed = command(*words, *TURNED)
    assert "note: learner.turns is 4, and was 1 when the run was validated: its temperature was fitted there" in printed
    assert "; not calibrated)" in printed
    found = CliRunner().invoke(command_line, [*map(str, words), *TURNED, "--json", *CPU])
    assert json.loads(found.stdout)["calibrated"] is False


def test_another_learner_than_the_run_s_is_refused_in_one_line(run, project, tmp_path):
    for setting, said in (
        ("unit_length=true", "unit_length = False, not True"),
        ("name=prototypes", "name = 'full', not 'prototypes'"),
    ):
        words = ("predict", run, "--data", project / "same.star", "--output", tmp_path / "out.csv")
        refused = CliRunner().invoke(command_line, [*map(str, words), "--set", f"learner.{setting}", *CPU])
        assert refused.exit_code == 1
        assert f"holds a learner with {said}" in refused.output


def test_the_threshold_of_other_turns_is_refused_in_one_line(run, project, tmp_path):
    words = ("predict", run, "--data", project / "same.star", "--output", tmp_path / "out.csv", "--unsure", "auto")
    refused = CliRunner().invoke(command_line, [*map(str, words), *TURNED, *CPU])
    assert refused.exit_code == 1
    said = "--unsure auto: learner.turns is 4, and was 1 when the run was validated; give a number"
    assert said in refused.output + str(refused.exception)


def test_an_evaluation_records_its_turns(run, tmp_path):
    shutil.copytree(run, own := tmp_path / "run")
    for words, turns in (((), 1), (TURNED, 4)):
        printed = command("evaluate", own, *words)
        figures = json.loads((own / "evaluation_test.json").read_text())
        assert figures["turns"] == {"encoder": 1, "learner": turns}
        assert ("its temperature was fitted there" in printed) == (turns == 4)


def test_the_runs_own_data_do_not_drift(run):
    assert predict(run).doubts.warnings == ()


def test_validation_with_hardly_two_of_a_class_is_said_to_tell_no_drift(run, classifier):
    familiar = load_familiar(classifier)
    few = familiar._replace(reference=familiar.reference._replace(values=familiar.reference.values[:19]))
    (line,) = Doubter(few, familiar.chosen).notes()
    assert "of 24 validation subtomograms 19 were not alone in their class: too few to tell whether these data" in line


@pytest.fixture(scope="module")
def own_ids(run, tmp_path_factory) -> Path:
    """The run's own data set with its sign turned: the same ids, labels and box, in another place."""
    root = tmp_path_factory.mktemp("inverted") / "data"
    shutil.copytree(run.parent / "data", root)
    for path in root.rglob("*.mrc"):
        write_mrc(path, -mrcfile.read(path))
    return root


def test_other_volumes_under_the_same_ids_are_other_data(run, own_ids, capsys):
    warnings = predict(run, own_ids).doubts.warnings
    assert warnings[0].startswith("these data differ from what was trained on: ")
    said = "differs: ids and labels are those of the training data, the volumes are not"
    assert capsys.readouterr().err.count(said) == 1
    assert report_lines(run, own_ids)[0] == warnings[0]
    trained = Trained.classifier(run, [Layer("test", {"dataset": {"root": str(own_ids)}})])
    assert (parts_of(trained), measured_of(trained).learnt_from) == (None, False)


def test_the_runs_own_data_are_known_elsewhere_rounded_and_scaled(run, tmp_path, capsys):
    shutil.copytree(run.parent / "data", root := tmp_path / "data")
    for path in root.rglob("*.mrc"):
        write_mrc(path, (100 * mrcfile.read(path)).round(1) + 7)
    assert predict(run, root).doubts.warnings == ()
    assert "differs" not in capsys.readouterr().err
    assert parts_of(Trained.classifier(run, [Layer("test", {"dataset": {"root": str(root)}})])) is not None


def test_other_volumes_are_still_evaluated_and_said_to_be_others(run, own_ids, capsys):
    cryoreg.evaluate(run, dataset={"root": str(own_ids)}, **FAST)
    assert "the volumes are not: another reconstruction" in capsys.readouterr().err


def test_runs_of_an_older_cryoreg_go_by_ids(run, own_ids, tmp_path):
    shutil.copytree(run, old := tmp_path / "run")
    rewrite(old / "classifier.safetensors", card=lambda card: {k: v for k, v in card.items() if k != "glimpse"})
    assert parts_of(Trained.classifier(old, [Layer("test", {"dataset": {"root": str(own_ids)}})])) is not None


def report_lines(run: Path, root: Path, part: str = "all") -> list[str]:
    layers = [Layer("test", {"training": FAST, **({"dataset": {"root": str(root)}} if root else {})})]
    trained = Trained.classifier(run, layers)
    return list(doubts_of(trained, embedding_of(trained, samples_of(trained, part))).lines)


def test_a_report_says_it_of_other_data_and_of_what_was_not_learnt_from(run, project):
    assert report_lines(run, project / "same.star") == []
    lines = report_lines(run, project / "inverted.star")
    assert lines[0].startswith("these data differ from what was trained on: ")
    assert report_lines(run, None, "train") == []
    assert report_lines(run, None, "test") == []


# Files


@pytest.fixture
def copied(run, tmp_path) -> Path:
    for name in ("classifier.safetensors", FILE):
        shutil.copy(run / name, tmp_path / name)
    return tmp_path


def test_what_is_saved_comes_back(classifier, run):
    found = load_familiar(classifier)
    assert isinstance(found, Familiar)
    assert found.chosen in SCORES
    assert len(found.predictions) == 24
    assert found.reference.counts.sum() == 24
    assert found.reference.freedom == np.inf  # no tomograms
    assert all(0 <= quality.decoys <= 1 for quality in found.qualities.values())


def test_an_older_run_opens_and_says_what_is_missing(copied, project):
    (copied / FILE).unlink()
    printed = command("predict", copied, "--data", project / "same.star", "--output", copied / "out.csv")
    assert f"there is no {FILE} beside" in printed
    assert "familiarity" not in pd.read_csv(copied / "out.csv")
    with pytest.raises(ConfigError, match="there is no"):
        predict(copied, project / "same.star", none_of_these="nearest")


def rewrite(path: Path, tensors=lambda held: held, card=lambda held: held) -> None:
    held = load_weights(path)
    write_weights(path, tensors(dict(held.tensors)), card(dict(held.card)))


def test_of_another_classifier_or_version_it_is_not_used(copied):
    file = copied / FILE
    rewrite(file, card=lambda card: card | {"classifier": "0" * 64})
    assert "belongs to another classifier" in load_familiar(copied / "classifier.safetensors")
    rewrite(file, card=lambda card: card | {"familiar": VERSION + 1})
    assert f"of version {VERSION + 1}" in load_familiar(copied / "classifier.safetensors")


@pytest.mark.parametrize(
    ("tensors", "card", "words"),
    [
        (lambda held: {**held, "bank": held["bank"][:, :5]}, dict, "tensor 'bank' has shape"),
        (lambda held: {k: v for k, v in held.items() if k != "centre"}, dict, "tensor 'centre' is missing"),
        (
            lambda held: {**held, "predictions": held["predictions"][:, None]},
            dict,
            "is missing or has other axes",
        ),
        (dict, lambda held: held | {"chosen": "best"}, "none of max_softmax"),
        (dict, lambda held: held | {"dispersion": "much"}, "dispersion"),
        (dict, lambda held: {k: v for k, v in held.items() if k != "names"}, "names"),
    ],
)
def test_what_cryoreg_did_not_write_is_refused_in_one_line(copied, tensors, card, words):
    rewrite(copied / FILE, tensors, card)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_familiar(copied / "classifier.safetensors")
    assert len(str(caught.value).splitlines()) == 1


def test_a_flipped_byte_is_found(copied):
    data = bytearray((copied / FILE).read_bytes())
    data[-9] ^= 1
    (copied / FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        load_familiar(copied / "classifier.safetensors")


def test_a_score_that_is_none_is_refused(run, project):
    with pytest.raises(ConfigError, match=f"{AUTO}, off or one of max_softmax"):
        predict(run, project / "same.star", none_of_these="softmax")


def test_many_marked_are_told_from_chance_by_a_beta_binomial():
    """Against draws: how many of 60 others reach the second largest of 40."""
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(20000, 100))
    marked = (draws[:, 40:] >= np.sort(draws[:, :40], axis=1)[:, -2:-1]).sum(1)
    for count in (3, 6, 9):
        share = (marked >= count).mean()
        assert by_chance(count, 60, 40) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 20000))
    assert by_chance(60, 60, 18) == 1.0  # too few are known to mark any


def test_of_a_small_validation_split_nothing_is_counted_as_none_of_these(project, tmp_path):
    """With 19 or fewer known, familiarity is never below 0.05: "0 may be none of these" would be no answer."""
    source = {"name": "mrc_folder", "root": write_classes(tmp_path / "data", CLASSES, 5)}
    how = {"learner": "linear_probe", "encoder": {"name": "rb3d", "width": 4}}
    cryoreg.finetune(tmp_path / "run", dataset=source, **how, **FAST)
    words = ("predict", tmp_path / "run", "--data", project / "same.star", "--output", tmp_path / "out.csv")
    printed = command(*words)
    assert "are too few to tell what is none of the classes" in printed
    assert "may be none of these classes" not in printed
    answer = CliRunner().invoke(command_line, [*map(str, words), "--overwrite", "--json", *CPU])
    found = json.loads(answer.stdout)["none_of_these"]
    assert found["score"] in SCORES
    assert found["subtomograms"] is None
