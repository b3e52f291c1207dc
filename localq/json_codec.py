"""Dataclasses to JSON values and back, as strictly as their annotations say.

Fields may be texts, numbers, truth values, None, enums, paths, further dataclasses, and tuples of
these; mappings are written but not read. What is read is checked against the declared types, for
it was on a disk or came through a pipe, perhaps from another version of localq.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["fitting_fields", "from_json", "json_scalar", "shown", "to_json"]


def json_scalar(value: object) -> Any:
    """A value that holds no others: enums by name, paths as texts. TypeError: it has no JSON."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_json(
    value: object, scalar: Callable[[object], Any] = json_scalar, *, defaults: bool = True
) -> Any:
    """A value that `json` can write; `scalar` turns what holds no others.

    Without `defaults`, fields that have their default are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(held, scalar, defaults=defaults)
            for field in fields(value)
            if (held := getattr(value, field.name)) != field.default or defaults
        }
    if isinstance(value, Mapping):
        return {str(k): to_json(item, scalar, defaults=defaults) for k, item in value.items()}
    if isinstance(value, list | tuple):
        if all(type(item) is int for item in value):  # a long prompt: no detours
            return list(value)
        return [to_json(item, scalar, defaults=defaults) for item in value]
    return scalar(value)


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
            return _tuple(choices, value)
    elif type_ is float and type(value) is int:
        return float(value)
    elif type(value) is type_ or (type_ is NoneType and value is None):
        return value
    elif isinstance(value, str) and isinstance(type_, type):
        if issubclass(type_, Path):
            return type_(value)
        if issubclass(type_, Enum) and value in type_.__members__:
            return type_[value]
    raise TypeError(f"{shown(value)} is not {getattr(type_, '__name__', type_)}")


def fitting_fields(type_: Any, value: object) -> dict[str, Any]:
    """Those fields of `type_` that the object `value` has, each of the type it should be.

    For what other versions of localq may have written, and half of it is better than nothing.
    """
    if not isinstance(value, dict):
        return {}
    found = {}
    for name, wanted in _types(type_).items():
        if name in value:
            try:
                found[name] = from_json(wanted, value[name])
            except TypeError:
                continue
    return found


def shown(value: object) -> str:
    """A value, or a line, short enough for a message."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    return text.strip()[:80]


@cache
def _types(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _field(name: str, type_: Any, value: Any) -> Any:
    try:
        return from_json(type_, value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _tuple(types: tuple[Any, ...], value: list[Any]) -> tuple[Any, ...]:
    if types[1:] != (...,):
        if len(value) != len(types):
            raise TypeError(f"{len(types)} items are expected, not {len(value)}")
        return tuple(from_json(type_, item) for type_, item in zip(types, value, strict=True))
    if all(type(item) is types[0] for item in value):  # a long prompt: no detours
        return tuple(value)
    return tuple(from_json(types[0], item) for item in value)
