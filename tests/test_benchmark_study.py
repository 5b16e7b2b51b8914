import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.programs import ForkedJob

from cryoreg.benchmark import study as studies
from cryoreg.benchmark.plan import Candidate, Plan, choose
from cryoreg.benchmark.run_study import paper_figures
from cryoreg.benchmark.study import load_study, parse_labels, shipped
from cryoreg.benchmark.tables import Score, summarise, text_rows
from cryoreg.config import Layer, resolve
from cryoreg.errors import ConfigError
from cryoreg.runs.networks import open_network
from cryoreg.runs.weights import load_trained, weights_file, write_weights
from cryoreg_cli.main import cryoreg

TINY = """
labels = ["25 %", 5]
seeds = [0, 1]
[data.a.simulate]
per_class = 40
[encoders.net]
name = "rb3d"
[starts.random]
[starts.moco]
method = { name = "moco" }
[starts.supcon]
method = { name = "supcon" }
[settings.plain]
training = { epochs = 10 }
"""


@pytest.fixture
def tiny(tmp_path):
    def load(text="", **changes):
        file = tmp_path / "tiny.toml"
        file.write_text(TINY + text)
        return load_study(str(file), changes)

    return load


def cells_of(plan, start):
    return [cell for cell in plan.cells() if cell.start == start]


def pretraining(cell):
    return next((job for job in cell.job.needs if job.function.endswith(":pretrain")), None)


# ---- what a study says


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_run_of_a_shipped_study_is_a_valid_one(name, tmp_path):
    study = load_study(name, {"data": {"real": {"dataset": {"name": "demo"}}}} if name == "gupta2022-real" else {})
    for cell in Plan(study).cells():
        for job, task in ((cell.job, "finetune"), (pretraining(cell), "pretrain")):
            if job is not None:
                config = dict(job.payload["config"])
                if job.payload["simulated"]:
                    config["dataset"] = config["dataset"] | {"root": "x.h5"}
                resolve(task, [Layer("test", config)])
    assert json.dumps([dict(cell.job.payload) for cell in Plan(study).cells()])


def test_the_paper_as_the_issue_quotes_it():
    paper = load_study("gupta2022").paper["SNR 0.05"]
    quarter = {start: figures["25 %"] for start, figures in paper.items()}
    assert quarter == {"random": 12.9, "simclr": 33.9, "swav": 34.8, "moco": 27.5}
    assert [figures["100 %"] for figures in paper.values()] == [47.9, 63.1, 65.8, 67.3]


SUMS = {
    "SNR inf": {"random": (136.8, 3.7), "simclr": (207.9, 4.3), "swav": (206.3, 8.8), "moco": (220.8, 7.1)},
    "SNR 0.05": {"random": (120.0, 4.8), "simclr": (201.2, 5.6), "swav": (204.2, 9.1), "moco": (203.6, 5.4)},
    "SNR 0.03": {"random": (121.5, 4.2), "simclr": (187.9, 6.4), "swav": (187.8, 8.8), "moco": (204.8, 4.9)},
}
"""Means and standard deviations of Table 1, each added up over the four shares of labels."""


@pytest.mark.parametrize("data", SUMS)
def test_table_1_adds_up(data):
    study = load_study("gupta2022-sim")
    for start, sums in SUMS[data].items():
        for figures, expected in zip((study.paper, study.paper_sd), sums, strict=True):
            assert list(figures[data][start]) == ["25 %", "50 %", "75 %", "100 %"]
            assert sum(figures[data][start].values()) == pytest.approx(expected)


def test_the_paper_stands_beside_ours_at_every_share_of_labels():
    study = load_study("gupta2022-sim")
    columns = [parse_labels(labels).column for labels in study.labels[:4]]
    ours = [
        Score(data, "rb3d", "paper", start, column, 0, {"accuracy": 0.5})
        for data in study.data
        for start in study.starts
        for column in columns
    ]
    head, *rows = text_rows(summarise(ours, paper=paper_figures(study)))
    assert head[-4:] == ["25 %", "50 %", "75 %", "100 %"]
    assert len(rows) == 12
    last = next(row for row in rows if row[:2] == ["SNR 0.03", "moco"])
    assert last[-4:] == [
        "50.0 (+0.0) [30.1 ± 1.7, +19.9]",
        "50.0 (+0.0) [56.5 ± 0.7, -6.5]",
        "50.0 (+0.0) [60.7 ± 0.8, -10.7]",
        "50.0 (+0.0) [57.5 ± 1.7, -7.5]",
    ]
    assert all("±" in text for row in rows for text in row[-4:])


