"""`cryoreg inspect`: which reader fits, what is counted and measured, what is wrong, and that nothing is touched."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.mrc_writing import noise, open_files, state, write_mrc

from cryoreg.config.sniffing import choose, sniff
from cryoreg.contracts import Origin, Sample, Subtomograms
from cryoreg.datasets.inspection import SAMPLE, contrast_hint, inspect, measure, spread
from cryoreg.datasets.store.format import FORMAT
from cryoreg.errors import DataError
from cryoreg_cli.main import cryoreg


def star(path: Path, *columns: str) -> None:
    lines = [
        "data_particles",
        "",
        "loop_",
        *(f"_{name} #{i}" for i, name in enumerate(columns, 1)),
        "1 " * len(columns),
    ]
    path.write_text("\n".join(lines))


def hdf5(path: Path, mark: str | None = None, **content) -> None:
    with h5py.File(path, "w") as file:
        if mark:
            file.attrs[mark] = 1
        for name, value in content.items():
            file[name] = value


def png(path: Path) -> None:
    Image.new("L", (174, 145)).save(path)


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


FITS = {
    "mrc_folder": lambda p: write_mrc(folder(p) / "a.mrc", noise()),
    "mrc_folder, classes": lambda p: write_mrc(folder(p / "class") / "a.rec.gz", noise(), compression="gzip"),
    "mrc_stack": lambda p: write_mrc(folder(p) / "a.mrc", noise((2, 4, 4, 4))),
    "mrc_stack, classes": lambda p: write_mrc(folder(p / "class") / "a.mrcs", noise((8, 4, 4))),
    "npy_folder": lambda p: np.save(folder(p) / "a.npy", noise()),
    "png_montage": lambda p: png(folder(p / "class") / "a.png"),
    "lab": lambda p: folder(p / "subtomogram_mrc"),
    "lab, labels only": lambda p: folder(p / "json_label"),
}
FILES = {
    "a.mrcs": ("mrc_stack", lambda p: write_mrc(p, noise((2, 4, 4, 4)))),
    "a.mrc": ("mrc_stack", lambda p: write_mrc(p, noise((2, 4, 4, 4)))),
    "a.map.gz": ("mrc_stack", lambda p: write_mrc(p, noise((8, 4, 4)), ispg=0, mz=1, compression="gzip")),
    "a.npy": ("npy_folder", lambda p: np.save(p, noise())),
    "a.png": ("png_montage", png),
    "a.pickle": ("lab", lambda p: p.write_bytes(pickle.dumps([]))),
    "a.h5": ("lab", lambda p: hdf5(p, dataset_1=noise())),
    "no extension": ("lab", lambda p: hdf5(p, dataset_1=noise())),
    "b.h5": ("store", lambda p: hdf5(p, mark=FORMAT, dataset_1=3)),
    "images.star": ("star", lambda p: star(p, "rlnTomoName", "rlnImageName")),
    "voxels.star": ("tomogram", lambda p: star(p, "rlnTomoName", "rlnCoordinateX", "rlnCoordinateY")),
    "centred.star": ("tomogram", lambda p: star(p, "rlnCenteredCoordinateXAngst")),
    "a.tbl": ("tomogram", lambda p: p.write_text("1 1 1")),
    "a.csv": ("tomogram", lambda p: p.write_text("x,y,z\n1,2,3")),
    "a.ndjson": ("tomogram", lambda p: p.write_text("{}")),
}


@pytest.mark.parametrize("name", FITS)
def test_the_reader_of_a_folder_follows_from_what_is_in_it(tmp_path, name):
    FITS[name](tmp_path / "data")
    assert choose(tmp_path / "data").name == name.split(",")[0]


@pytest.mark.parametrize("name", FILES)
def test_the_reader_of_a_file_follows_from_what_is_in_it(tmp_path, name):
    reader, write = FILES[name]
    write(tmp_path / name)
    assert choose(tmp_path / name).name == reader


def two_kinds(path: Path) -> None:
    write_mrc(path / "a.mrc", noise())
    np.save(path / "a.npy", noise())


def tomogram(path: Path) -> None:
    write_mrc(path / "tomo.mrc", noise((2, 2, 300)))


REFUSED = {
    "two kinds of files": (two_kinds, ".", "more than one reader fits", "--dataset mrc_folder or --dataset npy_folder"),
    "images and coordinates": (
        lambda p: star(p / "a.star", "rlnImageName", "rlnCoordinateX"),
        "a.star",
        "the column rlnImageName (star) and the column rlnCoordinateX (tomogram)",
        "say --dataset star or --dataset tomogram",
    ),
    "neither": (lambda p: star(p / "a.star", "rlnMtfFileName"), "a.star", "neither rlnImageName", "rlnMtfFileName"),
    "nothing": (lambda p: None, ".", "no reader fits; it holds no files"),
    "other files": (lambda p: (p / "a.txt").touch(), ".", "it holds 1 .txt files"),
    "a list in a folder": (lambda p: (p / "a.star").touch(), ".", "the particle list a.star; say"),
    "missing": (lambda p: None, "nowhere", "no such file or directory"),
    "broken link": (lambda p: (p / "a.mrcs").symlink_to("nowhere"), "a.mrcs", "does not exist"),
    "other HDF5": (lambda p: hdf5(p / "a.h5", images=noise()), "a.h5", "is HDF5 with images"),
    "TIFF": (lambda p: (p / "a.tif").touch(), "a.tif", "`cryoreg pick` reads it; else convert it to MRC"),
    "one volume": (lambda p: write_mrc(p / "a.mrc", noise()), "a.mrc", "is a single volume"),
    "tomogram": (tomogram, "tomo.mrc", "is a whole tomogram by its size", "cryoreg pick"),
    "tomograms": (tomogram, ".", "is a whole tomogram by its size"),
    "OME-Zarr": (lambda p: (p / ".zattrs").touch(), ".", "OME-Zarr", "--dataset tomogram"),
    "folder of runs": (lambda p: (folder(p / "pre") / "config.toml").touch(), ".", "holds runs", "one of them"),
    "no MRC file": (lambda p: (p / "a.mrc").write_text("text" * 500), ".", "a.mrc: is not an MRC file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_guessed(tmp_path, name):
    write, where, *phrases = REFUSED[name]
    write(tmp_path)
    result = run(tmp_path / where)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "; " in result.stderr
    for phrase in phrases:
        assert phrase in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("name", ["config.toml", "last.ckpt", "encoder.safetensors", "model.pth.tar"])
def test_runs_and_models_are_no_data(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match="belongs to a run or a model"):
        sniff(tmp_path if name == "config.toml" else tmp_path / name)


def run(path: Path, *options: str):
    """Run the command; assert that it changes nothing and has no fault of its own."""
    before, files = state(path), open_files()
    result = CliRunner().invoke(cryoreg, ["inspect", str(path), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert state(path) == before
    assert open_files() <= files + 1
    return result


# ---- what is told


def write_classes(root: Path, counts: dict[str, int]) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write_mrc(root / name / f"{i}.mrc", noise((8, 8, 8), 100 * number + i))
    return root


def test_counts_sizes_and_the_next_command(tmp_path):
    root = write_classes(tmp_path / "my data", {"ribosome": 4, "proteasome [20S]": 3})
    result = run(root, "--set", "dataset.contrast=dark", "--set", "dataset.tilt_range=[-50, 61.5]")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "reader mrc_folder (7 MRC files)" in lines
    assert "subtomograms 7" in lines
    assert "ribosome 4" in lines
    assert "proteasome [20S] 3" in lines
    assert "box 8×8×8 voxels (z, y, x)" in lines
    assert "voxel size 10 Å" in lines
    assert "tilts -50° to 61.5°, axis not known" in lines
    assert "no problems found" in lines
    expected = f"cryoreg pretrain --dataset mrc_folder --data '{root}' --set dataset.contrast=dark"
    assert lines[-1] == f"{expected} --set dataset.tilt_range='[-50, 61.5]'"


def test_json_says_the_same(tmp_path):
    root = write_classes(tmp_path, {"a": 3, "b": 5})
    record = json.loads(run(root, "--json").stdout)
    volumes = np.stack([np.asarray(noise((8, 8, 8), seed)) for seed in (0, 1, 2, 100, 101, 102, 103, 104)])
    assert record["reader"] == "mrc_folder"
    assert (record["classes"], record["unlabelled"], record["groups"]) == ({"a": 3, "b": 5}, 0, {})
    assert (record["count"], record["looked_at"], record["sound"], record["problems"]) == (8, 8, True, [])
    expected = {"mean": volumes.mean(), "sd": volumes.std(), "min": volumes.min(), "max": volumes.max()}
    assert record["intensity"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_bad_subtomogram_has_its_line(tmp_path):
    root = write_classes(tmp_path, {"a": 4, "b": 4})
    write_mrc(root / "a/1.mrc", np.full((8, 8, 8), np.nan, np.float32))
    write_mrc(root / "b/2.mrc", np.full((8, 8, 8), 3, np.float32))
    result = run(root)
    assert result.exit_code == 1
    bad = [line for line in result.stdout.splitlines() if "unreadable: " in line]
    assert len(bad) == 2
    assert "a/1.mrc: holds NaN" in bad[0]
    assert "b/2.mrc: is constant" in bad[1]
    assert json.loads(run(root, "--json").stdout)["sound"] is False


def test_unlabelled_without_voxel_size(tmp_path):
    for i in range(3):
        write_mrc(tmp_path / f"{i}.mrc", noise((8, 8, 8), i), voxel_size=0)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "none: unlabelled" in result.stdout
    assert "voxel size: the files do not say; give it with --set dataset.voxel_size" in result.stdout


def test_mixed_boxes_and_voxel_sizes_are_counted(tmp_path):
    for i, (edge, size) in enumerate([(8, 10), (6, 10), (6, 12.5), (6, 0)]):
        write_mrc(tmp_path / f"{i}.mrc", noise((edge,) * 3, i), voxel_size=size)
    result = run(tmp_path)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "mixed box sizes: " in result.stderr
    counted = [line.rsplit(maxsplit=1) for line in result.stdout.splitlines() if line and line[0] != "─"]
    assert counted[:3] == [["box", "files"], ["6×6×6", "3"], ["8×8×8", "1"]]
    assert counted[3:] == [["voxel size", "files"], ["10 Å", "2"], ["12.5 Å", "1"], ["none in its header", "1"]]
    assert json.loads(run(tmp_path, "--json").stdout)["mixed"]["box"] == {"6×6×6": 3, "8×8×8": 1}
    (tmp_path / "0.mrc").unlink()
    assert "mixed voxel sizes: " in run(tmp_path).stderr


def test_boxes_that_are_no_cubes():
    assert "no cube" in problems(Volumes([noise((4, 6, 6), i) for i in range(3)]))["box"]


def problems(dataset, everything=False) -> dict[str, str]:
    return {problem.kind: problem.text for problem in inspect(dataset, everything).problems}


class Volumes(Subtomograms):
    """A data set in memory."""

    def __init__(self, volumes, **known):
        count = len(volumes)
        self.volumes = volumes
        self.classes, self.labels, self.groups = [], [None] * count, [None] * count
        self.ids, self.voxel_size, self.box = [str(i) for i in range(count)], 10.0, volumes[0].shape
        vars(self).update(known)

    def __len__(self):
        return len(self.volumes)

    def __getitem__(self, index):
        volume = torch.from_numpy(np.asarray(self.volumes[index], np.float32))[None]
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index])


def test_copies_are_found():
    volumes = [noise((8, 8, 8), seed) for seed in (0, 1, 0, 2, 0)]
    assert (
        "2 subtomograms are copies of others, voxel by voxel (first: 0, 2, 4)"
        in problems(Volumes(volumes))["duplicates"]
    )
    assert not problems(Volumes([volumes[0], -volumes[0]]))


def test_small_classes_are_named():
    dataset = Volumes([noise((8, 8, 8), i) for i in range(6)], classes=["a", "b", "c"], labels=[0, 0, 0, 0, 1, 1])
    assert "b (2), c (0)" in problems(dataset)["classes"]


def test_tomograms_are_counted():
    dataset = Volumes([noise((8, 8, 8), i) for i in range(4)], groups=["TS_2", "TS_1", "TS_2", None])
    assert inspect(dataset).groups == {"TS_1": 1, "TS_2": 2}


def test_one_place_that_is_read_twice():
    dataset = Volumes([noise((8, 8, 8), i) for i in range(3)], origin=lambda i: Origin("stack.mrcs", i // 2))
    assert "1 places in files are read more than once (first: 0 and 1)" in problems(dataset)["origins"]


def test_saturated_and_unlike_intensities():
    scale = [np.clip(noise((8, 8, 8), i) * 120 + 128, 0, 255).round() for i in range(3)]
    assert "3 of 3" in problems(Volumes(scale))["saturation"]
    assert not problems(Volumes([(noise((8, 8, 8), i) * 20 + 128).round() for i in range(3)]))
    assert "from" in problems(Volumes([noise((8, 8, 8)), 9 * noise((8, 8, 8), 1)]))["intensity"]


def test_nan_that_a_reader_lets_pass():
    volumes = [noise((8, 8, 8), i) for i in range(3)]
    volumes[1][0, 0, 0] = np.nan
    found = inspect(Volumes(volumes))
    assert [problem.text for problem in found.problems] == [
        "1: holds NaN or infinite voxels; remove it or extract it again"
    ]
    assert not found.sound


def test_a_sample_is_spread_over_the_whole_set():
    chosen = spread(10_000, SAMPLE)
    assert len(chosen) == len(set(chosen)) == SAMPLE
    assert (np.diff(chosen) == 50).all()
    assert spread(3, SAMPLE) == [0, 1, 2]
    small = [np.float32([[[i, 1], [2, 3]], [[4, 5], [6, 7.5]]]) for i in range(SAMPLE + 50)]
    assert inspect(Volumes(small)).looked_at == SAMPLE
    assert inspect(Volumes(small), everything=True).looked_at == SAMPLE + 50


def test_nothing_to_look_at():
    dataset = Volumes([noise((8, 8, 8))])
    dataset.volumes = []
    with pytest.raises(DataError, match="holds no subtomograms"):
        inspect(dataset)


# ---- the contrast


def particle(sign: float, seed: int) -> np.ndarray:
    """A few dense spots near the centre, in noise of their standard deviation."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(24) - 12] * 3, indexing="ij"))
    spots = sum(np.exp(-((grid - rng.normal(0, 3, (3, 1, 1, 1))) ** 2).sum(axis=0) / 6) for _ in range(5))
    return (sign * spots / spots.std() + rng.standard_normal(spots.shape)).astype(np.float32)


