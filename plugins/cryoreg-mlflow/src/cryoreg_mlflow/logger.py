"""A run of cryoreg as a run of MLflow. Imports MLflow when a run begins."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryoreg.files import write_text
from cryoreg.seams import LoggedRun, Logger

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.utils.async_logging.run_operations import RunOperations

EXPERIMENT = "cryoreg"
"""The experiment, unless ``MLFLOW_EXPERIMENT_NAME`` names another."""
_MOST_PARAMETERS = 100
"""Of one request."""


class MlflowLogger(Logger):
    """A run of MLflow: the settings as parameters, the figures of steps and epochs as metrics.

    Server, password and experiment are those of MLflow's own variables: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN (or
    _USERNAME and _PASSWORD), MLFLOW_EXPERIMENT_NAME. The run's directory keeps the id, by which a resumed run goes on.
    """

    def __init__(self, run: LoggedRun) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        self._pending: list[RunOperations] = []
        file = run.folder / "mlflow" / "run_id"
        self._run = file.read_text("utf-8").strip() if file.exists() else self._begun(run, file)
        self._client.update_run(self._run, status="RUNNING")

    def _begun(self, run: LoggedRun, file: Path) -> str:
        from mlflow.entities import Param
        from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME

        name = MLFLOW_EXPERIMENT_NAME.get() or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        known = experiment.experiment_id if experiment else self._client.create_experiment(name)
        begun: str = self._client.create_run(known, run_name=run.folder.name).info.run_id
        parameters = [Param(key, str(value)) for key, value in flat(run.config)]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(begun, params=parameters[first : first + _MOST_PARAMETERS])
        file.parent.mkdir(exist_ok=True)
        write_text(file, begun)
        return begun

    def steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Send the newest step in the background, so that training does not wait for a server."""
        last = rows[-1]
        metrics = metrics_of("step", {key: last[key] for key in ("loss", "lr", "grad_norm")}, int(last["step"]))
        self._pending.append(self._client.log_batch(self._run, metrics=metrics, synchronous=False))

    def epoch(self, epoch: int, step: int, figures: Mapping[str, float]) -> None:
        """Send what is known of an epoch, after the steps before it; raises where any of it did not arrive."""
        self._arrive()
        self._client.log_batch(self._run, metrics=metrics_of("epoch", {"number": epoch, **figures}, step))

    def close(self, error: BaseException | None = None) -> None:
        """Send what is left, and how the run ended: FINISHED, KILLED where it was asked to stop, FAILED."""
        self._arrive()
        stopped = isinstance(error, (SystemExit, KeyboardInterrupt))
        status = "FINISHED" if error is None else "KILLED" if stopped else "FAILED"
        self._client.set_terminated(self._run, status=status)

    def _arrive(self) -> None:
        pending, self._pending = self._pending, []
        for each in pending:
            each.wait()


def metrics_of(group: str, figures: Mapping[str, float], step: int) -> list[Metric]:
    """Return MLflow's metrics "group/name" at a step; figures that are not known (NaN) are left out."""
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    return [
        Metric(f"{group}/{name}", float(value), now, step) for name, value in figures.items() if not math.isnan(value)
    ]


def flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested settings as ("section.key", value)."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
