"""Layers of settings: a file's, an option's, a Python call's; each knows where its values came from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cryoreg.errors import ConfigError
from cryoreg.files import read_settings

_DEEP = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
"""A dotted key of more parts than any setting has; the parser's time grows with their square."""


Chosen = str | Mapping[str, object] | None
"""A component in a Python call: its name, a mapping with its name and hyper-parameters, or left open."""


class Layer(NamedTuple):
    """Values from one source: section -> key -> value."""

    source: str
    values: Mapping[str, Mapping[str, object]]

    @classmethod
    def of_arguments(
        cls,
        components: Mapping[str, Chosen],
        split: Mapping[str, object] | None,
        training: Mapping[str, object],
        data: str | Path | None = None,
        labels_from: str | Path | None = None,
    ) -> Layer:
        """Return the layer of a Python call, where a component is a name, a mapping with one, or left open.

        ``data`` is the file or folder of the data set, ``labels_from`` a list of its labels.
        """
        chosen = {kind: {"name": c} if isinstance(c, str) else c for kind, c in components.items() if c is not None}
        if data is not None:
            chosen["dataset"] = {**chosen.get("dataset", {}), "root": data}
        given = {} if labels_from is None else {"labels_from": labels_from}
        return cls("argument", {**chosen, "input": given, "split": split or {}, "training": training})


def parse_toml(text: str) -> dict[str, Any]:
    """Return what TOML holds; raise `ValueError`, one line, for whatever is wrong with it."""
    try:
        if _DEEP.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_toml(path: Path) -> Layer:
    """Read a config file as a layer."""
    try:
        values = parse_toml(read_settings(path, ConfigError))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}; check the path") from error
    except ValueError as error:
        raise ConfigError(f"config {path} is not TOML: {error}") from error
    return Layer(str(path), values)


def parse_assignment(text: str, source: str = "--set") -> Layer:
    """Read ``section.key=value``, as ``source`` says; the value is TOML, or else a plain string."""
    key, equals, value = text.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and section and name):
        raise ConfigError(f"--set {text}: expected section.key=value, for example method.temperature=0.1")
    return Layer(source, {section: {name: _toml_value(value.strip())}})


def _toml_value(text: str) -> object:
    try:
        return parse_toml(f"x = {text}")["x"]
    except ValueError:
        return text