@pytest.mark.parametrize(("sign", "look"), [(1, "looks bright"), (-1, "looks dark"), (0, "unclear")])
def test_contrast_is_estimated_and_never_applied(sign, look):
    volumes = [particle(sign, seed) for seed in range(20)]
    dataset = Volumes(volumes)
    found = inspect(dataset)
    assert look in found.contrast_hint
    assert found.contrast is None
    np.testing.assert_array_equal(dataset[0].volume[0], volumes[0])


def test_few_subtomograms_tell_no_contrast():
    assert "too few" in contrast_hint([measure(particle(1, seed)) for seed in range(4)])


def test_measurements_against_plain_numpy():
    volume = particle(1, 3).astype(np.float64)
    found = measure(volume.astype(np.float32))
    assert found.mean == pytest.approx(volume.mean())
    assert found.sd == pytest.approx(volume.std())
    centre, rim = [], []
    for place, value in np.ndenumerate((volume - volume.mean()) / volume.std()):
        radius = np.sqrt(sum(((i - 12) / 12) ** 2 for i in place))
        if radius < 0.5:
            centre.append(value)
        elif radius > 0.9:
            rim.append(value)
    centre = np.array(centre)
    assert found.centre == pytest.approx(centre.mean() - np.mean(rim), rel=1e-4)
    assert found.skewness == pytest.approx(((centre - centre.mean()) ** 3).mean() / centre.std() ** 3, rel=1e-3)


