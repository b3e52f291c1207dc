"""What other programs on this machine hold, read from their folders alone.

Nothing in these folders is believed: every file must be a plain one that lies inside its
program's folder after all links are followed, every text is bounded before it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

from localq.errors import UsageError
from localq.library.foreign.found import ForeignModel, FoundFile, Skipped
from localq.messages import msg

__all__ = ["TOOLS", "ForeignModel", "FoundFile", "Skipped", "find_models", "folders_of"]

TOOLS: Mapping[str, str] = {
    # what `--from` calls it -> its module here
    "hf-cache": "hf_cache",
    "ollama": "ollama",
    "lm-studio": "lm_studio",
    "llama.cpp": "llama_cpp_cache",
    "jan": "jan",
}


def find_models(
    tool: str, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> Iterator[ForeignModel | Skipped]:
    """The models that `tool` (one of TOOLS) holds, and what of its files is none and why."""
    seen: set[Path] = set()
    module = _module(tool)
    for folder in folders_of(tool, environ, home):
        real = folder.resolve()
        if real not in seen and folder.is_dir():
            seen.add(real)
            yield from module.find(folder)


def folders_of(
    tool: str, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> list[Path]:
    """Where `tool` may keep its models on this system, whether it does or not."""
    folders: list[Path] = _module(tool).folders(environ, home or Path.home())
    return list(dict.fromkeys(folders))


def _module(tool: str) -> ModuleType:
    if tool not in TOOLS:
        raise UsageError(
            msg("unknown program {tool!r}", tool=tool),
            hint=msg("one of: {tools}", tools=", ".join(TOOLS)),
        )
    return import_module(f"localq.library.foreign.{TOOLS[tool]}")
