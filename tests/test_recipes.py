import pytest
from click.testing import CliRunner

from cryoreg.config import TASKS, Layer, resolve
from cryoreg.config.recipes import recipe_layer, recipe_names
from cryoreg.errors import ConfigError
from cryoreg.runs.starts import layers_of_run
from cryoreg_cli.main import cryoreg


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("task", TASKS)
def test_every_recipe_is_a_valid_run(name, task):
    assert resolve(task, [recipe_layer(name, task)]).to_dict()["task"] == task


def test_the_paper_s_recipe_is_the_default():
    for task in TASKS:
        assert resolve(task, [recipe_layer("gupta2022", task)]).to_dict() == resolve(task, []).to_dict()


def test_settings_go_over_a_recipe():
    config = resolve("pretrain", [recipe_layer("best", "pretrain"), Layer("t", {"training": {"epochs": 3}})])
    assert config.training.epochs == 3
    assert config.sources["training.lr"] == "recipe best"


def test_an_unknown_recipe():
    with pytest.raises(ConfigError, match=r"no 'bets'.*best"):
        recipe_layer("bets", "pretrain")


def test_the_command_says_where_values_came_from():
    run = CliRunner().invoke(cryoreg, ["pretrain", "--recipe", "best", "--dry-run", "--epochs", "2"])
    assert run.exit_code == 0, run.output
    rows = {line.split()[0]: line.split(None, 1)[1] for line in run.output.splitlines()}
    assert rows["method.name"].split() == ["vicreg", "recipe", "best"]
    assert rows["training.epochs"].split() == ["2", "--epochs"]


def settled(layers):
    config = resolve("finetune", layers_of_run("finetune", layers, "best"))
    return (
        config.to_dict()["learner"]["name"],
        config.training.pretrained,
        config.training.optimizer,
        config.training.epochs,
    )


def test_the_best_fine_tuning_depends_on_the_start(tmp_path):
    """From trained weights the linear probe on features of unit length; from nothing, or other weights, all layers."""
    probe, full = ("linear_probe", "rb3d_universe"), ("full", "scratch")
    assert settled([])[:2] == settled([Layer("t", {"training": {"pretrained": "rb3d_universe"}})])[:2] == probe
    config = resolve("finetune", layers_of_run("finetune", [], "best"))
    assert config.spec("learner").unit_length
    assert config.spec("encoder").turns == 8
    assert settled([Layer("t", {"training": {"pretrained": "scratch"}})]) == (*full, "adamw", 40)
    assert settled([Layer("t", {"encoder": {"name": "dsrf3d_v2"}})])[0] == "full"
    assert settled([Layer("t", {"learner": {"name": "prototypes"}})])[:2] == ("prototypes", "rb3d_universe")
