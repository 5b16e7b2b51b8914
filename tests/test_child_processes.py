"""Files that lie in the current folder, beside the data, are never run as modules of Python's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cryoreg.child_processes import safe_path

MODULES = ("signal", "struct", "random", "tempfile", "selectors", "queue", "click", "h5py", "numpy", "torch")
"""What children import, of the standard library and of others."""
BIN = Path(sys.executable).parent

CHILDREN = {
    "simulation": """
        from cryoreg.simulation.assemblies import make_assemblies
        from cryoreg.simulation.processes import simulate_scenes
        from cryoreg.simulation.settings import make_settings
        settings = make_settings("liu2020", ())
        assert len(list(simulate_scenes(make_assemblies(0), settings, 0, range(2), workers=2))) == 2""",
    "devices, readers and kit": """
        import torch
        from cryoreg import create_dataset
        from cryoreg.config.settings import PretrainSettings
        from cryoreg.methods.specs import SimCLRSpec
        from cryoreg.testing.elsewhere import elsewhere
        from cryoreg.testing.spec_checks import check_spec_imports_light
        from cryoreg.training.launch import run_in_processes
        from cryoreg.training.loading import BatchOrder, VolumeLoader
        torch.multiprocessing.set_start_method("spawn")
        assert run_in_processes(os.getpid, PretrainSettings(devices=2)) != os.getpid()
        assert elsewhere(os.getpid) != os.getpid()
        check_spec_imports_light(SimCLRSpec())
        data = create_dataset("demo", per_class=1)
        order = BatchOrder(torch.arange(len(data)), 2, 0)
        loader = VolumeLoader(data, order, torch.device("cpu"), resident=False, workers=1)
        assert len(list(loader.epoch())) == len(data) // 2""",
    "jobs": """
        from pathlib import Path
        from cryoreg.benchmark.execution import Execution, run_jobs
        from cryoreg.benchmark.jobs import Job
        ran = Path(os.environ["MARK"] + ".ran")
        job = Job("one", "support.benchmark_functions:add", {"number": 1, "ran": str(ran)})
        for execution in (Execution(), Execution(slurm={"cluster": "local"})):
            run_jobs([job], ran.with_name(f"jobs{execution.slots}"), execution, print)
        assert ran.read_text().split() == ["1", "1"]""",
    "doctor": """
        from cryoreg.diagnosis.separate_process import run_python
        assert run_python("import h5py, json; print(json.dumps({'a': 1}))").result == {"a": 1}""",
}


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A folder of modules that leave a mark and fail."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r}); raise SystemExit(9)")
    return folder


def run(poisoned: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command where the poison lies, with the user's own environment."""
    tests = {"PYTHONPATH": str(Path(__file__).parent), "MARK": str(poisoned.parent / "mark")}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | tests
    return subprocess.run(command, cwd=poisoned, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("code", CHILDREN.values(), ids=CHILDREN)
def test_no_child_runs_what_lies_in_the_current_folder(poisoned: Path, code: str) -> None:
    script = poisoned.parent / "script.py"
    script.write_text(f"import os\nif __name__ == '__main__':{code}\n")
    ended = run(poisoned, sys.executable, script)
    assert (ended.returncode, (poisoned.parent / "ran").exists()) == (0, False), ended.stderr


@pytest.mark.parametrize("command", [[BIN / "cryoreg"], [sys.executable, "-m", "cryoreg_cli"]], ids=["script", "-m"])
def test_the_command_runs_nothing_either(poisoned: Path, command: list[str | Path]) -> None:
    ended = run(poisoned, *command, "list")
    assert not (poisoned.parent / "ran").exists(), ended.stderr
    assert "rb3d" in ended.stdout


def test_the_poison_works(poisoned: Path) -> None:
    """Python itself does run such files."""
    for words in (("-c", "import h5py"), ("-c", "import signal"), ("-m", "cryoreg.benchmark.job_worker", "x")):
        assert run(poisoned, sys.executable, *words).returncode == 9
        (poisoned.parent / "ran").unlink()


@pytest.mark.parametrize("before", [None, "", "x"])
def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ.get("PYTHONSAFEPATH") == before
