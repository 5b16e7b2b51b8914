"""A run that is killed, stopped or fails leaves a run that can go on, to the bit."""

import csv
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch
from support.hostile import files_of
from support.programs import Program
from support.synthetic import write_classes

import cryoreg
from cryoreg import registry
from cryoreg.errors import CheckpointError, ConfigError, DataError, NonFiniteError, RunFolderError
from cryoreg.runs.checkpoint import load_checkpoint, save_checkpoint

SETTINGS = {"epochs": 4, "batch_size": 4, "device": "cpu", "workers": 0, "lr": 1e-3, "seed": 5}
COMPONENTS = {"method": {"name": "moco", "queue_size": 12}, "encoder": {"name": "rb3d", "width": 4}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("data") / "mrc", per_class=14)


def pretrain(run_dir, data, resume=False, **changes):
    given = {} if resume else COMPONENTS | {"dataset": {"name": "mrc_folder", "root": data}} | SETTINGS
    return cryoreg.pretrain(run_dir, resume=resume, **given | changes)


def losses(run_dir):
    with (run_dir / "steps.csv").open() as file:
        return [(int(row["step"]), row["loss"], row["grad_norm"]) for row in csv.DictReader(file)]


def epoch_losses(run_dir):
    with (run_dir / "metrics.csv").open() as file:
        return [(row["epoch"], row["step"], row["loss"], row["feature_std"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    pretrain(run_dir, data)
    return run_dir


def start(run_dir, data, *options):
    settings = [f"training.{key}={value}" for key, value in SETTINGS.items()]
    settings += ["method.queue_size=12", "encoder.width=4", "training.save_every_minutes=1e-9"]
    assignments = [word for setting in settings for word in ("--set", setting)]
    source = ("--dataset", "mrc_folder", "--data", data)
    return Program("pretrain", *source, "--run-dir", run_dir, *assignments, *options)


def resume(run_dir):
    assert Program("pretrain", "--run-dir", run_dir, "--resume").finish().returncode == 0


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.002)


@pytest.mark.slow
def test_the_same_run_twice_is_the_same_to_the_bit(whole, data, tmp_path):
    pretrain(tmp_path / "again", data)
    assert losses(tmp_path / "again") == losses(whole)
    one, other = (cryoreg.create_encoder(pretrained=run).state_dict() for run in (whole, tmp_path / "again"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at_step", [1, 6, 11])
def test_kill_9_and_resume_is_the_same_to_the_bit(whole, data, tmp_path, kill_at_step):
    """Saves after every step, so that kills fall into saves, too; on another file system than the temp folder."""
    shm = Path("/dev/shm")
    elsewhere = shm if shm.is_dir() and os.stat(shm).st_dev != os.stat(tempfile.gettempdir()).st_dev else tmp_path
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        run_dir = Path(folder) / "run"
        program = start(run_dir, data)
        last = run_dir / "checkpoints" / "last.ckpt"
        wait_until(lambda: last.exists() and load_checkpoint(last)["progress"]["step"] >= kill_at_step)
        program.send_signal(signal.SIGKILL)
        program.finish()
        resume(run_dir)
        assert losses(run_dir) == losses(whole)
        assert not list(run_dir.rglob("*.tmp"))


@pytest.mark.slow
def test_sigterm_finishes_the_step_saves_and_exits_143(whole, data, tmp_path):
    run_dir = tmp_path / "run"
    program = start(run_dir, data)
    wait_until((run_dir / "checkpoints" / "last.ckpt").exists)
    program.send_signal(signal.SIGTERM)
    stopped = program.finish()
    assert stopped.returncode == 143
    assert "--resume" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    taken = losses(run_dir)
    assert taken == losses(whole)[: len(taken)]
    assert load_checkpoint(run_dir / "checkpoints" / "last.ckpt")["progress"]["step"] == len(taken) < len(losses(whole))
    resume(run_dir)
    assert losses(run_dir) == losses(whole)


class _Stop(Exception):
    pass


def stop_in_epoch_1(monkeypatch):
    from cryoreg.training.engine import Engine

    step = Engine._step

    def stopping(self, batch):
        if self.position.epoch == 1 and self.position.steps_in_epoch == 2:
            self.save()
            raise _Stop
        step(self, batch)

    monkeypatch.setattr(Engine, "_step", stopping)


@pytest.mark.slow
def test_an_epoch_interrupted_in_its_middle_goes_on_there(whole, data, tmp_path, monkeypatch):
    stop_in_epoch_1(monkeypatch)
    with pytest.raises(_Stop):
        pretrain(tmp_path / "run", data)
    monkeypatch.undo()
    pretrain(tmp_path / "run", data, resume=True)
    assert losses(tmp_path / "run") == losses(whole)
    rows = [list(csv.DictReader((run / "metrics.csv").open())) for run in (tmp_path / "run", whole)]
    assert [(r["epoch"], r["step"], r["loss"]) for r in rows[0]] == [
        (r["epoch"], r["step"], r["loss"]) for r in rows[1]
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(0, 2), (1, 0)])
def test_no_column_shifts_when_a_resume_changes_what_is_measured(whole, data, tmp_path, monkeypatch, before, after):
    stop_in_epoch_1(monkeypatch)
    with pytest.raises(_Stop):
        pretrain(tmp_path / "run", data, probe_every_epochs=before)
    monkeypatch.undo()
    pretrain(tmp_path / "run", data, resume=True, probe_every_epochs=after)
    header, *table = csv.reader((tmp_path / "run" / "metrics.csv").open())
    assert {len(cells) for cells in table} == {len(header)}
    assert set(header) == set(next(csv.reader((whole / "metrics.csv").open())))
    rows = [dict(zip(header, cells, strict=True)) for cells in table]
    unprobed = list(csv.DictReader((whole / "metrics.csv").open()))
    for column in set(header) - {"knn_accuracy", "linear_accuracy", "subtomograms_per_s"}:
        assert [row[column] for row in rows] == [row[column] for row in unprobed], column
    assert all(float(row["subtomograms_per_s"]) > 1 for row in rows)
    probed = {epoch for epoch, row in enumerate(rows) if row["knn_accuracy"] != ""}
    assert probed == ({1, 3} if after else {0})


def test_a_finished_run_resumes_to_nothing(whole):
    before = losses(whole)
    assert cryoreg.pretrain(whole, resume=True).loss == pytest.approx(
        sum(float(loss) for _, loss, _ in before[-4:]) / 4, rel=1e-12
    )
    assert losses(whole) == before


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_good_checkpoint(whole, data, tmp_path, monkeypatch, small_files_only):
    """From the second epoch on no file may grow beyond what the logs need: the checkpoint's write fails."""
    from cryoreg.training.pretrain import PretrainingPlan

    def fill_disk(self, model, epoch, folder):
        if epoch == 1:
            small_files_only(20_000)
        return {}

    monkeypatch.setattr(PretrainingPlan, "end_epoch", fill_disk)
    with pytest.raises(RunFolderError, match=r"cannot write .*last\.ckpt.*intact"):
        pretrain(tmp_path / "run", data)
    small_files_only(None)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["progress"]["epoch"] == 1
    monkeypatch.undo()
    cryoreg.pretrain(tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(whole)


def test_the_users_random_numbers_are_left_alone(data, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    pretrain(tmp_path / "run", data, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_to_resume_is_an_error_and_never_a_fresh_start(data, tmp_path):
    with pytest.raises(CheckpointError, match="cannot resume"):
        cryoreg.pretrain(tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_its_first_checkpoint_leaves_a_usable_folder(data, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / "checkpoints" / ".last.ckpt.1.tmp").write_bytes(b"half")
    pretrain(tmp_path / "run", data, epochs=1)
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("called", [
    *("cryoreg.runs.run_folder.save_checkpoint", "cryoreg.runs.run_folder.write_text"),
    "torch.utils.tensorboard.SummaryWriter",
])  # fmt: skip
def test_a_run_killed_while_it_begins_can_resume_or_begin_anew(whole, data, tmp_path, monkeypatch, called):
    """As by `kill -9`: nothing is cleared up. Before the first checkpoint nothing was trained, and it begins anew."""

    def die(*arguments, **more):
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(called, die)
        patch.setattr("cryoreg.runs.run_folder.RunFolder._clear", lambda self, folders: None)
        with pytest.raises(_Stop):
            pretrain(tmp_path / "run", data)
    begun = (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert begun == (not called.endswith("save_checkpoint"))
    if not begun:
        with pytest.raises(CheckpointError, match="before anything was trained; start it again, without --resume"):
            pretrain(tmp_path / "run", data, resume=True)
    pretrain(tmp_path / "run", data, resume=begun)
    assert losses(tmp_path / "run") == losses(whole)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_leaves_nothing_in_the_way(whole, data, tmp_path, small_files_only):
    small_files_only(1000)
    with pytest.raises(RunFolderError, match=r"cannot write .*last\.ckpt"):
        pretrain(tmp_path / "run", data)
    small_files_only(None)
    pretrain(tmp_path / "run", data)
    assert losses(tmp_path / "run") == losses(whole)


def test_a_folder_of_which_only_events_are_left_is_free(data, tmp_path):
    """Of runs that earlier versions began."""
    (tmp_path / "run" / "tensorboard").mkdir(parents=True)
    events = tmp_path / "run" / "tensorboard" / "events.out.tfevents.1.host.1.0"
    events.touch()
    pretrain(tmp_path / "run", data, epochs=1)
    (tmp_path / "other" / "tensorboard").mkdir(parents=True)
    (tmp_path / "other" / "tensorboard" / "mine.txt").touch()
    with pytest.raises(RunFolderError, match="not empty"):
        pretrain(tmp_path / "other", data, epochs=1)


@pytest.mark.parametrize("name", ["tensorboard", "checkpoints", "metrics.csv", "steps.csv", ".lock"])
def test_no_link_leads_a_run_out_of_its_folder(whole, data, tmp_path, name):
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    foreign = shutil.move(run_dir / name, tmp_path / "foreign")
    (run_dir / name).symlink_to(foreign)
    before = files_of(tmp_path)
    with pytest.raises(RunFolderError, match=f"{name} is a link to {foreign}"):
        pretrain(run_dir, data, resume=True)
    assert files_of(tmp_path) == before


@pytest.mark.slow
def test_another_version_of_a_plugin_is_said_on_resume(data, tmp_path, monkeypatch, capsys, fake_plugin):
    module = "from cryoreg.methods.specs import SimCLRSpec\n\n\nclass Other(SimCLRSpec):\n    pass\n"
    fake_plugin("one", "[cryoreg.methods]\nother = one_specs:Other\n", module=module)
    pretrain(tmp_path / "run", data, method={"name": "other"}, epochs=1)
    assert "Warning" not in capsys.readouterr().err
    shutil.move(tmp_path / "site" / "one-1.0.dist-info", tmp_path / "site" / "one-2.0.dist-info")
    registry.refresh()
    pretrain(tmp_path / "run", data, resume=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "Warning: method of the run came from one 1.0, and one 2.0 is installed" in said


@pytest.mark.slow
def test_a_run_that_fails_in_its_first_step_can_be_resumed(whole, data, tmp_path, monkeypatch):
    from cryoreg.training.engine import Engine

    def fail(self, batch):
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_step", fail)
        with pytest.raises(_Stop):
            pretrain(tmp_path / "run", data)
    cryoreg.pretrain(tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(whole)


def test_resuming_with_another_setting_is_refused(whole):
    with pytest.raises(ConfigError, match=r"training\.lr is 0\.5"):
        cryoreg.pretrain(whole, resume=True, lr=0.5)


def test_a_used_folder_is_refused_unless_resumed(whole, data):
    before = losses(whole)
    with pytest.raises(RunFolderError, match="--resume"):
        pretrain(whole, data)
    assert losses(whole) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_one_clear_line(whole, tmp_path, damage):
    run_dir = shutil.copytree(whole, tmp_path / "run")
    last = run_dir / "checkpoints" / "last.ckpt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    {"flip": lambda: last.write_bytes(data), "cut": lambda: last.write_bytes(data[:999]), "remove": last.unlink}[
        damage
    ]()
    with pytest.raises(CheckpointError) as error:
        cryoreg.pretrain(run_dir, resume=True)
    assert str(run_dir) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_processes_never_share_a_run(whole):
    from filelock import FileLock

    with FileLock(whole / ".lock"), pytest.raises(RunFolderError, match="in use"):
        cryoreg.pretrain(whole, resume=True)


def test_a_non_finite_loss_stops_before_the_step(data, tmp_path):
    with pytest.raises(NonFiniteError) as error:
        pretrain(tmp_path / "run", data, optimizer="momentum", lr=1e30, precision="fp32")
    message = str(error.value)
    steps = losses(tmp_path / "run")
    assert f"at step {len(steps)}" in message
    assert "class0/" in message or "class1/" in message
    assert "lower training.lr" in message


@pytest.mark.slow
def test_weights_stay_finite_when_a_gradient_does_not(data, tmp_path, monkeypatch):
    """NaN in one gradient: the checkpoint of the step before must be the last word, and finite."""
    from cryoreg.training.pretrain import PretrainingPlan

    step = PretrainingPlan.step

    def spoil(self, model, batch):
        output = step(self, model, batch)
        if batch.epoch == 2:
            output.loss.register_hook(lambda gradient: gradient * float("nan"))
        return output

    monkeypatch.setattr(PretrainingPlan, "step", spoil)
    with pytest.raises(NonFiniteError, match=r"epoch 2.*last\.ckpt"):
        pretrain(tmp_path / "run", data)
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert state["progress"]["epoch"] == 2
    assert all(torch.isfinite(value).all() for value in state["module"].values())


@pytest.mark.parametrize("kind", ["read-only", "file"])
def test_a_run_directory_that_cannot_be_used_is_one_clear_line(data, tmp_path, kind):
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("x")
    else:
        place = Path("/proc/1/run")
    with pytest.raises(RunFolderError) as error:
        pretrain(place, data)
    assert str(place) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def copy(whole, data, tmp_path):
    """A finished run, and its data, in a place of their own."""
    shutil.copytree(data, tmp_path / "mrc")
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_data_that_moved_are_followed_and_the_config_says_so(copy, data):
    (copy / "config.toml").write_text("edited = [")
    pretrain(copy, data, resume=True, dataset={"root": copy.parent / "mrc"})
    assert f'root = "{copy.parent / "mrc"}"' in (copy / "config.toml").read_text()
    assert load_checkpoint(copy / "checkpoints" / "last.ckpt")["config"]["dataset"]["root"] == str(copy.parent / "mrc")


def test_data_that_changed_are_refused(copy, data):
    next((copy.parent / "mrc" / "class1").iterdir()).unlink()
    with pytest.raises(DataError, match=r"added, removed, renamed"):
        pretrain(copy, data, resume=True, dataset={"root": copy.parent / "mrc"})


def test_another_tasks_run_is_refused(copy):
    with pytest.raises(RunFolderError, match="cryoreg pretrain"):
        cryoreg.finetune(copy, resume=True)


@pytest.mark.parametrize(("content", "words"), [({}, "no run to resume"), ({"module": {}}, "tensors differ")])
def test_a_sound_checkpoint_of_something_else_is_refused(copy, data, content, words):
    last = copy / "checkpoints" / "last.ckpt"
    save_checkpoint(last, (load_checkpoint(last) if content else {}) | content)
    with pytest.raises(CheckpointError, match=words):
        pretrain(copy, data, resume=True)


@pytest.mark.parametrize("content", [b"\xff\xfe\n\n", b"garbage\nx\n", None])
def test_a_damaged_log_is_named_and_a_lost_one_is_not_needed(copy, data, whole, content):
    log = copy / "metrics.csv"
    log.unlink()
    if content is None:
        loss = pretrain(copy, data, resume=True).loss
        assert loss == pytest.approx(float(epoch_losses(whole)[-1][2]))
    else:
        log.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"metrics\.csv is damaged"):
            pretrain(copy, data, resume=True)
        assert log.read_bytes() == content
