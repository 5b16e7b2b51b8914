"""The main job on the lab-layout sample: simulated subtomograms of real structures, in the files of the paper's lab."""

import pytest
from click.testing import CliRunner
from support.mrc_writing import state

from cryoreg_cli.main import cryoreg as command


@pytest.mark.slow
def test_main_job_on_the_labs_layout_leaves_its_files_alone(shared_data, tmp_path):
    source = shared_data / "lab_layout"
    before = state(source)

    def run(*words):
        result = CliRunner().invoke(command, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.output

    data = ("--dataset", "lab", "--data", source, "--set", "dataset.voxel_size=10")
    run("pretrain", *data, "--epochs", 1, "--run-dir", tmp_path / "pre", "--device", "cpu")
    run("finetune", "--from", tmp_path / "pre", "--labels", 0.5, "--epochs", 2, "--run-dir", tmp_path / "fine")
    output = run("evaluate", tmp_path / "fine")
    assert "12 subtomograms" in output
    assert all(name in output for name in ("1bxn", "3gl1", "4cr2"))
    assert state(source) == before