# ---- the command


def test_other_settings_are_refused(tmp_path):
    root = write_classes(tmp_path, {"a": 3})
    result = run(root, "--set", "training.epochs=3")
    assert result.exit_code == 1
    assert "takes settings of the data set" in result.stderr


def test_a_reader_that_is_told(tmp_path):
    two_kinds(tmp_path)
    assert json.loads(run(tmp_path, "--json", "--dataset", "npy_folder").stdout)["why"] == "as told"
    assert "did you mean" in run(tmp_path, "--dataset", "npy_foldr").stderr


def test_more_classes_than_fit_a_screen_are_abbreviated(tmp_path):
    for i in range(25):
        folder(tmp_path / f"class{i}")
        np.save(tmp_path / f"class{i}" / "a.npy", noise((1 + i // 24, 4, 4, 4), i))
    shown = run(tmp_path).stdout
    assert "and 5 more with 5 subtomograms" in shown
    assert "class24" in shown


def test_finding_the_reader_needs_no_torch(tmp_path):
    write_mrc(tmp_path / "a.mrc", noise())
    code = f"import sys, pathlib; from cryoreg.config.sniffing import choose; choose(pathlib.Path({str(tmp_path)!r}))"
    code += "; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_labs_layout_is_recognised(shared_data):
    record = json.loads(run(shared_data / "lab_layout", "--json").stdout)
    assert (record["reader"], record["count"], len(record["classes"])) == ("lab", 60, 10)
    assert record["tilt_axis"] == "x"
    assert "looks bright" in record["contrast_hint"], "its README says that density is white on 0"


def test_density_maps_of_mixed_sizes_are_refused(shared_data):
    result = run(shared_data / "density_maps")
    assert "mixed box sizes" in result.stderr
    assert "52×52×52" in result.stdout


def test_every_match_is_listed(tmp_path):
    two_kinds(tmp_path)
    assert {match.name for match in sniff(tmp_path)} == {"npy_folder", "mrc_folder"}
