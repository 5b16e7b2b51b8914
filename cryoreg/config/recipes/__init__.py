"""Named sets of settings for `--recipe`, with their evidence in docs/results.md: TOML files, a table for each task."""

from __future__ import annotations

import tomllib
from importlib import resources

from cryoreg.config import Layer
from cryoreg.errors import ConfigError
from cryoreg.registry import suggestion


def recipe_names() -> list[str]:
    """Return the recipes that cryoreg brings."""
    names = (file.name for file in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def recipe_layer(name: str, task: str) -> Layer:
    """Return a recipe's settings for a task; raise `ConfigError` where there is no such recipe."""
    known = recipe_names()
    if name not in known:
        raise ConfigError(f"--recipe: there is no '{name}'{suggestion(name, known)}; known: {', '.join(known)}")
    text = (resources.files(__name__) / f"{name}.toml").read_text("utf-8")
    return Layer(f"recipe {name}", tomllib.loads(text)[task])
