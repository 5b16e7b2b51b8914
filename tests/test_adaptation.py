"""Data brought to what a network knows: the same density on another grid, its centre where it was, and it is said."""

from __future__ import annotations

import pickle
import shutil

import mrcfile
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.coded import write_coded
from support.mrc_writing import noise, write_mrc
from support.synthetic import write_classes
from test_conventions import KNOWN, InMemory
from test_resampling import blob

import cryoreg
from cryoreg.config import Layer, resolve
from cryoreg.config.settings import InputSettings
from cryoreg.contracts import OPTIONAL, Origin
from cryoreg.datasets.adaptation import Adapted, adapt, differences, load_adapted
from cryoreg.datasets.list_specs import StarSpec, TomogramSpec
from cryoreg.datasets.normalisation import normalise
from cryoreg.datasets.specs import MrcFolderSpec, NpyFolderSpec
from cryoreg.errors import DataError
from cryoreg.inference.embedding import embed
from cryoreg.inference.trained import Trained
from cryoreg.runs.run_folder import with_run
from cryoreg.runs.weights import load_weights
from cryoreg.wrapped import with_defaults
from cryoreg_cli.main import cryoreg as command_line

PLACE, SIGMA = (20.0, -30.0, 45.0), 30.0
FAST = {"batch_size": 8, "device": "cpu", "workers": 0, "precision": "fp32", "epochs": 1}
ENCODER = {"name": "rb3d", "width": 4}


def wanted(voxel_size=None, box=None, contrast=None) -> InputSettings:
    return InputSettings(voxel_size=voxel_size, box=box, contrast=contrast)


def served(volume, settings: InputSettings, voxel_size=10.0, **known) -> np.ndarray:
    return adapt(InMemory([volume], [voxel_size], **known), settings)[0].volume[0].numpy()


@pytest.mark.parametrize(("edge", "box"), [(32, 16), (33, 16), (48, 16), (64, 17), (47, 15)])
def test_a_gaussian_stays_where_it_is(edge, box):
    """Sampled anew on the coarser grid in closed form; larger boxes are cut after that, and lose nothing to it."""
    found = served(blob(edge, 10, PLACE, SIGMA), wanted(20.0, box))
    np.testing.assert_allclose(found, blob(box, 20, PLACE, SIGMA), atol=2e-3)


@pytest.mark.parametrize(("edge", "box", "last"), [(24, 16, 14), (24, 17, 14), (25, 16, 15)])
def test_what_lies_beyond_a_small_box_is_the_mean_of_what_is_there(edge, box, last):
    found = served(blob(edge, 10, PLACE, SIGMA), wanted(20.0, box))
    inner = (slice(2, last),) * 3
    np.testing.assert_allclose(found[inner], blob(box, 20, PLACE, SIGMA)[inner], atol=2e-2)
    outside = np.ones_like(found, bool)
    outside[inner] = False
    np.testing.assert_allclose(found[outside], found[inner].mean(), rtol=1e-5)


