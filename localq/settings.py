"""What the user chose for good: a small file in the config folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from localq.errors import storage_errors
from localq.json_codec import fitting_fields, to_json
from localq.messages import msg
from localq.paths import Paths

__all__ = ["Settings", "read_settings", "settings_file", "write_settings"]

_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Empty: as the system says, or as localq comes."""

    language: str = ""
    """"en" or "zh_CN"."""
    theme: str = ""


def settings_file(paths: Paths) -> Path:
    return paths.config / "settings.json"


def read_settings(paths: Paths) -> Settings:
    """What is in the file; what is not there, or makes no sense, is as it comes."""
    try:
        with settings_file(paths).open("rb") as file:
            document = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return Settings()
    return Settings(**fitting_fields(Settings, document))


def write_settings(paths: Paths, settings: Settings) -> None:
    """StorageError where the folder cannot be written."""
    path = settings_file(paths)
    partial = path.with_suffix(".partial")
    with storage_errors(path, hint=msg("let LOCALQ_HOME name another folder")):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(to_json(settings), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
