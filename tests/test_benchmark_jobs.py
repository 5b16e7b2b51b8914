import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryoreg.benchmark.execution import Execution, run_jobs
from cryoreg.benchmark.jobs import Job, folder_of, lock_of, results
from cryoreg.benchmark.scheduler import most_wanted_first
from cryoreg.errors import ConfigError, CryoregError
from cryoreg.training.signals import Interrupted

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _children_find_the_functions(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


@pytest.fixture
def ran(tmp_path):
    """Return a function that counts how often the job of a number ran."""
    file = tmp_path / "ran.txt"
    file.touch()

    def count(number):
        return file.read_text().split().count(str(number))

    count.file = str(file)
    return count


def job(ran, number, *needs, seconds=0.0, name=None):
    payload = {"number": number, "ran": ran.file, "seconds": seconds}
    return Job(name or f"job {number}", "support.benchmark_functions:add", payload, needs)


def quiet(line):
    pass


def test_keys_depend_on_what_is_computed(ran):
    one, two = job(ran, 1), job(ran, 2)
    assert one.key == job(ran, 1, name="another name").key
    assert len({one.key, two.key, job(ran, 1, two).key, job(ran, 1, one, two).key}) == 4
    assert len(one.key) == 16


@pytest.mark.slow
def test_results_follow_from_needs_and_nothing_runs_twice(ran, tmp_path):
    first, second = job(ran, 1), job(ran, 2)
    last = job(ran, 10, first, second)
    said = []
    found = run_jobs([last], tmp_path, Execution(2), said.append)
    assert {key: found[key]["sum"] for key in found} == {first.key: 1, second.key: 2, last.key: 13}
    again = run_jobs([last, job(ran, 20, last)], tmp_path, Execution(2), said.append)
    assert again[last.key] == found[last.key]
    assert [ran(n) for n in (1, 2, 10, 20)] == [1, 1, 1, 1]
    assert "3 of 4 jobs are done already" in said
    record = json.loads((folder_of(last, tmp_path) / "result.json").read_text())
    assert record["name"] == "job 10"
    assert record["seconds"] >= 0
    assert record["machine"]["python"] == platform.python_version()
    assert record["machine"]["cpu"]


@pytest.mark.slow
def test_processes_overlap_and_share_what_there_is(ran, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    jobs = [job(ran, n, seconds=2.0) for n in range(4)]
    found = list(run_jobs(jobs, tmp_path, Execution(2, gpus=2), quiet).values())
    overlaps = sum(a["from"] < b["to"] and b["from"] < a["to"] for a in found for b in found) - len(found)
    assert overlaps >= 2
    assert {each["CUDA_VISIBLE_DEVICES"] for each in found} == {"0", "1"}
    assert {each["OMP_NUM_THREADS"] for each in found} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "expected"), [(2, {"5", "7"}), (1, {"5"})])
