"""How llama.cpp is loaded: as it was built, or in a safer way where that does not work.

The parent decides (`localq.engine.canary.check`) and says so to the engine's processes by an
environment variable; a user may set it to decide otherwise, and then nothing is checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from localq.errors import UsageError
from localq.messages import msg

__all__ = ["MODE_VARIABLE", "EngineMode", "chosen_mode"]

MODE_VARIABLE = "LOCALQ_ENGINE_MODE"
_DEFAULT, _NO_REPACK = "default", "no-repack"
_VARIANT = re.compile(r"[a-z0-9][a-z0-9_.]{0,39}")


@dataclass(frozen=True, slots=True)
class EngineMode:
    """Written as "default", "no-repack", "haswell" or "haswell+no-repack"."""

    variant: str | None = None
    """Which of the CPU variants to load, where the build carries several: "haswell", "zen4", ...;
    None: the one that llama.cpp chooses, or the only one."""
    repack: bool = True
    """Whether weights may be laid out anew for faster kernels, AMX among them (llama.cpp's
    `use_extra_bufts`, `--no-repack`)."""

    def __str__(self) -> str:
        parts = [self.variant or "", "" if self.repack else _NO_REPACK]
        return "+".join(filter(None, parts)) or _DEFAULT

    @classmethod
    def parse(cls, text: str) -> EngineMode:
        """What `str` gave. UsageError for anything else."""
        variant, repack = None, True
        for part in text.split("+"):
            if part == _NO_REPACK:
                repack = False
            elif _VARIANT.fullmatch(part):
                variant = None if part == _DEFAULT else part
            else:
                raise UsageError(
                    msg("{mode_variable} is {text!r}", mode_variable=MODE_VARIABLE, text=text[:80]),
                    hint=msg(
                        "write default, no-repack, or a CPU variant, such as haswell+no-repack"
                    ),
                )
        return cls(variant, repack)


def chosen_mode(environ: Mapping[str, str] = os.environ) -> EngineMode | None:
    """The mode that the environment names; None where it names none. UsageError."""
    text = environ.get(MODE_VARIABLE, "").strip()
    return EngineMode.parse(text) if text else None
