"""The parts of a tokenizer.json, whose objects nest freely, as flat lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["objects", "steps"]

_NESTED = ("pretokenizers", "normalizers", "processors", "decoders")


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list, whatever else is in it; nothing if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def steps(part: object) -> Iterator[Mapping[str, Any]]:
    """The steps of a `normalizer`, `pre_tokenizer`, `post_processor` or `decoder` in order,
    those of sequences in their place."""
    waiting = objects([part])
    while waiting:
        step = waiting.pop()
        if step.get("type") == "Sequence":
            for key in _NESTED:
                waiting.extend(reversed(objects(step.get(key))))
        elif isinstance(step.get("type"), str):
            yield step
