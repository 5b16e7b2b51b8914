"""Describe the hyper-parameters of a component for people: what `cryoreg show` and the reference pages print."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Parameter(NamedTuple):
    """One hyper-parameter of a component, described for people."""

    name: str
    type: str
    required: bool
    default: object
    """None where the parameter is required."""
    limits: str
    """Such as ">= 0, < 1"; empty where the type says it all."""
    help: str


def describe(name: str, field: FieldInfo) -> Parameter:
    """Return the description of a pydantic field."""
    required = field.is_required()
    return Parameter(
        name,
        type=_type_name(field.annotation),
        required=required,
        default=None if required else field.get_default(call_default_factory=True),
        limits=", ".join([*_limits(field.metadata), *_nested_limits(field.annotation)]),
        help=field.description or "",
    )


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
_SIGNS |= {"min_length": "length >=", "max_length": "length <=", "pattern": "matches"}


def _limits(metadata: Iterable[object]) -> list[str]:
    return [
        f"{sign} {getattr(constraint, name)}"
        for constraint in metadata
        for name, sign in _SIGNS.items()
        if getattr(constraint, name, None) is not None
    ]


def _nested_limits(annotation: object) -> Iterator[str]:
    """Yield the limits inside a type, such as those of ``Annotated[int, Field(ge=1)] | None``."""
    if get_origin(annotation) is Annotated:
        for constraint in get_args(annotation)[1:]:
            yield from _limits(getattr(constraint, "metadata", [constraint]))
    for part in get_args(annotation):
        yield from _nested_limits(part)


def _type_name(annotation: object) -> str:
    """Write a type as a user would say it: "int", "float | none", "v1 | v2", "tuple[int, int]"."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "none"
    if annotation is Ellipsis:
        return "..."
    if origin is Annotated:
        return _type_name(parts[0])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_type_name, parts))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type_name, parts))}]"
    return getattr(annotation, "__name__", str(annotation)).lower()


def choices(annotation: object) -> list[str]:
    """Return the values that a type lists: those of a ``Literal``, and "true" and "false" of a ``bool``."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [value for part in get_args(annotation) for value in choices(part)]