def test_table_2_beside_real_data():
    study = load_study("gupta2022-real")
    assert study.paper["real"]["random"] == {"25 %": 46.5, "50 %": 94.3, "75 %": 97.0, "100 %": 97.0}
    assert study.paper_sd["real"]["moco"] == {"25 %": 0.4, "50 %": 0.4, "75 %": 0.7, "100 %": 0.7}


def test_the_paper_s_figures_go_by_the_number_or_by_the_column(tiny):
    assert tiny('[paper.a]\nmoco = { 5 = 1.0, "25%" = 2.0 }').paper["a"]["moco"] == {"5 per class": 1.0, "25 %": 2.0}


def test_a_spread_without_its_mean_is_refused(tiny):
    with pytest.raises(ConfigError, match="paper_sd has a · moco · 25 %, of which paper says no accuracy"):
        tiny('[paper_sd.a]\nmoco = { "25 %" = 1.0 }')


def test_the_paper_s_settings():
    study = load_study("gupta2022")
    assert [study.data[name].simulate.per_class for name in study.data] == [500, 500, 500]
    first = next(cell for cell in Plan(study).cells() if cell.start == "moco" and cell.setting == "paper")
    tuning, pre = first.job.payload["config"]["training"], pretraining(first).payload["config"]
    assert (tuning["epochs"], tuning["optimizer"], tuning["lr"], tuning["batch_size"]) == (50, "sgd", 5e-4, 16)
    assert (pre["training"]["epochs"], pre["training"]["optimizer"], pre["training"]["lr"]) == (200, "adam", 1e-4)
    assert (pre["method"]["queue_size"], pre["method"]["momentum"]) == (128, 0.999)
    real = load_study("gupta2022-real", {"data": {"real": {"dataset": {"name": "demo"}}}})
    rates = {
        cell.labels: cell.job.payload["config"]["training"]["lr"]
        for cell in Plan(real).cells()
        if cell.setting == "paper"
    }
    assert (rates["25 %"], rates["50 %"], rates["75 %"], rates["100 %"]) == (1e-4, 1e-4, 5e-4, 5e-4)


@pytest.mark.parametrize(("value", "column", "training"), [
    ("25 %", "25 %", {"labels": 0.25}),
    ("12.5%", "12.5 %", {"labels": 0.125}),
    (5, "5 per class", {"labels_per_class": 5}),
])  # fmt: skip
def test_labels(value, column, training):
    assert parse_labels(value) == (column, training)


@pytest.mark.parametrize(("text", "message"), [
    ("x = 1", "x: not a setting of a study"),
    ('[settings.plain2]\nlearning = 1', "settings.plain2.learning: not a setting"),
    ('[starts.mine]\ndata = "b"\nmethod = { name = "moco" }', "starts.mine.data names no data set of the study: b"),
    ("[starts.empty]", "starts.empty has neither method nor weights"),
    ("[data.b]", "data.b: needs 'simulate' or a 'dataset'"),
    ('[settings.plain2]\nat."few" = { lr = 1.0 }', "settings.plain2.at: labels 'few': a share"),
    ('[paper.a]\nmoco = { "few" = 1.0 }', "paper: labels 'few': a share"),
    ("= 3", "is not TOML"),
])  # fmt: skip
def test_mistakes_in_a_study_are_one_line(tiny, text, message):
    if text == "x = 1":
        with pytest.raises(ConfigError, match=message):
            tiny(x=1)
        return
    with pytest.raises(ConfigError, match=message) as raised:
        tiny(text)
    assert "tiny.toml" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["5", '"5 per class"', '"25 %"', '"25%"'])
def test_other_values_with_so_many_labels_go_by_the_number_or_by_the_column(tiny, key):
    plan = Plan(tiny(f"at.{key} = {{ lr = 0.5 }}"))
    rates = {cell.labels: cell.job.payload["config"]["training"].get("lr") for cell in plan.cells()}
    column = "25 %" if "25" in key else "5 per class"
    assert [labels for labels, rate in rates.items() if rate == 0.5] == [column]


@pytest.mark.parametrize("labels", [["25"], ["0 %"], ["101 %"], [0], []])
def test_impossible_labels(tiny, labels):
    with pytest.raises(ConfigError, match="labels"):
        tiny(labels=labels)


