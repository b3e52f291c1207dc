"""Projectors (mmproj*.gguf): what lets a language model see, in a file beside it."""

from __future__ import annotations

from pathlib import Path

from localq.errors import BadFileError, UnsupportedError
from localq.formats.gguf import GGUFFile, read_gguf
from localq.messages import msg

__all__ = ["is_projector", "read_projector"]

_ARCHITECTURE = "clip"


def is_projector(file: GGUFFile) -> bool:
    """Whether a GGUF is a projector, for pictures or for sound."""
    return file.architecture == _ARCHITECTURE


def read_projector(path: Path) -> GGUFFile:
    """The header of a projector for pictures. BadFileError, UnsupportedError where it is none."""
    file = read_gguf(path)
    if not is_projector(file):
        raise UnsupportedError(msg("{path}: is no projector (mmproj)", path=path))
    if file.metadata.get("clip.has_vision_encoder") is not True:
        raise UnsupportedError(msg("{path}: is a projector, but not for pictures", path=path))
    for key in ("clip.vision.image_size", "clip.vision.patch_size"):
        value = file.metadata.get(key)
        if type(value) is not int or not 1 <= value <= 1 << 14:
            raise BadFileError(path, msg("{key} is {value!r}", key=key, value=value))
    return file
