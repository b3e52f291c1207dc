"""Builds whose backends are files of their own, one for each generation of processors.

Such a build (GGML_BACKEND_DL, GGML_CPU_ALL_VARIANTS) runs on any processor: at its start it is told
which file to load. A build for one processor has its backend linked in, and needs nothing.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from localq.engine.bindings import library, library_folder
from localq.engine.mode import EngineMode
from localq.errors import EngineError
from localq.messages import msg

__all__ = ["cpu_variants", "load_backends"]

_SUFFIXES = (".so", ".dylib", ".dll")
_MAX_FILES = 256


def load_backends(api: Any, mode: EngineMode) -> None:
    """Load the backends of such a build, before `llama_backend_init`; `api` is what
    `bindings.llama_cpp` gave. EngineError: the build has no such variant."""
    folder = library_folder(api)
    registry = library(folder, "ggml")
    count = registry.ggml_backend_reg_count
    count.restype, count.argtypes = ctypes.c_size_t, []
    if mode.variant is None:
        if count() == 0:
            load_all = registry.ggml_backend_load_all_from_path
            load_all.restype, load_all.argtypes = None, [ctypes.c_char_p]
            load_all(os.fsencode(folder))
        return
    variants = _files(folder, "ggml-cpu-")
    if mode.variant not in variants:
        raise EngineError(
            msg("the installed engine has no CPU variant {variant!r}", variant=mode.variant),
            hint=msg(
                "it has: {variants}",
                variants=", ".join(sorted(variants)) or "only the one it was built for",
            ),
        )
    load = registry.ggml_backend_load
    load.restype, load.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    # Devices first, as llama.cpp has it; what cannot be loaded (no driver) is left out there too.
    others = {
        n: f for n, f in _files(folder, "ggml-").items() if n.split("-")[0] not in _NO_DEVICES
    }
    for file in others.values():
        load(os.fsencode(file))
    if not load(os.fsencode(variants[mode.variant])):
        raise EngineError(msg("{variants}: cannot be loaded", variants=variants[mode.variant]))


_NO_DEVICES = ("base", "cpu")


def cpu_variants(api: Any) -> tuple[str, ...]:
    """The variants that would run on this processor, by llama.cpp's own score, the best first;
    none where the build carries no variants."""
    scores: dict[str, int] = {}
    for name, file in _files(library_folder(api), "ggml-cpu-").items():
        with suppress(OSError, AttributeError):
            score = ctypes.CDLL(str(file)).ggml_backend_score
            score.restype, score.argtypes = ctypes.c_int, []
            scores[name] = score()
    usable = [name for name, score in scores.items() if score > 0]
    return tuple(sorted(usable, key=lambda name: (-scores[name], name)))


def _files(folder: Path, start: str) -> dict[str, Path]:
    """The libraries whose names begin so, by what follows."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir())[:_MAX_FILES]:
        stem = file.stem.removeprefix("lib")
        if file.suffix in _SUFFIXES and stem.startswith(start):
            found[stem.removeprefix(start)] = file
    return found