def test_an_unknown_study():
    with pytest.raises(ConfigError, match=r"no study 'smok'.*smoke"):
        load_study("smok")


# ---- what it makes of it


def test_cells_are_every_combination_and_share_what_they_can(tiny):
    plan = Plan(tiny())
    cells = list(plan.cells())
    assert len(cells) == 3 * 2 * 2  # starts, seeds, labels
    moco = {cell.seed: {pretraining(c).key for c in cells_of(plan, "moco") if c.seed == cell.seed} for cell in cells}
    assert all(len(keys) == 1 for keys in moco.values()), "one pretraining for all fractions of labels"
    assert moco[0] != moco[1], "but one for each seed"
    assert all(pretraining(cell) is None for cell in cells_of(plan, "random"))
    assert len({cell.job.needs[0].key for cell in cells}) == 1, "all look at one simulation"


def test_a_method_that_uses_labels_sees_those_of_its_cell_alone(tiny):
    plan = Plan(tiny())
    for cell in cells_of(plan, "supcon"):
        training = pretraining(cell).payload["config"]["training"]
        assert training.get("labels_per_class") == (5 if cell.labels == "5 per class" else None)
        assert training["labels"] == (0.25 if cell.labels == "25 %" else 1.0)
    assert "supcon" not in {cell.start for cell in plan.probes()}


def test_a_search_sees_neither_test_nor_another_seed(tiny):
    text = 'search = { "training.lr" = [1e-3, 1e-2], "training.optimizer" = ["sgd", "adamw"] }\n'
    plan = Plan(tiny(text))
    searches = dict(plan.searches())
    assert set(searches) == {("a", "net", "plain", start) for start in ("random", "moco", "supcon")}
    candidates = searches["a", "net", "plain", "moco"]
    assert len(candidates) == 4
    assert all(job.payload["parts"] == [] and job.payload["config"]["training"]["seed"] == 0
               for candidate in candidates for job in candidate.jobs)  # fmt: skip
    accuracies = iter([0.3, 0.6, 0.5, 0.6])
    found = {job.key: {"val_accuracy": next(accuracies)} for c in candidates for job in c.jobs}
    plan.chosen = {("a", "net", "plain", "moco"): choose(candidates, found)}
    (first, *_) = cells_of(plan, "moco")
    training = first.job.payload["config"]["training"]
    assert (training["lr"], training["optimizer"]) == (1e-3, "adamw")
    assert training["epochs"] == 10
    assert cells_of(plan, "random")[0].job.payload["config"]["training"]["optimizer"] == "sgd"


def test_choose_averages_over_seeds():
    jobs = [SimpleNamespace(key=str(n)) for n in range(4)]
    candidates = [Candidate({"x": 1}, jobs[:2]), Candidate({"x": 2}, jobs[2:])]  # type: ignore[arg-type]
    found = {str(n): {"val_accuracy": a} for n, a in enumerate([0.9, 0.1, 0.5, 0.6])}
    assert choose(candidates, found) == {"x": 2}


def test_scale(tiny):
    plan = Plan(tiny(scale=0.1))
    (cell, *_) = cells_of(plan, "moco")
    assert cell.job.needs[0].payload["per_class"] == 4
    assert cell.job.payload["config"]["training"]["epochs"] == 1
    assert pretraining(cell).payload["config"]["training"]["epochs"] == 20


def test_other_structures_under_an_old_name_make_another_job(tiny, tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    keys = []
    for content in ("one", "two"):
        (folder / "a.pdb").write_text(content)
        study = tiny(data={"a": {"simulate": {"structures": str(folder)}}})
        keys.append(next(Plan(study).cells()).job.key)
    assert keys[0] != keys[1]


# ---- figures of cells


def test_figures_against_counting_by_hand():
    from cryoreg.benchmark.cells import figures

    found = figures(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["a", "b"])
    assert found["accuracy"] == 0.75
    assert found["per_class"] == pytest.approx({"a": 2 / 3, "b": 1.0})
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)  # a: P 1, R 2/3; b: P 1/2, R 1


# ---- the command


