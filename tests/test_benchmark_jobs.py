import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryoreg.benchmark.jobs import Execution, Job, folder_of, results, run_jobs
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
    return Job(name or f"job {number}", "benchmark_functions:add", payload, needs)


def quiet(line):
    pass


def test_keys_depend_on_what_is_computed(ran):
    one, two = job(ran, 1), job(ran, 2)
    assert one.key == job(ran, 1, name="another name").key
    assert len({one.key, two.key, job(ran, 1, two).key, job(ran, 1, one, two).key}) == 4
    assert len(one.key) == 16


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
    assert record["seconds"] >= 0
    assert record["machine"]["python"]


def test_processes_overlap_and_share_what_there_is(ran, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    jobs = [job(ran, n, seconds=2.0) for n in range(4)]
    found = list(run_jobs(jobs, tmp_path, Execution(2, gpus=2), quiet).values())
    overlaps = sum(a["from"] < b["to"] and b["from"] < a["to"] for a in found for b in found) - len(found)
    assert overlaps >= 2
    assert {each["CUDA_VISIBLE_DEVICES"] for each in found} == {"0", "1"}
    assert {each["OMP_NUM_THREADS"] for each in found} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


def test_a_failure_is_named_and_skips_only_what_needs_it(ran, tmp_path):
    bad = Job("the bad one", "benchmark_functions:fail", {"file": "x.mrc"})
    after = job(ran, 5, bad)
    good = job(ran, 1)
    said = []
    with pytest.raises(CryoregError, match=r"2 of 3 jobs failed.*the bad one.*x.mrc is damaged.*log.txt"):
        run_jobs([after, good], tmp_path, Execution(), said.append)
    assert (ran(1), ran(5)) == (1, 0)
    assert any(line.startswith("skipped: job 5") for line in said)
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
from cryoreg.benchmark.jobs import Execution, Job, run_jobs
jobs = [Job(str(n), "benchmark_functions:add", {{"number": n, "ran": {ran!r}, "seconds": 3.0}}) for n in range(2)]
run_jobs(jobs, Path({root!r}), Execution(1), print)
"""


def runner(ran, root):
    code = RUNNER.format(tests=str(TESTS), ran=ran.file, root=str(root))
    return subprocess.Popen([sys.executable, "-c", code])


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_after_a_kill_the_running_job_is_waited_for(ran, tmp_path):
    process = runner(ran, tmp_path)
    wait_for(lambda: ran(0) == 1)
    process.kill()
    process.wait()
    jobs = [Job(str(n), "benchmark_functions:add", {"number": n, "ran": ran.file, "seconds": 3.0}) for n in range(2)]
    found = run_jobs(jobs, tmp_path, Execution(1), quiet)
    assert len(found) == 2
    assert (ran(0), ran(1)) == (1, 1)


def test_two_runners_share_the_work(ran, tmp_path):
    processes = [runner(ran, tmp_path) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert (ran(0), ran(1)) == (1, 1)


def test_sigterm_stops_jobs_and_the_same_call_goes_on(ran, tmp_path):
    process = runner(ran, tmp_path)
    wait_for(lambda: ran(0) == 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert not list(tmp_path.glob("jobs/*/result.json"))
    assert ran(1) == 0


def test_interrupted_is_a_system_exit():
    assert Interrupted(signal.SIGTERM).code == 143


def test_submitit(ran, tmp_path):
    pytest.importorskip("submitit")
    first = job(ran, 1)
    found = run_jobs([job(ran, 2, first)], tmp_path, Execution(2, slurm={"cluster": "local", "timeout_min": 2}), quiet)
    assert sorted(each["sum"] for each in found.values()) == [1, 3]


def test_without_submitit(ran, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match="pip install"):
        run_jobs([job(ran, 1)], tmp_path, Execution(slurm={}), quiet)
