"""Which projector (mmproj*.gguf) goes with a model: the file beside it that lets it see."""

from __future__ import annotations

import re
from pathlib import Path

from localq.errors import LocalqError
from localq.formats.gguf import GGUFFile
from localq.formats.projector import read_projector

__all__ = ["MARK", "find_projector", "projector_path"]

MARK = "-mmproj"
"""Follows the model's name in that of its projector, in the library."""

_MMPROJ = re.compile(r"mmproj", re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_MOST_CANDIDATES = 64


def projector_path(model: Path, type_: str) -> Path:
    """Where a model's projector lies in the library; `type_` is F16 and the like, or ""."""
    ending = f"-{type_}" if type_ else ""
    return model.with_name(f"{_stem(model)}{MARK}{ending}.gguf")


def find_projector(model: GGUFFile) -> Path | None:
    """The projector for pictures in the model's folder: the one named after it, else one of the
    same width, if there is only one. None: it has none."""
    try:
        there = sorted(path for path in model.path.parent.iterdir() if _MMPROJ.search(path.name))
    except OSError:
        return None
    there = [path for path in there if path.suffix.lower() == ".gguf"][:_MOST_CANDIDATES]
    own = [path for path in there if path.name.startswith(f"{_stem(model.path)}{MARK}")]
    for path in own:
        if _read(path) is not None:
            return path
    width = model.metadata.get(f"{model.architecture}.embedding_length")
    fitting = [
        path
        for path in there
        if path not in own
        and (file := _read(path)) is not None
        and file.metadata.get("clip.vision.projection_dim") == width
    ]
    return fitting[0] if len(fitting) == 1 else None


def _read(path: Path) -> GGUFFile | None:
    try:
        return read_projector(path)
    except (LocalqError, OSError):
        return None


def _stem(model: Path) -> str:
    return _SHARD.sub("", model.stem)
