"""How large the files of a model in parts may be, as people write it."""

from __future__ import annotations

import re

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["parse_split_size"]

_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}


def parse_split_size(text: str) -> int:
    """4G or 500M as bytes; llama.cpp counts in thousands too. UsageError."""
    match = re.fullmatch(r"(\d{1,9})([KMG])?B?", text.strip().upper())
    size = int(match[1]) * _UNITS.get(match[2], 1) if match else 0
    if not size:
        raise UsageError(
            msg("{text!r} is not a size", text=text), hint=msg("for example: --split-max-size 4G")
        )
    return size
