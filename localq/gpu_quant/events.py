"""What a backend's script says while it works, read as strictly as anything from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from localq.json_codec import from_json, shown

__all__ = [
    "Calibrated",
    "ChildEvent",
    "Done",
    "Failed",
    "Layer",
    "Losses",
    "Part",
    "Stage",
    "Versions",
    "read_event",
]


@dataclass(frozen=True, slots=True)
class Stage:
    """What it does now, in a few words."""

    name: str


@dataclass(frozen=True, slots=True)
class Versions:
    """Of the libraries that do the work."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The calibration text as it is used."""

    samples: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Part:
    """Of layer `layer` of `total`, counted from 1, these modules are at this stage."""

    layer: int
    total: int
    stage: str
    names: str


@dataclass(frozen=True, slots=True)
class Layer:
    """`done` of `total` layers are quantized, the last of them in `seconds`; the most bytes of
    GPU memory so far, 0 without a GPU."""

    done: int
    total: int
    seconds: float
    vram: int


@dataclass(frozen=True, slots=True)
class Losses:
    """The error of each module, by "layer.module"."""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """`kind` is "memory", "disk", "architecture", "import" or "other"."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The task is finished; what it found."""

    values: Mapping[str, int | float | bool] = field(default_factory=dict)


ChildEvent: TypeAlias = Stage | Versions | Calibrated | Part | Layer | Losses | Failed | Done

_PLAIN = {"stage": Stage, "calibration": Calibrated, "part": Part, "layer": Layer, "failed": Failed}
_MOST_VALUES = 1_000_000

T = TypeVar("T")


def read_event(line: bytes) -> ChildEvent:
    """The event of a line; ValueError where it is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(shown(line)) from None
    if not isinstance(document, dict):
        raise ValueError(shown(line))
    name = document.pop("event", None)
    try:
        if plain := _PLAIN.get(name):
            event: ChildEvent = from_json(plain, document)
            return event
        if name == "versions":
            return Versions(_mapping(document.get("values"), str))
        if name == "losses":
            return Losses(_mapping(document.get("values"), float))
        if name == "done":
            return Done({key: _number(value) for key, value in document.items()})
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    raise ValueError(shown(line))


def _mapping(value: object, kind: type[T]) -> Mapping[str, T]:
    if not isinstance(value, dict) or len(value) > _MOST_VALUES:
        raise TypeError("no object")
    return {str(key)[:500]: from_json(kind, item) for key, item in value.items()}


def _number(value: object) -> int | float | bool:
    if not isinstance(value, int | float):
        raise TypeError(f"{shown(value)} is no number")
    return value
