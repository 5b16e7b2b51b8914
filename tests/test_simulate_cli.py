"""`cryoreg simulate`, end to end: stores, exports, resuming, bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.mrc_writing import state, write_mrc
from support.programs import Program

from cryoreg.datasets.conversion.simulated_store import SimulatedSet, write
from cryoreg.datasets.specs import LabSpec, MrcFolderSpec, StoreSpec
from cryoreg.datasets.store.writer import StoreWriter
from cryoreg.errors import CryoregError
from cryoreg.simulation import processes
from cryoreg.simulation.settings import make_settings
from cryoreg.simulation.simulator import Simulator
from cryoreg.simulation.structures import Structure
from cryoreg_cli.commands.simulate import simulate

SMALL = ("--set", "box=12", "--per-class", "3")


@pytest.fixture
def structures(tmp_path: Path) -> Path:
    """Two maps: a block and a rod."""
    folder = tmp_path / "structures"
    block, rod = np.zeros((2, 10, 10, 10), dtype=np.float32)
    block[3:7, 3:7, 3:7], rod[1:9, 4:6, 4:6] = 5, 700
    write_mrc(folder / "block.mrc", block)
    write_mrc(folder / "rod.mrc", rod)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(simulate, [str(argument) for argument in arguments])


def contents(path: Path) -> dict[str, bytes]:
    """Return every array of a file, as bytes."""
    found: dict[str, bytes] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: _bytes(item)}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def _bytes(item: h5py.Dataset) -> bytes:
    value = item[()]
    return value if isinstance(value, bytes) else value.tobytes()


@pytest.mark.slow
def test_a_store_with_everything(tmp_path: Path, structures: Path) -> None:
    before = state(structures)
    out, lab, mrc, png = (tmp_path / name for name in ("set.h5", "lab", "mrc", "look.png"))
    options = ("--structures", structures, "--clean-copies", "--lab", lab, "--mrc", mrc, "--montage", png)
    result = run(*SMALL, "--output", out, *options, "--seed", 5)
    assert result.exit_code == 0, result.output
    for said in (f"store     {out}  6 subtomograms", "volumes/s", "0.05 in the box", str(lab), str(mrc), str(png)):
        assert said in result.output
    dataset = StoreSpec(root=out).build()
    assert (list(dataset.classes), list(dataset.labels)) == (["block", "rod"], [0, 1] * 3)
    assert (dataset.box, dataset.voxel_size, dataset.contrast) == ((12, 12, 12), 10.0, "bright")
    assert (dataset.tilt_range, dataset.tilt_axis) == ((-60, 60), "y")
    assert dataset.groups[:3] == ["seed5-tomo000000", "seed5-tomo000000", "seed5-tomo000001"]
    np.testing.assert_allclose(dataset.columns["snr_box"], 0.05, rtol=1e-5)
    assert state(structures) == before
    assert Image.open(png).size[0] > 100

    for number in range(6):  # the exports hold the same voxels: the lab's beam lies along x
        volume = dataset[number].volume[0].numpy()
        stored = mrcfile.read(lab / "subtomogram_mrc" / f"tomotarget{number}.mrc")
        np.testing.assert_array_equal(stored, volume.transpose(1, 2, 0))
    assert len(LabSpec(root=lab).build()) == len(MrcFolderSpec(root=mrc).build()) == 6


def test_rows_are_the_simulators_scenes(tmp_path: Path) -> None:
    bodies = [
        Structure.centred(name, np.random.default_rng(n).normal(0, 20, (50, 3)), np.full(50, 1e3))
        for n, name in enumerate("ab")
    ]
    simulated = SimulatedSet(bodies, make_settings("liu2020", ["box=12"]), seed=2, per_class=4, first=3)
    outcome = write(simulated, tmp_path / "set.h5", "liu2020", clean=True)
    dataset = StoreSpec(root=tmp_path / "set.h5").build()
    for row in range(8):
        scene = Simulator(bodies, simulated.settings, 2).scene(6 + row)
        np.testing.assert_array_equal(dataset[row].volume[0], scene.volume)
        np.testing.assert_array_equal(dataset.clean[row].volume[0], scene.clean)
        for name in ("rotation", "shift", "resolution", "defocus", "snr_crop", "snr_box"):
            np.testing.assert_allclose(dataset.columns[name][row], getattr(scene, name), rtol=1e-6)
        assert dataset.columns["scene"][row] == 6 + row
        assert dataset.ids[row] == f"seed2-scene{6 + row:07d}"
    assert (outcome.written, outcome.total) == (8, 8)
    assert outcome.snr_crop == pytest.approx(np.mean(dataset.columns["snr_crop"]), rel=1e-5)


def test_the_store_tells_how_it_was_made(tmp_path: Path) -> None:
    out = tmp_path / "set.h5"
    assert run("--preset", "clean", *SMALL, "--output", out, "--seed", 9, "--first", 2).exit_code == 0
    with h5py.File(out) as file:
        made = json.loads(file["settings"][()])
    assert (made["preset"], made["seed"], made["first"], made["per_class"]) == ("clean", 9, 2, 3)
    assert made["scenes"]["snr"] == "inf"
    assert made["scenes"]["voxel_size"] == 10
    assert len(made["structures"]) == 10
    assert all(450 < entry["mass_kda"] < 650 for entry in made["structures"].values())


def test_sets_of_one_seed_that_do_not_meet_share_no_id(tmp_path: Path) -> None:
    """Nor a volume; the same range again is the same set, and its ids say so."""
    files = [tmp_path / name for name in ("train.h5", "test.h5", "again.h5")]
    for file, first in zip(files, (0, 3, 0), strict=True):
        assert run(*SMALL, "--output", file, "--first", first).exit_code == 0
    train, test, again = (StoreSpec(root=file).build() for file in files)
    assert not set(train.ids) & set(test.ids)
    assert not set(train.groups) & set(test.groups)
    volumes = {dataset[i].volume.numpy().tobytes() for dataset in (train, test) for i in range(30)}
    assert len(volumes) == 60
    assert train.ids == again.ids
    assert contents(files[0]) == contents(files[2])


def test_going_on_after_an_interruption_gives_the_same_store(
    tmp_path: Path, structures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--structures", structures, *SMALL)
    assert run(*options, "--output", tmp_path / "whole.h5").exit_code == 0
    put, rows = StoreWriter.put, []

    def interrupted(self: StoreWriter, row: int, *rest: object) -> None:
        if len(rows) == 4:
            raise KeyboardInterrupt
        rows.append(row)
        put(self, row, *rest)

    out = tmp_path / "set.h5"
    monkeypatch.setattr(StoreWriter, "put", interrupted)
    assert run(*options, "--output", out).exit_code != 0
    assert not out.exists()
    monkeypatch.setattr(StoreWriter, "put", put)
    result = run(*options, "--output", out)
    assert result.exit_code == 0, result.output
    assert "6 subtomograms, 4 of them by an earlier call" in result.output
    assert contents(out) == contents(tmp_path / "whole.h5")


def test_another_structure_is_not_taken_for_the_same_set(tmp_path: Path, structures: Path) -> None:
    options = ("--structures", structures, *SMALL, "--output", tmp_path / "set.h5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreWriter, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        run(*options)
    write_mrc(structures / "rod.mrc", np.eye(10, dtype=np.float32)[None].repeat(10, axis=0))
    result = run(*options)
    assert isinstance(result.exception, CryoregError)
    assert "begun with other data or settings" in str(result.exception)


@pytest.mark.slow
def test_kill_and_go_on(tmp_path: Path, cryoreg_process: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Killed outright while workers simulate: they end by themselves, and the next call completes the same store.

    There are rows on disk after two seconds, in which two cores simulate some 600: so many more must be wanted.
    """
    arguments = ["simulate", "--per-class", "160", "--workers", "2", "--output"]
    out, part = tmp_path / "set.h5", tmp_path / ".set.h5.part"
    program = Program(*arguments, out)
    deadline = time.monotonic() + 60
    while not (part.exists() and 1 in h5py.File(part, locking=False)["state"][()]):
        assert time.monotonic() < deadline
        assert program.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    program.send_signal(signal.SIGKILL)
    program.finish()
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    result = cryoreg_process(*arguments, str(out))
    assert result.returncode == 0, result.stderr
    assert "by an earlier call" in result.stdout
    assert cryoreg_process("simulate", "--per-class", "160", "--output", str(tmp_path / "whole.h5")).returncode == 0
    assert contents(out) == contents(tmp_path / "whole.h5")