@pytest.mark.parametrize("old", [(16, 16, 16), (15, 16, 17), (9, 20, 8)])
@pytest.mark.parametrize("new", [(16, 16, 16), (8, 8, 8), (9, 9, 9), (24, 24, 24), (25, 8, 16)])
def test_boxes_are_cut_and_padded_about_the_centre_voxel(old, new):
    """Each voxel tells its own place from the centre, edge // 2, and is copied to the bit."""
    places = np.stack(np.indices(old)) - np.reshape([edge // 2 for edge in old], (3, 1, 1, 1))
    code = (places * np.reshape([10_000, 100, 1], (3, 1, 1, 1))).sum(0).astype(np.float32)
    found = served(code, wanted(box=new))
    assert found.shape == new
    there = {tuple(place): value for place, value in zip(places.reshape(3, -1).T.tolist(), code.ravel(), strict=True)}
    for index in np.ndindex(new):
        place = tuple(i - edge // 2 for i, edge in zip(index, new, strict=True))
        if place in there:
            assert found[index] == there[place]
    assert found[tuple(edge // 2 for edge in new)] == 0


@pytest.mark.parametrize(
    ("here", "there", "sign"),
    [("dark", "bright", -1), ("bright", "dark", -1), ("bright", "bright", 1), (None, "bright", 1), ("dark", None, 1)],
)
def test_the_sign_changes_where_both_contrasts_are_known(here, there, sign):
    dataset = adapt(InMemory([noise()], [10.0], **({"contrast": here} if here else {})), wanted(contrast=there))
    np.testing.assert_array_equal(dataset[0].volume[0], sign * noise())
    assert dataset.contrast == (there if sign < 0 else here)


def test_what_is_as_wanted_is_not_touched():
    dataset = cryoreg.create_dataset("demo", per_class=1, box=16)
    for settings in (wanted(), wanted(12.05, 16), wanted(None, 16)):
        assert adapt(dataset, settings) is dataset


@pytest.mark.parametrize("name", OPTIONAL)
def test_all_that_is_known_is_passed_on(name):
    value = InMemory([noise(), noise()], [10.0, 10.0]) if name == "clean" else KNOWN[name]
    reader = InMemory([noise(), noise()], [10.0, 10.0], **{name: value})
    dataset = Adapted(reader, None, (4, 4, 4), None)
    found = getattr(dataset, name)
    if name == "clean":
        assert torch.equal(found[1].volume, dataset[1].volume)
    elif name == "origin":
        assert found(1) == Origin("list.star", 8)
    elif name == "prefetch":
        heard = []
        reader.prefetch = heard.extend
        dataset.prefetch([1, 0])
        assert heard == [1, 0]
    else:
        assert found == value


def test_the_rest_is_the_readers():
    reader = InMemory([noise(), noise(seed=1)], [10.0, 10.0])
    dataset = pickle.loads(pickle.dumps(adapt(reader, wanted(20.0, 4))))
    for name in ("classes", "labels", "ids", "groups"):
        assert list(getattr(dataset, name)) == list(getattr(reader, name))
    assert (dataset[1].label, dataset[1].id, dataset[1].group) == (0, "1", "t")
    assert (dataset.voxel_size, dataset.box) == (20.0, (4, 4, 4))
    assert dataset[1].volume.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        (wanted(20.0, 16), ["voxels of 10 Å are brought to 20 Å, boxes of 32 to 16 voxels"]),
        (wanted(20.0, 32), ["voxels of 10 Å are brought to 20 Å"]),
        (wanted(10.0, (16, 32, 32)), ["boxes of 32 are brought to 16×32×32 voxels"]),
        (wanted(contrast="bright"), ["density is dark in the data, and made bright"]),
    ],
)
def test_what_is_done_is_said(settings, notes):
    assert adapt(InMemory([noise((32, 32, 32))], [10.0], contrast="dark"), settings).notes == notes


def test_without_a_voxel_size_nothing_is_changed_and_other_boxes_are_refused():
    dataset = with_defaults(InMemory([noise((8, 8, 8))], [None]))
    assert adapt(dataset, wanted(20.0, 8)) is dataset
    card = {"voxel_size": 20.0, "box": [8, 8, 8], "contrast": "bright"}
    size, contrast = differences(dataset, card)
    assert size.startswith("the voxel size of the training data is known, that of these data is not")
    assert "say --set dataset.contrast=dark" in contrast
    with pytest.raises(DataError, match=r"boxes of 8 voxels cannot be made 16 of 20 Å.*--set dataset.voxel_size=<Å>$"):
        adapt(dataset, wanted(20.0, 16))


def test_a_contrast_that_the_training_data_did_not_say_is_said():
    dataset = with_defaults(InMemory([noise((8, 8, 8))], [None], contrast="bright"))
    card = {"voxel_size": None, "box": [8, 8, 8], "contrast": None}
    assert differences(dataset, card) == [
        "density is bright here, and not known of the training data; make sure they agree"
    ]
    assert differences(dataset, card | {"contrast": "bright"}) == []


def test_a_voxel_size_that_the_user_wants_stays(tmp_path):
    np.save(tmp_path / "a.npy", noise((32, 32, 32)))
    own = NpyFolderSpec(root=tmp_path, voxel_size=10, rescale_to=13.3)
    dataset = load_adapted(own, wanted(20.0, 16))
    assert (dataset.voxel_size, dataset.box) == (13.3, (24, 24, 24))
    assert torch.equal(dataset[0].volume, own.load()[0].volume)
    assert differences(dataset, {"voxel_size": 20.0, "box": [16] * 3}) == [
        "voxels are 13.3 Å, trained on 20 Å",
        "boxes are 24 voxels, trained on 16",
    ]
    same = load_adapted(own.model_copy(update={"rescale_to": 20.0}), wanted(20.0, 12))
    assert (same.voxel_size, same.box) == (20.0, (12, 12, 12))


def test_boxes_of_tomograms_are_cut_anew(tmp_path):
    """At the wanted size around the particle, so that they are as full as the tomogram lets them be."""
    write_coded(tmp_path / "t.mrc")
    (tmp_path / "list.csv").write_text("x,y,z\n25,20,15\n")
    dataset = load_adapted(TomogramSpec(root=tmp_path / "list.csv", box=4), wanted(20.0, 8))
    assert dataset.notes[-1] == "voxels of 10 Å are brought to 20 Å, boxes of 4 to 8 voxels, cut anew"
    cut = TomogramSpec(root=tmp_path / "list.csv", box=8, rescale_to=20.0).load()
    assert torch.equal(dataset[0].volume, cut[0].volume)
    assert dataset[0].volume[0, 4, 4, 4] == pytest.approx(25 + 2_000 + 150_000, rel=1e-3)


def test_mixed_voxel_sizes_become_the_wanted_one(tmp_path):
    for name, voxel_size in (("a", 8.0), ("b", 12.0)):
        write_mrc(tmp_path / f"{name}.mrc", blob(32, voxel_size, PLACE, SIGMA), voxel_size)
    (tmp_path / "p.star").write_text("data_\n\nloop_\n_rlnImageName #1\na.mrc\nb.mrc\n")
    with pytest.raises(DataError, match="mixed voxel sizes"):
        load_adapted(StarSpec(root=tmp_path / "p.star"), wanted())
    dataset = load_adapted(StarSpec(root=tmp_path / "p.star"), wanted(20.0, 12))
    assert dataset.notes == ["boxes of 13 are brought to 12 voxels", "mixed voxel sizes are brought to 20 Å"]
    for index in range(2):
        np.testing.assert_allclose(dataset[index].volume[0], blob(12, 20, PLACE, SIGMA), atol=2e-3)


# Wherever a trained network meets data


def as_files(source, target, edge: int, voxel_size: float):
    """Write the blobs of a folder again, at another voxel size and in another box, by a wide Gaussian each."""
    for path in sorted(source.rglob("*.mrc")):
        label = int(path.parent.name.removeprefix("class"))
        place = (60.0 * label - 30.0, 0.0, 0.0)
        rng = np.random.default_rng(int(path.stem))
        volume = blob(edge, voxel_size, place, 40) + 0.05 * rng.standard_normal((edge,) * 3).astype(np.float32)
        write_mrc(target / path.relative_to(source), volume, voxel_size)
    return target


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Pretrained on 8³ at 20 Å; the folder of its data lies beside it."""
    folder = tmp_path_factory.mktemp("start")
    source = as_files(write_classes(folder / "plan", per_class=10), folder / "coarse", 8, 20.0)
    cryoreg.pretrain(folder / "run", encoder=ENCODER, dataset={"name": "mrc_folder", "root": source}, **FAST)
    return folder / "run"


@pytest.fixture(scope="module")
def fine(start):
    """The same scenes, 24³ at 10 Å: finer, and a wider box."""
    return as_files(start.parent / "plan", start.parent / "fine", 24, 10.0)


@pytest.fixture(scope="module")
def tuned(start, fine):
    run = start.parent / "tuned"
    source = {"name": "mrc_folder", "root": fine}
    cryoreg.finetune(run, pretrained=start, dataset=source, **FAST | {"epochs": 3})
    return run


def test_fine_tuning_records_what_the_network_saw(tuned):
    card = load_weights(tuned / "classifier.safetensors").card
    assert (card["voxel_size"], card["box"]) == (20.0, [8, 8, 8])
    assert card["config"]["input"] == {"voxel_size": 20.0, "box": [8, 8, 8]}


def test_the_same_files_are_brought_there_again(tuned, fine, tmp_path):
    own, given = Trained.classifier(tuned), cryoreg.predict(tuned, dataset={"root": fine}, device="cpu", workers=0)
    assert own.differences() == []
    assert own.dataset.notes == ["voxels of 10 Å are brought to 20 Å, boxes of 24 to 8 voxels"]
    assert given.predictions.tolist() == own.logits().argmax(1).tolist()
    figures = cryoreg.evaluate(tuned, device="cpu", workers=0)
    by_id = dict(zip(given.ids, given.predictions.tolist(), strict=True))
    assert [by_id[name] for name in figures.ids] == figures.predictions.tolist()
    assert set(embed(tuned, "test").parts) == {"test"}


def test_features_are_those_of_volumes_brought_there_by_hand(start, fine):
    exact = {"dataset": {"root": fine}, "training": {"precision": "fp32"}}
    found = Trained.encoder(start, [Layer("test", exact)])
    by_hand = MrcFolderSpec(root=fine, rescale_to=20.0).load()
    encoder = cryoreg.create_encoder(pretrained=start).eval()
    volumes = torch.stack([by_hand[i].volume[:, 2:10, 2:10, 2:10] for i in range(len(by_hand))])
    with torch.no_grad():
        expected = encoder(normalise(volumes)).numpy()
    np.testing.assert_allclose(found.features(), expected, rtol=1e-3, atol=1e-4)


def test_a_run_goes_on_as_it_began_even_without_what_it_started_from(start, fine, tmp_path):
    source = {"name": "mrc_folder", "root": fine}
    weights = shutil.copytree(start, tmp_path / "weights")
    whole, part = tmp_path / "whole", tmp_path / "part"
    cryoreg.finetune(whole, pretrained=weights, dataset=source, **FAST | {"epochs": 2, "schedule": "constant"})
    cryoreg.finetune(part, pretrained=weights, dataset=source, **FAST | {"epochs": 1, "schedule": "constant"})
    assert load_weights(part / "encoder.safetensors").card["box"] == [8, 8, 8]
    recorded = resolve("finetune", with_run("finetune", [], part))
    shutil.rmtree(weights)
    assert recorded.input == wanted(20.0, 8)


def test_the_command_says_it(start, fine, tmp_path):
    words = ["cluster", start, "--data", fine, "--clusters", "2", "--output", tmp_path / "c.csv", "--device", "cpu"]
    result = CliRunner().invoke(command_line, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    others, brought = result.output.splitlines()[:2]
    assert others.startswith("differs: ids and labels are those of the training data, the volumes are not")
    assert brought == "note: voxels of 10 Å are brought to 20 Å, boxes of 24 to 8 voxels"


def test_what_was_said_of_the_own_files_does_not_overrule_others(tmp_path):
    """A run on files without voxel size, told 20 Å: that holds for other silent files, not for those that say 10."""
    plan = write_classes(tmp_path / "plan", per_class=5)
    silent = as_files(plan, tmp_path / "silent", 8, 20.0)
    for path in silent.rglob("*.mrc"):
        write_mrc(path, mrcfile.read(path), None)
    source = {"name": "mrc_folder", "root": silent, "voxel_size": 20.0}
    cryoreg.pretrain(tmp_path / "run", encoder=ENCODER, dataset=source, **FAST | {"batch_size": 4})
    say = as_files(plan, tmp_path / "say", 16, 10.0)
    moved = silent.rename(tmp_path / "moved")
    opened = {
        root: Trained.encoder(tmp_path / "run", [Layer("test", {"dataset": {"root": root}})]).dataset
        for root in (say, moved)
    }
    assert opened[say].notes == ["voxels of 10 Å are brought to 20 Å, boxes of 16 to 8 voxels"]
    assert (opened[moved].notes, opened[moved].voxel_size) == ([], 20.0)
    (moved / "class0" / "000.mrc").rename(moved / "class0" / "other.mrc")
    again = Trained.encoder(tmp_path / "run", [Layer("test", {"dataset": {"root": moved}})]).dataset
    assert (list(again.notes), again.voxel_size) == (["voxel_size = 20.0 as told of the training data"], 20.0)


def test_fine_tuning_says_what_was_said_of_the_files_of_its_start(start, fine, tmp_path, capsys):
    source = {"name": "mrc_folder", "root": fine, "contrast": "bright"}
    cryoreg.pretrain(tmp_path / "run", encoder=ENCODER, dataset=source, **FAST)
    other = shutil.copytree(fine, tmp_path / "other")
    cryoreg.finetune(tmp_path / "same", pretrained=tmp_path / "run", **FAST)
    assert "as said of the data" not in capsys.readouterr().err
    cryoreg.finetune(tmp_path / "tuned", pretrained=tmp_path / "run", dataset={"root": other}, **FAST)
    assert "note: dataset.contrast = bright, as said of the data of" in capsys.readouterr().err


def test_to_what_the_own_files_were_rescaled_does_not_hold_for_others(start, fine, tmp_path):
    """Files without a voxel size cannot be rescaled, and need not be where their boxes are the network's."""
    source = {"name": "mrc_folder", "root": fine, "rescale_to": 20.0}
    cryoreg.pretrain(tmp_path / "run", encoder=ENCODER, dataset=source, **FAST)
    silent = tmp_path / "silent" / "a.mrc"
    write_mrc(silent, noise((12, 12, 12)), None)
    opened = Trained.encoder(tmp_path / "run", [Layer("test", {"dataset": {"root": silent.parent}})])
    assert torch.equal(opened.dataset[0].volume[0], torch.from_numpy(noise((12, 12, 12))))
    assert "the voxel size of the training data is known" in opened.differences()[0]