def test_dry_run_lists_jobs(tmp_path):
    run = CliRunner().invoke(
        cryoreg, ["benchmark", "smoke", "--dry-run", "--run-dir", str(tmp_path / "r"), "--seeds", "1"]
    )
    assert run.exit_code == 0, run.output
    assert run.output.count("fine-tune") == 3 * 2 + 2 * 2 - 2  # cells, and candidates of which one is a cell... by lr
    assert "pretrain" in run.output
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("options", "message"), [
    (["nonsense"], "no study 'nonsense'"),
    (["smoke", "--starts", "mocco"], "the study has no 'mocco'"),
    (["smoke", "--set", "x"], "expected key=value"),
    (["smoke", "--set", "settings.strong.training.lrr=3"], "lrr"),
    (["gupta2022", "--structures", "nowhere"], "cannot read structures"),
    (["gupta2022-real", "--data", "nowhere"], "nowhere"),
    (["smoke", "--data", "here"], "here: is for real data, of which this study has none"),
    (["gupta2022-real", "--structures", "here"], "here: is for data that are simulated, of which this study has none"),
])  # fmt: skip
def test_mistakes_on_the_command_line(options, message, tmp_path):
    run = CliRunner().invoke(cryoreg, ["benchmark", *options, "--dry-run", "--run-dir", str(tmp_path / "r")])
    assert run.exit_code != 0
    assert message in run.output
    assert "Traceback" not in run.output


def test_aliases_name_shipped_studies():
    assert set(studies.ALIASES.values()) <= set(shipped())


LEARNERS = """
[settings.probe]
learner = { name = "linear_probe" }
[settings.fixmatch]
learner = { name = "fixmatch", threshold = 0.8 }
augmentation_2 = { name = "strong" }
"""


def test_a_setting_may_name_a_learner_whose_recipe_lies_below_it(tiny):
    found = {cell.setting: cell.job.payload["config"] for cell in cells_of(Plan(tiny(LEARNERS)), "random")}
    assert found["probe"]["learner"]["name"] == "linear_probe"
    assert (found["probe"]["training"]["epochs"], found["fixmatch"]["training"]["epochs"]) == (1, 50)
    assert (found["fixmatch"]["learner"]["threshold"], found["fixmatch"]["training"]["ema"]) == (0.8, 0.99)
    assert found["fixmatch"]["augmentation_2"]["name"] == "strong"
    assert "learner" not in found["plain"], "what was run before there were learners keeps its key"


# ---- a whole study


WEIGHED = """
[starts.shipped]
weights = "rb3d_universe"
encoder = { norm = "batch", turns = 8 }
[starts.further]
weights = "rb3d_universe"
method = { name = "vicreg" }
encoder = { norm = "batch", turns = 8 }
"""


def test_a_start_may_be_trained_weights(tiny):
    """The setting stays that of all starts: the weights' own recipe is not taken."""
    plan = Plan(tiny(WEIGHED))
    shipped_cell, further, random = (cells_of(plan, name)[0] for name in ("shipped", "further", "random"))
    assert pretraining(shipped_cell) is None
    known = shipped_cell.job.payload["config"]
    assert known["training"] == random.job.payload["config"]["training"] | {"pretrained": "rb3d_universe"}
    assert known["augmentation"] == random.job.payload["config"]["augmentation"]
    assert known["input"] == {"voxel_size": 20.0, "box": [16, 16, 16], "contrast": "bright"}
    assert "learner" not in known
    began = pretraining(further).payload
    assert (began["config"]["training"]["pretrained"], began["config"]["method"]["name"]) == ("rb3d_universe", "vicreg")
    assert "pretrained" not in further.job.payload["config"]["training"], "it is what that job gave"


