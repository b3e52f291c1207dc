"""How a service asks the user something before it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Consent", "refuse"]

Consent: TypeAlias = Callable[[str], bool]
"""Shown what is about to happen, whether the user agrees."""


def refuse(question: str) -> bool:
    """The consent of nobody."""
    return False
