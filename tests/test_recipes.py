import pytest
from click.testing import CliRunner

from cryoreg.config import TASKS, Layer, resolve
from cryoreg.config.recipes import recipe_layer, recipe_names
from cryoreg.errors import ConfigError
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
