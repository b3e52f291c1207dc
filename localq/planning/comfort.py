"""What fits a machine comfortably: so that it goes on as before for everything else.

Nothing is guessed here where a plan could tell: of a model that is known by its number of
parameters alone, these are the rules; of one whose header was read, `is_tight` is what the plan's
own figures are measured by.
"""

from __future__ import annotations

__all__ = ["is_tight", "parameters_in"]

_BALANCED_BITS = 4.9
"""Of a parameter in Q4_K_M, with the tables and the higher types that such a file mixes in."""
_TIGHT = 0.75
"""The share of the memory that is free beyond which weights leave other programs too little."""


def parameters_in(room_bytes: int) -> float:
    """How many parameters' weights take that room as Q4_K_M."""
    return room_bytes * 8 / _BALANCED_BITS


def is_tight(weights: int, usable_memory: int) -> bool:
    """Whether weights leave other programs too little of the memory that may be used."""
    return weights > _TIGHT * usable_memory
