"""What entry points name where no spec is needed: each seam has a package that needs it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import SPEC_MODULE

from cryoreg import registry
from cryoreg.config import Layer, resolve
from cryoreg.errors import BrokenComponentError, ConfigError, RunFolderError, UnknownComponentError
from cryoreg.kinds import SEAMS
from cryoreg.runs.csv_log import CsvLog
from cryoreg.runs.run_log import RunLog, require_loggers
from cryoreg.seams import FILES, LoggedRun, misfit
from cryoreg_cli.main import cryoreg as command

Install = Callable[..., Path]
STEP = {"step": 0, "epoch": 0, "loss": 2.0, "lr": 0.1, "grad_norm": 1.0}


MISFITS = """

from cryoreg.seams import Logger, Writer


class HalfLogger(Logger):
    pass


class HalfWriter(Writer):
    pass


class NamelessWriter(Writer):
    def prepare(self, output, dataset, classes):
        pass


def nothing():
    pass


GONE = Path("gone.toml")
"""
BASED, FUNCTIONS = ("logger", "writer"), ("optimizer", "schedule", "picker")


@pytest.mark.parametrize(
    ("seam", "target", "reason"),
    [
        *((seam, "one_specs:Tiny", "one_specs:Tiny is not a subclass of ") for seam in BASED),
        *((seam, "one_specs:SPEC_TYPES", "one_specs:SPEC_TYPES is not a subclass of ") for seam in BASED),
        *((seam, f"one_specs:Half{seam.capitalize()}", "HalfX does not implement ") for seam in BASED),
        ("writer", "one_specs:NamelessWriter", "one_specs:NamelessWriter has no suffix"),
        *((seam, "one_specs:Tiny", "one_specs:Tiny is not a function") for seam in FUNCTIONS),
        *((seam, "one_specs:nothing", "one_specs:nothing does not take (") for seam in FUNCTIONS),
        *((seam, "one_specs:Tiny", "one_specs:Tiny is not the Path of a file that is there") for seam in FILES),
        *((seam, "one_specs:GONE", "one_specs:GONE is not the Path of a file that is there") for seam in FILES),
        *((seam, "one_specs:Absent", "AttributeError") for seam in SEAMS),
        *((seam, "absent:Absent", "ModuleNotFoundError") for seam in SEAMS),
    ],
)
def test_what_does_not_fit_is_broken_and_named(fake_plugin: Install, seam: str, target: str, reason: str) -> None:
    fake_plugin("one", f"[cryoreg.{registry.group_of(seam)}]\nmine = {target}\n", module=SPEC_MODULE + MISFITS)
    reason = reason.replace("HalfX", target)
    with pytest.raises(BrokenComponentError) as caught:
        registry.find_part(seam, "mine")
    assert str(caught.value).startswith(f"{seam} 'mine' of one 1.0 cannot be loaded: {reason}")


# ---- loggers

LOGGERS = '''
"""A logger that notes what it is told, and some that fail."""
import json

from cryoreg.errors import RunFolderError
from cryoreg.seams import Logger


class Notes(Logger):
    """Notes all."""

    def __init__(self, run):
        self.file = run.folder / "notes"
        self.note("open", run.first_step, run.config["training"]["epochs"])

    def note(self, *what):
        with self.file.open("a") as file:
            file.write(json.dumps(what) + "\\n")

    def steps(self, rows):
        self.note("steps", [row["step"] for row in rows])

    def epoch(self, epoch, step, figures):
        self.note("epoch", epoch, step, sorted(figures))

    def close(self, error=None):
        self.note("close", type(error).__name__)


class Unreachable(Logger):
    """Cannot begin."""

    def __init__(self, run):
        raise OSError("no\\nserver")

    steps = epoch = None


class Lost(Notes):
    """Loses its server."""

    def steps(self, rows):
        raise OSError("no server")


class Quits(Notes):
    """Ends Python."""

    def steps(self, rows):
        raise SystemExit(0)


class Full(Notes):
    """Says that the disk is full."""

    def steps(self, rows):
        raise RunFolderError("full")
'''


@pytest.fixture
def loggers(fake_plugin: Install) -> None:
    names = {"notes": "Notes", "unreachable": "Unreachable", "lost": "Lost", "quits": "Quits", "full": "Full"}
    lines = "".join(f"{name} = my_loggers_specs:{target}\n" for name, target in names.items())
    fake_plugin("my-loggers", f"[cryoreg.loggers]\n{lines}", module=LOGGERS)


def notes(folder: Path) -> list[list]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def log_of(folder: Path, names: tuple[str, ...], first_step: int = 0) -> tuple[RunLog, list[str]]:
    said: list[str] = []
    return RunLog(LoggedRun(folder, {"training": {"epochs": 1}}, first_step), names, said.append), said


def test_every_logger_is_told_the_same(loggers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryoreg.runs.run_log._FLUSH_SECONDS", 600.0)  # steps go together, however slow the machine
    log, said = log_of(tmp_path, ("csv", "notes"), first_step=4)
    with log:
        log.step(STEP)
        log.step({**STEP, "step": 1})
        log.flush()
        log.epoch(0, 2, {"loss": 1.5, "val_loss": math.nan})
    assert notes(tmp_path) == [
        *(["open", 4, 1], ["steps", [0, 1]], ["epoch", 0, 2, ["loss", "val_loss"]], ["close", "NoneType"])
    ]
    assert [row["step"] for row in CsvLog(tmp_path / "steps.csv").read()] == ["0", "1"]
    assert CsvLog(tmp_path / "metrics.csv").read() == [{"epoch": "0", "step": "2", "loss": "1.5", "val_loss": ""}]
    assert said == []


def test_without_a_logger_nothing_is_written(tmp_path: Path) -> None:
    log, _ = log_of(tmp_path, ())
    with log:
        log.step(STEP)
        log.epoch(0, 1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "why"), [("lost", "OSError: no server"), ("quits", "SystemExit: 0")])
def test_a_logger_that_fails_is_said_once_and_the_others_go_on(
    loggers: None, tmp_path: Path, name: str, why: str
) -> None:
    log, said = log_of(tmp_path, (name, "csv"))
    with log:
        for step in range(3):
            log.step({**STEP, "step": step})
            log.flush()
    assert said == [f"Warning: logger '{name}' failed ({why}); the run goes on without it"]
    assert len(CsvLog(tmp_path / "steps.csv").read()) == 3
    assert notes(tmp_path) == [["open", 0, 1]]


def test_a_mistake_of_the_user_ends_the_run(loggers: None, tmp_path: Path) -> None:
    log, said = log_of(tmp_path, ("full",))
    with log:
        log.step(STEP)
        with pytest.raises(RunFolderError, match="full"):
            log.flush()
    assert said == []


def test_a_run_that_fails_says_so_to_its_loggers(loggers: None, tmp_path: Path) -> None:
    log, _ = log_of(tmp_path, ("notes",))
    log.step(STEP)
    with pytest.raises(KeyError), log:
        raise KeyError
    assert notes(tmp_path)[1:] == [["steps", [0]], ["close", "KeyError"]]


def test_a_logger_that_cannot_begin_is_one_line_and_closes_the_others(loggers: None, tmp_path: Path) -> None:
    log, _ = log_of(tmp_path, ("notes", "unreachable"))
    with pytest.raises(ConfigError) as caught, log:
        pass
    assert str(caught.value).startswith(
        "training.loggers: 'unreachable' of my-loggers 1.0 cannot begin: OSError: no server; mend that"
    )
    assert notes(tmp_path)[-1] == ["close", "ConfigError"]


def test_an_unknown_logger_is_refused_before_anything_is_done() -> None:
    with pytest.raises(UnknownComponentError, match="unknown logger 'tensorbord'; did you mean 'tensorboard'"):
        require_loggers(("csv", "tensorbord"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("csv, notes", ("csv", "notes")), (["csv"], ("csv",)), ("", ()), ("one:notes", ("one:notes",))],
)
def test_loggers_are_named_in_one_text_or_a_list(given: object, expected: tuple[str, ...]) -> None:
    config = resolve("pretrain", [Layer("t", {"training": {"loggers": given}})])
    assert config.training.loggers == expected


@pytest.mark.slow
def test_a_run_tells_the_loggers_that_it_names_and_a_resumed_one_may_name_others(loggers: None, tmp_path: Path) -> None:
    import cryoreg

    small = {"dataset": {"name": "demo", "per_class": 2, "box": 16}, "encoder": {"name": "rb3d", "width": 4}}
    settings = {
        "method": "simclr",
        "batch_size": 8,
        "device": "cpu",
        "workers": 0,
        "probe_every_epochs": 0,
        "part": "all",
    }
    cryoreg.pretrain(tmp_path / "run", **small, **settings, epochs=1, loggers="notes")
    steps = [step for kind, *rest in notes(tmp_path / "run") if kind == "steps" for step in rest[0]]
    assert steps == list(range(len(steps)))
    assert steps
    assert not (tmp_path / "run" / "metrics.csv").exists()
    assert not (tmp_path / "run" / "tensorboard").exists()
    cryoreg.pretrain(tmp_path / "run", resume=True, loggers=["csv", "notes"])
    assert notes(tmp_path / "run")[-2][:2] == ["open", len(steps)]


# ---- writers

WRITERS = '''
"""A binary format, one of lists, and one that has the ending of a built-in."""
import struct

from cryoreg.errors import DataError
from cryoreg.seams import Writer


class Bytes(Writer):
    """A byte for each subtomogram."""

    suffix = ".bin"

    def prepare(self, output, dataset, classes):
        if len(classes) > 256:
            raise DataError(f"{output}: holds 256 classes")
        return lambda predictions: bytes(predictions.predictions.tolist())


class Lines(Writer):
    """A line for each subtomogram."""

    suffix = ".csv"

    def prepare(self, output, dataset, classes):
        return lambda predictions: "".join(f"{name}\\n" for name in predictions.ids)


class Number(Lines):
    """Writes a number."""

    suffix = ".num"

    def prepare(self, output, dataset, classes):
        return len


class Keyless(Lines):
    """Fails as it prepares."""

    suffix = ".key"

    def prepare(self, output, dataset, classes):
        return {}["oh"]


class Exits(Lines):
    """Fails as it writes."""

    suffix = ".exit"

    def prepare(self, output, dataset, classes):
        return lambda predictions: exit(0)
'''


@pytest.fixture
def writers(fake_plugin: Install) -> None:
    lines = "bytes = my_writers_specs:Bytes\nlines = my_writers_specs:Lines\n"
    fake_plugin("my-writers", f"[cryoreg.writers]\n{lines}", module=WRITERS)


def predictions():
    """Three subtomograms of three classes."""
    import numpy as np

    from cryoreg.contracts import Origin
    from cryoreg.predictions import Predictions

    chances = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    origins = tuple(Origin("/data/list.bin", row) for row in range(3))
    called = ("é", "b", "c")
    return Predictions(
        called, ("x", "y", "z"), chances, chances.argmax(1), chances.max(1), chances.max(1) < 0.5, 0.5, None, origins,
        (None,) * 3, {},
    )  # fmt: skip


def test_a_writer_is_found_by_the_file_s_ending_or_by_its_name(writers: None, tmp_path: Path) -> None:
    from cryoreg.inference.writers import prepare_writer

    by_ending = prepare_writer(tmp_path / "out.BIN", None, None, ("x", "y", "z"))
    assert by_ending(predictions()) == b"\x02\x00\x01"
    assert prepare_writer(tmp_path / "out.csv", "lines", None)(predictions()) == "é\nb\nc\n".encode()


def test_the_ending_of_a_built_in_means_the_built_in(writers: None) -> None:
    from cryoreg.inference.writers import suffixes

    assert {suffix: [each.name for each in owners] for suffix, owners in suffixes().owners.items()} == {
        ".bin": ["bytes"], ".csv": ["csv"], ".star": ["star"], ".tbl": ["dynamo"],
    }  # fmt: skip


def test_a_writer_that_cannot_be_loaded_hides_no_other(
    writers: None, fake_plugin: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryoreg.analysis import cluster_files
    from cryoreg.inference.writers import prepare_writer

    fake_plugin("boom", "[cryoreg.writers]\nboomw = boom_specs:X\n", module="raise SystemExit(0)")
    prepare_writer(tmp_path / "out.csv", None, None)
    prepare_writer(tmp_path / "out.bin", None, None, ("x", "y", "z"))
    cluster_files._writer(tmp_path / "out.bin", None)
    with pytest.raises(ConfigError, match=r"no format to write; .* \(boom:boomw cannot be asked: `cryoreg doctor`\)"):
        prepare_writer(tmp_path / "out.xml", None, None)
    with pytest.raises(ConfigError, match=r"clusters are written as .* \(boom:boomw cannot be asked"):
        cluster_files._writer(tmp_path / "out.xml", None)
    with pytest.raises(BrokenComponentError, match=r"writer 'boomw' of boom 1\.0 cannot be loaded: SystemExit"):
        prepare_writer(tmp_path / "out.csv", "boomw", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "writes neither str nor bytes, but a int"),
        ("keyless", "fails with KeyError: 'oh'"),
        ("exits", "fails with SystemExit: 0"),
    ],
)
def test_a_writer_that_fails_is_named(fake_plugin: Install, tmp_path: Path, name: str, message: str) -> None:
    from cryoreg.inference.writers import prepare_writer

    fake_plugin("bad", f"[cryoreg.writers]\n{name} = bad_specs:{name.capitalize()}\n", module=WRITERS)
    with pytest.raises(BrokenComponentError, match=rf"writer '{name}' of bad 1\.0 {message}; update or uninstall bad"):
        prepare_writer(tmp_path / "out.txt", name, None)(predictions())


def test_what_a_writer_refuses_is_refused_before_the_network_answers(writers: None, tmp_path: Path) -> None:
    from cryoreg.errors import DataError
    from cryoreg.inference.writers import prepare_writer

    with pytest.raises(DataError, match="holds 256 classes"):
        prepare_writer(tmp_path / "out.bin", None, None, [str(number) for number in range(257)])


def test_an_ending_that_nobody_writes_lists_those_that_somebody_does(writers: None, tmp_path: Path) -> None:
    from cryoreg.inference.writers import prepare_writer

    with pytest.raises(ConfigError, match=r"'\.xml' is no format to write; use \.star, \.bin, \.csv, \.tbl or --form"):
        prepare_writer(tmp_path / "out.xml", None, None)


def test_two_packages_with_one_ending_need_a_name(writers: None, fake_plugin: Install, tmp_path: Path) -> None:
    from cryoreg.errors import AmbiguousComponentError
    from cryoreg.inference.writers import prepare_writer

    fake_plugin("others", "[cryoreg.writers]\nother = others_specs:Bytes\n", module=WRITERS)
    with pytest.raises(AmbiguousComponentError, match=r"several packages write '\.bin'; say --format bytes or other"):
        prepare_writer(tmp_path / "out.bin", None, None)
    assert prepare_writer(tmp_path / "out.bin", "other", None)(predictions()) == b"\x02\x00\x01"


# ---- formats

FORMATS = '''
"""A format of files, and one that is a single file of its own."""
import struct

from cryoreg.datasets.conversion.formats import FilesFormat
from cryoreg.seams import Format


class Raw(FilesFormat):
    """Float32, as they lie in memory, after the voxel size."""

    suffix = ".raw"

    def content(self, volume, voxel_size):
        return struct.pack("<f", voxel_size or 0) + volume.tobytes()


class Sums(Format):
    """A line for each subtomogram: its id and the sum of its voxels."""

    folder = False

    def begin(self, path, layout, overwrite):
        return Lines(path, layout)


class Lines:
    def __init__(self, path, layout):
        self.path, self.layout, self.rows = path, layout, {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def missing(self):
        return list(range(len(self.layout.ids)))

    def put(self, row, volume, *more):
        self.rows[row] = float(volume.sum())

    def leave_out(self, row):
        pass

    def finish(self):
        self.path.write_text("".join(f"{self.layout.ids[row]} {total:.3f}\\n" for row, total in self.rows.items()))
'''


@pytest.fixture
def formats(fake_plugin: Install) -> None:
    fake_plugin(
        "my-formats", "[cryoreg.formats]\nraw = my_formats_specs:Raw\nsums = my_formats_specs:Sums\n", module=FORMATS
    )


def test_subtomograms_are_written_in_a_package_s_format(formats: None, tmp_path: Path) -> None:
    import mrcfile
    import numpy as np
    from support.synthetic import write_classes

    data = write_classes(tmp_path / "mrc", 2, 2)

    def convert(*words: object) -> str:
        result = CliRunner().invoke(command, ["convert", str(data), "--dataset", "mrc_folder", *map(str, words)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.output

    told = convert("--format", "raw", "--output", tmp_path / "raw")
    assert "4 subtomograms" in told
    volumes = {file.relative_to(data).with_suffix(""): mrcfile.read(file) for file in data.rglob("*.mrc")}
    written = {file.relative_to(tmp_path / "raw").with_suffix(""): file for file in (tmp_path / "raw").rglob("*.raw")}
    assert written.keys() == volumes.keys()
    for name, file in written.items():
        assert file.read_bytes() == np.float32(10).tobytes() + volumes[name].tobytes()
    assert "exists already" in convert("--format", "raw", "--output", tmp_path / "raw")
    convert("--format", "sums", "--output", tmp_path / "sums.txt")
    lines = dict(line.split() for line in (tmp_path / "sums.txt").read_text().splitlines())
    sums = {str(name): f"{volume.sum(dtype='f4'):.3f}" for name, volume in volumes.items()}
    assert {name.removesuffix(".mrc"): float(total) for name, total in lines.items()} == pytest.approx(
        {name: float(total) for name, total in sums.items()}, abs=0.01
    )
    assert "format 'rawe' is none of store, lab, mrc_folder, raw, sums" in convert(
        "--format", "rawe", "--output", tmp_path / "x"
    )


# ---- recipes and studies

FILES_MODULE = """
from pathlib import Path

