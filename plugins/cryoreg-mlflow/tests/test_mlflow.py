"""What a run tells MLflow, read back through MLflow's own client from a store in a folder."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cryoreg.seams import LoggedRun
from cryoreg.testing import fake_plugin
from cryoreg_mlflow.logger import MlflowLogger, flat

CONFIG = {"task": "pretrain", "method": {"name": "moco", "temperature": 0.2}, "many": {str(n): n for n in range(150)}}
STEP = {"step": 7, "epoch": 0, "loss": 2.5, "lr": 0.1, "grad_norm": 1.5}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a store in a folder; nothing leaves the machine."""
    pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    variables = {
        "MLFLOW_TRACKING_URI": (tmp_path / "store").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_EXPERIMENT_NAME": "tests",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    from mlflow.tracking import MlflowClient

    return MlflowClient()


def runs_of(store: Any) -> list[Any]:
    experiment = store.get_experiment_by_name("tests")
    return list(store.search_runs([experiment.experiment_id])) if experiment else []


def told(folder: Path, first_step: int = 0) -> LoggedRun:
    folder.mkdir(exist_ok=True)
    return LoggedRun(folder, CONFIG, first_step)


def test_settings_figures_and_status_arrive(store: Any, tmp_path: Path) -> None:
    logger = MlflowLogger(told(tmp_path / "pre"))
    assert [run.info.status for run in runs_of(store)] == ["RUNNING"]
    logger.steps([{**STEP, "step": 6, "loss": 9.0}, STEP])
    logger.epoch(0, 8, {"loss": 2.25, "val_loss": math.nan})
    logger.close()
    [run] = runs_of(store)
    assert (run.info.run_name, run.info.status) == ("pre", "FINISHED")
    assert run.data.params == {key: str(value) for key, value in flat(CONFIG)}
    assert run.data.params["method.temperature"] == "0.2"
    history = {name: store.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    assert {name: [(each.step, each.value) for each in values] for name, values in history.items()} == {
        "step/loss": [(7, 2.5)],
        "step/lr": [(7, 0.1)],
        "step/grad_norm": [(7, 1.5)],
        "epoch/number": [(8, 0.0)],
        "epoch/loss": [(8, 2.25)],
    }


@pytest.mark.parametrize(
    ("error", "status"), [(SystemExit(143), "KILLED"), (KeyboardInterrupt(), "KILLED"), (ValueError(), "FAILED")]
)
def test_how_it_ended_is_told(store: Any, tmp_path: Path, error: BaseException, status: str) -> None:
    MlflowLogger(told(tmp_path / "pre")).close(error)
    assert [run.info.status for run in runs_of(store)] == [status]


def test_a_resumed_run_goes_on_with_its_run(store: Any, tmp_path: Path) -> None:
    MlflowLogger(told(tmp_path / "pre")).close(SystemExit(143))
    again = MlflowLogger(told(tmp_path / "pre", first_step=8))
    assert [run.info.status for run in runs_of(store)] == ["RUNNING"]
    again.steps([{**STEP, "step": 8}])
    again.close()
    [run] = runs_of(store)
    assert run.info.status == "FINISHED"
    assert [each.step for each in store.get_metric_history(run.info.run_id, "step/loss")] == [8]
    MlflowLogger(told(tmp_path / "other")).close()
    assert len(runs_of(store)) == 2


def test_a_server_that_is_not_there_is_an_error_at_once(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        MlflowLogger(told(tmp_path / "pre"))
    assert not (tmp_path / "pre" / "mlflow").exists()


@pytest.mark.slow
def test_cryoreg_finds_it_and_a_run_logs_to_it(store: Any, tmp_path: Path) -> None:
    import cryoreg

    points = "[cryoreg.loggers]\nmlflow_of_test = cryoreg_mlflow.logger:MlflowLogger\n"
    with fake_plugin(tmp_path / "site", entry_points=points):
        cryoreg.pretrain(
            tmp_path / "run",
            method="simclr",
            encoder={"name": "rb3d", "width": 4},
            dataset={"name": "demo", "per_class": 2, "box": 16},
            batch_size=8,
            epochs=2,
            device="cpu",
            part="all",
            loggers=["csv", "mlflow_of_test"],
        )
    [run] = runs_of(store)
    assert run.info.status == "FINISHED"
    assert run.data.params["method.name"] == "simclr"
    table = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[table[0].split(",").index("loss")]) for row in table[1:]]
    logged = store.get_metric_history(run.info.run_id, "epoch/loss")
    assert [each.value for each in logged] == pytest.approx(losses)


def test_its_module_is_light() -> None:
    code = "import sys, cryoreg_mlflow.logger; print(sorted({'torch', 'numpy', 'mlflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
