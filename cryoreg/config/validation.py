"""Turn a section's values into a validated model, or into one line that says what is wrong and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from cryoreg.errors import ConfigError
from cryoreg.registry import suggestion

Model = TypeVar("Model", bound=BaseModel)
Entries = dict[str, tuple[object, str]]
"""Key -> (value, source)."""


def validated(model: type[Model], section: str, what: str, entries: Entries) -> Model:
    """Return a section's model, its paths absolute; raise `ConfigError` about the first value that is wrong.

    ``what`` says what a key should be, as in "a parameter of encoder 'rb3d'".
    """
    values = {key: value for key, (value, _) in entries.items()}
    try:
        built = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, model, section, what, entries)) from error
    paths = {key: value for key, value in built if isinstance(value, Path)}
    for key in paths.keys() & values.keys():
        text = str(values[key])
        if _is_not_utf8(text):
            raise ConfigError(
                f"{section}.{key} ({entries[key][1]}): {text} is a path that is not UTF-8, which no run can record; "
                "rename it, or give a link to it"
            )
        if not is_path(text):
            raise ConfigError(f"{section}.{key} ({entries[key][1]}): should be a path, but it is {values[key]!r}")
    return built.model_copy(update={key: absolute(path) for key, path in paths.items()})


def is_path(text: str) -> bool:
    """Tell a path that can be recorded; an empty one would mean the current folder."""
    return text != "" and "\0" not in text and not _is_not_utf8(text)


def _is_not_utf8(text: str) -> bool:
    return text.encode(errors="ignore").decode() != text


def absolute(path: Path) -> Path:
    """Make a path independent of the folder that the command runs in; raise `ConfigError` for an unknown ~user."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"{path}: there is no home folder of that name; write the path out") from None


def _explain(
    error: ValidationError,
    model: type[BaseModel],
    section: str,
    what: str,
    entries: Entries,
) -> str:
    """Return one line about the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    place = f"{section}.{key}" + (f" ({entries[key][1]})" if key in entries else "")
    if first["type"] == "extra_forbidden":
        known = list(model.model_fields)
        return f"{place}: not {what}{suggestion(key, known)}; known are {', '.join(known)}"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"{place}: needed and not given; say --set {section}.{key}=..."
    message = "has too few values" if first["type"] == "missing" else first["msg"]
    message = message.removeprefix("Value error, ").replace("Input should", "should", 1)
    return f"{place}: {message}, but it is {first['input']!r}"
