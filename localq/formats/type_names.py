"""The type a user meant: the names there are, and a short answer to one that is none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["unknown_type"]

_INTERNAL = {
    "Q8_1": msg("holds activations beside weights of Q4_1 and Q5_1"),
    "Q8_K": msg("holds activations beside weights of K types"),
}
"""ggml types that exist only while a model computes."""
_USUAL = ("q4_0", "q4_k_m", "q4_k", "q5_k_m", "q6_k", "q8_0", "bf16", "f16")


def unknown_type(text: str, names: Iterable[str], *, what: str, more: str = "") -> UsageError:
    """The error for a `text` that is none of the `names` ("quantization type" is `what`); its
    hint names those of the same kind and bits, else the usual ones. `more`: how to see all."""
    wanted = text.strip().upper().replace("-", "_")
    if wanted in _INTERNAL:
        return UsageError(
            msg(
                "{wanted} is an internal type: it {internal} while a model computes; no"
                " file is made of it",
                wanted=wanted.lower(),
                internal=_INTERNAL[wanted],
            ),
            hint=msg("q8_0 is the type of 8 bits for files"),
        )
    known = sorted(name.lower() for name in names)
    kind = re.match("[a-z]+[0-9]", wanted.lower())  # the q4 of q4_xl
    near = [name for name in known if kind and name.startswith(kind[0])]
    choices = ", ".join(near or [name for name in _USUAL if name in known])
    return UsageError(
        msg("unknown {what} {text!r}", what=what, text=text),
        hint=msg("for example {choices}{more}", choices=choices, more=more),
    )