def test_weights_that_changed_under_their_path_make_another_job(tiny, tmp_path):
    mine = tmp_path / "mine.safetensors"
    study = tiny(WEIGHED, starts={"shipped": {"weights": str(mine)}})
    file, keys = weights_file("rb3d_universe"), []
    for _ in range(2):
        mine.write_bytes(file.read_bytes())
        keys.append(cells_of(Plan(study), "shipped")[0].job.key)
    tensors, card = load_trained(file)
    write_weights(mine, {name: 2 * tensor for name, tensor in tensors.items()}, card)
    keys.append(cells_of(Plan(study), "shipped")[0].job.key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.slow
def test_a_cell_begins_with_the_weights_of_its_start(tiny, tmp_path):
    """Steps at hardly any learning rate leave them as they are."""
    from cryoreg.benchmark import cells

    cell = cells_of(Plan(tiny(WEIGHED)), "shipped")[1]
    (tmp_path / "data").mkdir()
    cells.simulate(tmp_path / "data", cell.job.needs[0].payload | {"per_class": 5}, [])
    cell.job.payload["config"]["training"] |= {"lr": 1e-20, "epochs": 1, "labels_per_class": 1}
    cells.finetune(tmp_path, cell.job.payload, [tmp_path / "data"])
    begun, known = (open_network(start, "encoder").tensors for start in (tmp_path / "run", "rb3d_universe"))
    torch.testing.assert_close(begun["conv1.weight"], known["conv1.weight"].float(), rtol=0, atol=0)


@pytest.mark.slow
def test_the_smoke_study_from_simulation_to_table_runs_once(tmp_path, monkeypatch):
    """Every run is one epoch, and jobs are forked, as torch would be imported a dozen times."""
    monkeypatch.setattr("cryoreg.benchmark.job_starters._Process", ForkedJob)
    command = ["benchmark", "smoke", "--seeds", "1", "--run-dir", str(tmp_path / "r"), "--processes", "2"]
    for part in ("pretrain", "settings.strong"):
        command += ["--set", f"{part}.training.epochs=1"]
    first = CliRunner().invoke(cryoreg, command)
    assert first.exit_code == 0, first.output
    table = first.output[first.output.index("| setting") :]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert rows[0] == ["setting", "start", "n", "25 %", "5 per class"]
    assert [row[:3] for row in rows[2:]] == [
        [setting, start, "1"] for setting in ("strong", "linear probe", "kNN") for start in ("random", "vicreg")
    ]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "jobs").glob("*/result.json")}
    assert len(written) == 1 + 1 + 2 * 2 + 2 * 2 + 2  # simulation, pretraining, searches, cells, probes
    again = CliRunner().invoke(cryoreg, command)
    assert again.exit_code == 0, again.output
    assert table in again.output
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "jobs").glob("*/result.json")}
    scores = json.loads((tmp_path / "r" / "scores.json").read_text())["scores"]
    assert len(scores) == 2 * 2 * 3
    evaluated = list((tmp_path / "r" / "jobs").glob("*/run/evaluation_test.json"))
    assert len(evaluated) == 2 * 2, "searches never evaluate on test"
    assert {score["figures"]["accuracy"] for score in scores if score["setting"] == "strong"} == {
        json.loads(path.read_text())["accuracy"] for path in evaluated
    }
    for name in ("table.md", "table.csv", "table.tex", "per_class.md"):
        assert (tmp_path / "r" / name).stat().st_size > 100


def test_a_simulation_killed_before_its_result_is_taken_as_it_is(tmp_path):
    """Its store is whole, and gives the figures that were lost, of all rows, also of those written before a stop."""
    from cryoreg.benchmark import cells
    from cryoreg.datasets.store.reader import Store

    scenes = {"box": 16, "max_shift": 1, "neighbours": 0, "voxel_size": 20}
    payload = {"preset": "liu2020", "scenes": scenes, "structures": None, "seed": 0, "per_class": 1, "first": 0}
    first = cells.simulate(tmp_path, payload, [])
    written = (tmp_path / "data.h5").stat().st_mtime_ns
    assert cells.simulate(tmp_path, payload, []) == first
    assert (tmp_path / "data.h5").stat().st_mtime_ns == written
    ratios = Store(tmp_path / "data.h5").columns["snr_crop"].tolist()
    assert first["subtomograms"] == len(ratios) == 10
    assert first["snr_crop"] == pytest.approx(sum(ratios) / 10)


def test_a_pretraining_killed_before_its_first_checkpoint_begins_anew(tmp_path, monkeypatch):
    from cryoreg.benchmark import cells

    dataset = {"name": "demo", "per_class": 4}
    training = {"epochs": 1, "batch_size": 8, "device": "cpu", "probe_every_epochs": 0}
    config = {"dataset": dataset, "training": training, "encoder": {"name": "rb3d", "width": 4}}
    payload = {"config": config, "simulated": False}
    with monkeypatch.context() as patch:
        patch.setattr("cryoreg.runs.run_folder.save_checkpoint", lambda path, state: 1 / 0)
        patch.setattr("cryoreg.runs.run_folder.RunFolder._clear", lambda self, folders: None)
        with pytest.raises(ZeroDivisionError):
            cells.pretrain(tmp_path, payload, [])
    assert (tmp_path / "run").exists()
    assert math.isfinite(cells.pretrain(tmp_path, payload, [])["loss"])
