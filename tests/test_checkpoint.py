import io
import os
import pickle
import random
import zipfile

import pytest
import torch

from cryoreg.errors import CheckpointError
from cryoreg.runs.checkpoint import FORMAT, load_checkpoint, save_checkpoint

CONTENT = {"weights": {"a": torch.arange(2000.0).view(20, 100)}, "step": 7, "loss": 0.5, "name": "moco", "none": None}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, CONTENT)
    return path


def test_round_trip(checkpoint):
    loaded = load_checkpoint(checkpoint)
    assert torch.equal(loaded["weights"]["a"], CONTENT["weights"]["a"])
    assert {key: loaded[key] for key in ("step", "loss", "name", "none")} == {
        key: CONTENT[key] for key in ("step", "loss", "name", "none")
    }


def test_torch_reads_it_without_cryoreg(checkpoint):
    assert torch.load(checkpoint, weights_only=True)["step"] == 7


def test_any_flipped_bit_is_noticed(checkpoint):
    whole = checkpoint.read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        position = rng.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        checkpoint.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.ckpt"):
            load_checkpoint(checkpoint)


def test_torch_itself_misses_flipped_bits(checkpoint):
    """Why there is a checksum at all: when this fails, torch has learnt to check."""
    whole = bytearray(checkpoint.read_bytes())
    position = whole.find(torch.tensor([1000.0, 1001.0]).numpy().tobytes())
    whole[position] ^= 1
    checkpoint.write_bytes(whole)
    assert not torch.equal(torch.load(checkpoint, weights_only=True)["weights"]["a"], CONTENT["weights"]["a"])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_one_clear_line(checkpoint, share):
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"last\.ckpt is truncated"):
        load_checkpoint(checkpoint)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")


class _TouchesAFile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def _with_valid_checksum(data):
    from cryoreg.runs.checkpoint import _with_checksum

    return _with_checksum(data)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    buffer, proof = io.BytesIO(), tmp_path / "executed"
    torch.save({"format": FORMAT, "evil": _TouchesAFile(proof)}, buffer)
    (tmp_path / "evil.ckpt").write_bytes(_with_valid_checksum(buffer.getvalue()))
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(tmp_path / "evil.ckpt")
    assert not proof.exists()


@pytest.mark.parametrize("make", [lambda: b"not a checkpoint at all" * 9, lambda: pickle.dumps({"a": 1}) * 9])
def test_other_files_are_refused(tmp_path, make):
    (tmp_path / "other.ckpt").write_bytes(make())
    with pytest.raises(CheckpointError, match="not a cryoreg checkpoint"):
        load_checkpoint(tmp_path / "other.ckpt")


def test_a_zip_that_is_no_torch_file_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "hello")
    (tmp_path / "x.ckpt").write_bytes(_with_valid_checksum(buffer.getvalue()))
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        load_checkpoint(tmp_path / "x.ckpt")


def test_content_that_could_not_be_loaded_safely_is_never_written(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="could run code"):
        save_checkpoint(checkpoint, {"path": tmp_path})
    assert load_checkpoint(checkpoint)["step"] == 7
    assert os.listdir(tmp_path) == ["last.ckpt"]