RECIPE, STUDY = (Path(__file__).with_name(name) for name in ("recipe.toml", "study.toml"))
"""
RECIPE = """# Small and quick.
# For tests.

[pretrain]
method = { name = "simclr", temperature = 0.3 }
training = { epochs = 7 }
"""


@pytest.fixture
def files(fake_plugin: Install, site: Path) -> None:
    from cryoreg.benchmark.studies import SMOKE

    points = "[cryoreg.recipes]\nquick = lab_specs:RECIPE\nbest = lab_specs:RECIPE\n"
    fake_plugin("lab", f"{points}[cryoreg.studies]\nours = lab_specs:STUDY\n", module=FILES_MODULE)
    (site / "recipe.toml").write_text(RECIPE)
    (site / "study.toml").write_text(SMOKE.read_text().replace("Smoke test", "Ours"))


def test_a_recipe_of_a_package_is_used_by_its_name(files: None) -> None:
    from cryoreg.config.recipes import recipe_layer, recipe_names

    assert recipe_names() == ["best", "lab:best", "gupta2022", "quick"]
    config = resolve("pretrain", [recipe_layer("quick", "pretrain")])
    assert (config.spec("method").temperature, config.training.epochs) == (0.3, 7)
    assert config.sources["training.epochs"] == "recipe quick"
    assert recipe_layer("lab:best", "pretrain").values == recipe_layer("quick", "pretrain").values
    assert recipe_layer("best", "pretrain").values["method"] == {"name": "vicreg"}
    assert registry.find("recipes", "quick").documentation() == ("Small and quick.", "For tests.")


def test_a_recipe_that_has_nothing_for_the_task_or_is_damaged_is_one_line(files: None, site: Path) -> None:
    from cryoreg.config.recipes import recipe_layer

    with pytest.raises(ConfigError, match=r"--recipe quick: has no \[finetune\] \(.*recipe\.toml\)"):
        recipe_layer("quick", "finetune")
    (site / "recipe.toml").write_text("[pretrain")
    with pytest.raises(ConfigError, match=r"recipe\.toml is not TOML"):
        recipe_layer("quick", "pretrain")


def test_a_study_of_a_package_is_run_by_its_name(files: None) -> None:
    from cryoreg.benchmark.study import load_study, shipped

    assert "ours" in shipped()
    assert load_study("ours").title == "Ours: far too small to compare methods"
    assert load_study("ours").starts == load_study("smoke").starts
    assert load_study("lab:ours", {"seeds": [5]}).seeds == [5]


# ---- the page


def examples() -> dict[str, object]:
    """Return what the page's blocks of Python define."""
    page = (Path(__file__).parents[1] / "docs" / "extending.md").read_text("utf-8")
    known: dict[str, object] = {"__file__": __file__}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, known)
    return known


def test_the_examples_of_the_page_are_what_the_seams_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = examples()
    pairs = {"logger": "ShoutLogger", "writer": "NamesWriter", "optimizer": "signs", "schedule": "trapezoid"}
    pairs |= {"picker": "voxels", "viewer": "TableViewer", "format": "NpyFormat"}
    assert {seam: misfit(seam, known[name]) for seam, name in pairs.items()} == dict.fromkeys(pairs, "")
    logger = known["ShoutLogger"](LoggedRun(tmp_path / "pre", {}, 0))
    logger.epoch(3, 10, {"loss": 0.5})
    assert capsys.readouterr().out == "pre: epoch 3, loss 0.500\n"
    write = known["NamesWriter"]().prepare(tmp_path / "a.txt", None, ("x", "y", "z"))
    assert write(predictions()) == "é z\nb x\nc y\n"
    assert [known["trapezoid"](done) for done in (0, 0.5, 0.9)] == pytest.approx([1, 1, 0.5])
    assert known["RIBOSOMES"].name == "ribosomes.toml"