@pytest.mark.slow
def test_a_killed_worker_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = SimulatedSet([Structure("a", np.zeros((1, 3)), np.ones(1))], make_settings("clean", ["box=12"]))
    monkeypatch.setattr(processes, "_simulate_batch", _die)
    with pytest.raises(CryoregError, match=r"a worker was killed.*--processes"):
        list(simulated.scenes(simulated.indices, workers=2))


def _die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--snr", "0"], "snr=0.0: .*greater than 0"),
        (["--snr", "nan"], "snr=nan"),
        (["--set", "voxel=3"], "--set voxel=3: expected key=value"),
        (["--set", "neighbours=40", "--set", "packing=sequential"], "no room for neighbour"),
        (["--structures", "{tmp}/nowhere"], "nowhere"),
        (["--structures", "{tmp}/structures", "--assembly", "1", "--set", "mtf_star='{tmp}/none.star'"], "none.star"),
        (["--lab", "{tmp}/structures"], "structures: exists already"),
        (["--mrc", "{tmp}/structures"], "structures: exists already"),
        (["--output", "{tmp}/structures"], "structures: is a folder"),
        (["--output", "{tmp}/structures/rod.mrc"], "rod.mrc: exists already"),
    ],
)
def test_what_is_refused(tmp_path: Path, structures: Path, arguments: list[str], complaint: str) -> None:
    before = state(structures)
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    result = run(*SMALL, "--output", tmp_path / "set.h5", *given)
    assert isinstance(result.exception, CryoregError)
    assert re.search(complaint, str(result.exception)), result.exception
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "set.h5").exists()
    assert state(structures) == before


def test_output_is_asked_for(tmp_path: Path) -> None:
    result = run()
    assert (result.exit_code, "--output" in result.output) == (2, True)


def test_settings_can_be_looked_up() -> None:
    result = run("--show-settings", "--preset", "hard", "--set", "defocus=[2, 3]")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.output.splitlines()}
    assert "(2.0, 3.0)" in rows["defocus"]
    assert "0.5" in rows["snr"]
    assert "300" in rows["voltage"]
    assert "kV" in rows["voltage"]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['cryoreg', 'simulate', '--help']\n"
    code += (
        "from cryoreg_cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--per-class" in done.stdout
    assert not {"torch", "numpy", "h5py", "scipy", "gemmi", "matplotlib", "pydantic"} & set(done.stderr.split())
