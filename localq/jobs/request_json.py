"""Requests as JSON and back: the frozen dataclasses that services take.

Their fields may be texts, numbers, truth values, enums (by name), paths (absolute), further such
dataclasses, tuples of these, and None. What is read back is checked against the declared types:
it was on a disk, perhaps written by another version of localq.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from localq.errors import LibraryError

__all__ = ["decode", "encode"]

Request = TypeVar("Request")


def encode(request: object) -> str:
    """The same text for the same request; fields at their defaults are left out."""
    return json.dumps(_plain(request), sort_keys=True)


def decode(kind: type[Request], text: str, named: Mapping[str, object] | None = None) -> Request:
    """The request of class `kind` that `encode` wrote; LibraryError for anything else.

    `named` are the types that the class's module knows only while types are checked.
    """
    try:
        value = json.loads(text)
        made: Request = _value(kind, value, dict(named or {}))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise LibraryError(
            f"the request of the job cannot be read: {error}",
            hint="give the command itself again; localq jobs clear ID forgets the job",
        ) from error
    return made


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(held)
            for field in dataclasses.fields(value)
            if (held := getattr(value, field.name)) != field.default
        }
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of a request")


def _value(wanted: Any, value: Any, named: dict[str, object]) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (one,) = (kind for kind in arguments if kind is not type(None))
        return _value(one, value, named)
    if origin is tuple and arguments[1:] == (...,) and isinstance(value, list):
        return tuple(_value(arguments[0], item, named) for item in value)
    if isinstance(wanted, type):
        if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
            hints = typing.get_type_hints(wanted, localns=named)
            return wanted(**{key: _value(hints[key], item, named) for key, item in value.items()})
        if issubclass(wanted, Enum) and isinstance(value, str):
            return wanted[value]
        if issubclass(wanted, Path) and isinstance(value, str):
            return wanted(value)
        if type(value) is wanted and wanted in (str, int, float, bool):
            return value
    raise TypeError(f"{value!r} is no {getattr(wanted, '__name__', wanted)}")
