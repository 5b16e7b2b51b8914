"""Calls from Python: where arguments do not fit, the error says what the function takes."""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from types import NoneType
from typing import Any, ParamSpec, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from cryoreg.errors import CallError
from cryoreg.registry import suggestion

P = ParamSpec("P")
R = TypeVar("R")
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PLAIN = (str, int, float, bool, object, Path, NoneType)
_MODULES = re.compile(r"(?:\w+\.)+")
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def checked(settings: type | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator: where arguments do not fit its function, a `CallError` says which one, and what it takes.

    ``settings`` is the model or dataclass whose fields the function takes as further keywords; None: where it takes
    any, it judges them itself.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            _require_fit(function, settings, args, kwargs)
            by_place = dict(zip(inspect.signature(function).parameters, args, strict=False))
            _require_values(function, {**by_place, **kwargs})
            return function(*args, **kwargs)

        return call

    return decorate


def _require_fit(
    function: Callable[..., object],
    settings: type | None,
    args: Sequence[object],
    keywords: Mapping[str, object],
) -> None:
    signature = inspect.signature(function)
    named = [p for p in signature.parameters.values() if p.kind not in _REST]
    _require_known(function, [p.name for p in named], settings, signature, keywords)
    _require_by_name(function, named, args)
    missing = [p.name for p in named[len(args) :] if p.default is p.empty and p.name not in keywords]
    if missing:
        raise CallError(f"{function.__name__}() needs {' and '.join(missing)}: {_usage(function, named)}")
    twice = [p.name for p in named[: len(args)] if p.name in keywords]
    if twice:
        raise CallError(f"{function.__name__}() is given {' and '.join(twice)} twice, by position and by name")


def _require_known(
    function: Callable[..., object],
    named: Sequence[str],
    settings: type | None,
    signature: inspect.Signature,
    keywords: Mapping[str, object],
) -> None:
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    further = _fields(settings) if settings else []
    unknown = [key for key in keywords if key not in named and key not in further]
    if not unknown or (takes_any and settings is None):
        return
    fields = f", and the settings of {settings.__name__}: {', '.join(further)}" if settings else ""
    hint = suggestion(unknown[0], [*named, *further])
    raise CallError(f"{function.__name__}() takes no '{unknown[0]}'{hint}; it takes {', '.join(named)}{fields}")


def _require_by_name(
    function: Callable[..., object], named: Sequence[inspect.Parameter], args: Sequence[object]
) -> None:
    placed = [p.name for p in named if p.kind in _BY_POSITION]
    if len(args) > len(placed):
        rest = [p.name for p in named if p.name not in placed]
        others = f"; name the others: {', '.join(f'{name}=...' for name in rest)}" if rest else ""
        taken = " and ".join(placed) or "nothing"
        raise CallError(f"{function.__name__}() takes {taken} by position, but {len(args)} are given{others}")


def _require_values(function: Callable[..., object], given: Mapping[str, object]) -> None:
    """Raise `CallError` where a value is not of the plain type that its parameter names."""
    plain = _plain_types(function)
    for name in given.keys() & plain.keys():
        hint, adapter = plain[name]
        try:
            adapter.validate_python(given[name])
        except ValidationError:
            wanted = hint.__name__ if isinstance(hint, type) else _MODULES.sub("", str(hint))
            advice = "; say its run_dir" if hasattr(given[name], "run_dir") else ""
            raise CallError(
                f"{function.__name__}(): {name} should be {wanted}, but it is {brief(given[name])}{advice}"
            ) from None


@cache
def _plain_types(function: Callable[..., object]) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    """Return the type of each parameter that is made of `_PLAIN` ones; functions and data sets judge others."""
    found: dict[str, tuple[Any, TypeAdapter[Any]]] = {}
    for name, each in inspect.signature(function).parameters.items():
        try:
            hint = eval(each.annotation, function.__globals__)
        except NameError:  # it is imported for type checkers only
            continue
        if each.kind not in _REST and _is_plain(hint):
            found[name] = hint, TypeAdapter(hint)
    return found


def _is_plain(hint: object) -> bool:
    parts = get_args(hint)
    return hint in _PLAIN or (bool(parts) and all(map(_is_plain, parts)))


def brief(value: object) -> str:
    """Return a value as a message quotes it: one line, and not a long one."""
    return " ".join(reprlib.repr(value).split())


def _fields(settings: type) -> list[str]:
    fields: Mapping[str, object] = getattr(settings, "model_fields", None) or settings.__dict__["__dataclass_fields__"]
    return list(fields)


def _usage(function: Callable[..., object], named: Sequence[inspect.Parameter]) -> str:
    shown = [p.name for p in named if p.kind in _BY_POSITION or p.default is p.empty]
    return f"{function.__name__}({', '.join(shown)}, ...)"
