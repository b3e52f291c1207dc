"""Of the config of a model that also sees or hears, what is about the part that reads text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["named_architecture", "text_part"]

_KEYS = ("text_config", "llm_config")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part's own settings, none where the model has no other part."""
    for key in _KEYS:
        if isinstance(part := config.get(key), dict):
            return part
    return {}


def named_architecture(config: Mapping[str, Any]) -> str | None:
    """The architecture that a config, or a part of one, names; None where it names none."""
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        return named[0]
    return None