def test_gpus_are_those_that_the_user_shows_and_each_gets_a_job(gpus, expected, ran, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = run_jobs([job(ran, n, seconds=1.0) for n in range(2)], tmp_path, Execution(1, gpus), quiet)
    assert {each["CUDA_VISIBLE_DEVICES"] for each in found.values()} == expected
    assert {each["OMP_NUM_THREADS"] for each in found.values()} == {"3"}


def test_more_gpus_than_there_are(ran, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with pytest.raises(ConfigError, match=r"3 GPUs asked for.*5,7 shows 2"):
        run_jobs([job(ran, 1)], tmp_path, Execution(3, 3), quiet)


@pytest.mark.parametrize(("processes", "gpus"), [(0, 0), (1, -1)])
def test_no_processes(processes, gpus):
    with pytest.raises(ConfigError, match="at least 1 process"):
        Execution(processes, gpus)


def test_jobs_that_most_wait_for_come_first(ran):
    alone, first = job(ran, 1), job(ran, 2)
    middle = job(ran, 3, first)
    ends = [job(ran, n, middle) for n in (4, 5)]
    assert [each.payload["number"] for each in most_wanted_first([alone, first, middle, *ends])] == [2, 3, 1, 4, 5]


def test_a_killed_job_is_not_explained_by_its_last_progress_line(ran, tmp_path):
    with pytest.raises(CryoregError, match=r"killed by SIGKILL; perhaps memory ran out"):
        run_jobs([Job("big", "support.benchmark_functions:kill_itself", {})], tmp_path, Execution(), quiet)


@pytest.mark.slow
def test_the_reason_is_that_of_the_last_attempt(tmp_path):
    for said in ("first", None):
        (tmp_path / "said").write_text(said or "")
        once = Job("once", "support.benchmark_functions:exit_saying", {"file": str(tmp_path / "said")})
        with pytest.raises(CryoregError, match=f"'once': {said or 'it said nothing'}"):
            run_jobs([once], tmp_path, Execution(), quiet)


@pytest.mark.slow
def test_a_failure_is_named_and_skips_only_what_needs_it(ran, tmp_path):
    bad = Job("the bad one", "support.benchmark_functions:fail", {"file": "x.mrc"})
    after = job(ran, 6, job(ran, 5, bad))
    good = job(ran, 1)
    said = []
    with pytest.raises(CryoregError, match=r"1 of 4 jobs failed, and 2 .*skipped.*bad one.*x.mrc is damaged.*log"):
        run_jobs([after, good], tmp_path, Execution(), said.append)
    assert (ran(1), ran(5), ran(6)) == (1, 0, 0)
    assert {line.split(",")[0] for line in said if line.startswith("skipped")} == {"skipped: job 5", "skipped: job 6"}
    assert set(results([after, good], tmp_path)) == {good.key}
    assert "Traceback" not in (folder_of(bad, tmp_path) / "log.txt").read_text()


def test_a_result_of_another_job_is_refused(ran, tmp_path):
    one = job(ran, 1)
    run_jobs([one], tmp_path, Execution(), quiet)
    file = folder_of(one, tmp_path) / "result.json"
    for damage, message in (
        ("{", "cannot read"),
        (file.read_text().replace('"number": 1', '"number": 3'), "another job"),
    ):
        file.write_text(damage)
        with pytest.raises(CryoregError, match=message):
            results([one], tmp_path)


RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from cryoreg.benchmark.execution import Execution, run_jobs
from cryoreg.benchmark.jobs import Job
add = "support.benchmark_functions:add"
jobs = [Job(str(n), add, {{"number": n, "ran": {ran!r}, "seconds": {seconds}}}) for n in range(2)]
run_jobs(jobs, Path({root!r}), Execution(1), lambda line: print(line, flush=True))
"""


def runner(ran, root, seconds):
    code = RUNNER.format(tests=str(TESTS), ran=ran.file, root=str(root), seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_after_a_kill_the_running_job_is_waited_for(ran, tmp_path):
    process = runner(ran, tmp_path, 3.0)
    wait_for(lambda: ran(0) == 1)
    process.kill()
    process.communicate()
    jobs = [
        Job(str(n), "support.benchmark_functions:add", {"number": n, "ran": ran.file, "seconds": 3.0}) for n in range(2)
    ]
    said = []
    found = run_jobs(jobs, tmp_path, Execution(1), said.append)
    assert len(found) == 2
    assert (ran(0), ran(1)) == (1, 1)
    assert "another call runs 0; its result will be taken" in said


@pytest.mark.slow
def test_two_runners_share_the_work(ran, tmp_path):
    processes = [runner(ran, tmp_path, 6.0) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert (ran(0), ran(1)) == (1, 1)
    times = [json.loads(file.read_text())["result"] for file in tmp_path.glob("jobs/*/result.json")]
    assert max(each["from"] for each in times) < min(each["to"] for each in times), "one waited for the other"
    assert all("done by another call" in each for each in said)


@pytest.mark.slow
def test_sigterm_stops_jobs_and_the_same_call_goes_on(ran, tmp_path):
    process = runner(ran, tmp_path, 1.5)
    wait_for(lambda: ran(0) == 1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said == "stopped: 0\n"
    assert not list(tmp_path.glob("jobs/*/result.json"))
    assert ran(1) == 0
    again = runner(ran, tmp_path, 1.5)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert (ran(0), ran(1)) == (2, 1)


@pytest.mark.slow
def test_ctrl_c_lets_a_job_save(tmp_path):
    code = (
        "from pathlib import Path; from cryoreg.benchmark.execution import *; "
        "jobs = [Job('s', 'support.benchmark_functions:save_at_sigterm', {})]; "
        f"run_jobs(jobs, Path({str(tmp_path)!r}), Execution(), print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("jobs/*/begun")))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    (folder,) = tmp_path.glob("jobs/*")
    assert (folder / "saved").exists()
    with lock_of(folder).acquire(timeout=0):
        assert not (folder / "result.json").exists()


def test_interrupted_is_a_system_exit():
    assert Interrupted(signal.SIGTERM).code == 143


@pytest.mark.slow
def test_submitit(ran, tmp_path):
    pytest.importorskip("submitit")
    first = job(ran, 1)
    found = run_jobs([job(ran, 2, first)], tmp_path, Execution(2, slurm={"cluster": "local", "timeout_min": 2}), quiet)
    assert sorted(each["sum"] for each in found.values()) == [1, 3]


SBATCH = """#!/bin/sh
cp "$1" {folder}/$$.sh
SLURM_JOB_ID=$$ SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 \\
  SLURM_JOB_NODELIST=here sh {folder}/$$.sh >/dev/null 2>&1 &
echo "Submitted batch job $$"
"""
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case "$1" in --output|--error) shift;; esac; shift; done
exec "$@"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put programs of SLURM's names on the path, which run what is submitted here; return the folder of scripts."""
    pytest.importorskip("submitit")
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH.format(folder=folder), "srun": SRUN, "sacct": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.mark.slow
def test_slurm_gets_what_is_ready_all_at_once_with_its_parameters(ran, tmp_path, cluster):
    ends = [job(ran, n, job(ran, 1), seconds=4.0) for n in (2, 3)]
    slurm = {"partition": "gpu", "timeout_min": 7, "gpus_per_node": 1}
    found = run_jobs(ends, tmp_path, Execution(slurm=slurm), quiet)
    assert sorted(each["sum"] for each in found.values()) == [1, 3, 4]
    assert found[ends[0].key]["from"] < found[ends[1].key]["to"]
    assert found[ends[1].key]["from"] < found[ends[0].key]["to"]
    scripts = [file.read_text() for file in cluster.glob("*.sh")]
    assert len(scripts) == 3
    for line in ("--partition=gpu", "--time=7", "--gpus-per-node=1"):
        assert all(f"#SBATCH {line}" in script for script in scripts)


def test_a_queue_that_refuses_a_job(ran, tmp_path, cluster):
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
    with pytest.raises(CryoregError, match=r"'job 1': the queue refused it: .*invalid partition") as raised:
        run_jobs([job(ran, 1)], tmp_path, Execution(slurm={"partition": "x"}), quiet)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("slurm", "message"),
    [
        ({"cluster": "local", "nonsense": 1}, "nonsense"),
        ({"cluster": "moon"}, "moon"),
        ({"partition": "gpu"}, "srun"),
    ],
)
def test_mistakes_in_slurm_parameters_are_one_line(slurm, message, ran, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=message) as raised:
        run_jobs([job(ran, 1)], tmp_path, Execution(slurm=slurm), quiet)
    assert len(str(raised.value).splitlines()) == 1


def test_without_submitit(ran, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match="pip install"):
        run_jobs([job(ran, 1)], tmp_path, Execution(slurm={}), quiet)
