"""Dataclasses to JSON values and back, as strictly as their annotations say."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["from_json", "shown", "to_json"]


def to_json(value: Any) -> Any:
    """A value that `json` can write."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return [to_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@cache
def _types(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def from_json(type_: Any, value: Any) -> Any:
    """`value` as the annotated type, strictly: TypeError where it is anything else."""
    if is_dataclass(type_) and isinstance(type_, type):
        types = _types(type_)
        if not isinstance(value, dict):
            raise TypeError(f"{type_.__name__} must be an object")
        if unknown := sorted(value.keys() - types.keys()):
            raise TypeError(f"unknown field {unknown[0]!r}")
        return type_(**{name: _field(name, types[name], item) for name, item in value.items()})
    origin, choices = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        for choice in choices:
            try:
                return from_json(choice, value)
            except TypeError:
                continue
    elif origin is Literal:
        if value in choices:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            if all(type(item) is choices[0] for item in value):  # a long prompt: no detours
                return tuple(value)
            return tuple(from_json(choices[0], item) for item in value)
    elif type_ is Path and isinstance(value, str):
        return Path(value)
    elif type_ is float and type(value) is int:
        return float(value)
    elif type(value) is type_ or (type_ is NoneType and value is None):
        return value
    raise TypeError(f"{shown(value)} is not {type_}")


def _field(name: str, type_: Any, value: Any) -> Any:
    try:
        return from_json(type_, value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def shown(value: object) -> str:
    """A value, or a line, short enough for a message."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    return text.strip()[:80]
