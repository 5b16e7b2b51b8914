"""Named sets of settings for `--recipe`, with their evidence in docs/results.md: TOML files, a table for each task."""

from __future__ import annotations

from pathlib import Path

from cryoreg import registry
from cryoreg.config import Layer, read_toml
from cryoreg.errors import ConfigError, UnknownComponentError

FROM_WEIGHTS = "_from_weights"
BEST = Path(__file__).with_name("best.toml")
GUPTA2022 = Path(__file__).with_name("gupta2022.toml")


def recipe_names() -> list[str]:
    """Return the recipes that cryoreg and other packages bring."""
    return [component.reference for component in registry.components("recipes")]


def recipe_layer(name: str, task: str, from_weights: bool = False) -> Layer:
    """Return a recipe's settings for a task; raise `ConfigError` where there is none of that name, or for the task.

    Those of a run that starts ``from_weights`` by name may be a table of their own, TASK_from_weights.
    """
    try:
        source, values = read_toml(registry.find_part("recipe", name))
    except UnknownComponentError as error:
        raise ConfigError(f"--recipe: there is no '{name}': {error}") from error
    table = values.get(f"{task}{FROM_WEIGHTS}" if from_weights else task, values.get(task))
    if not isinstance(table, dict):
        raise ConfigError(f"--recipe {name}: has no [{task}] ({source})")
    return Layer(f"recipe {name}", table)
