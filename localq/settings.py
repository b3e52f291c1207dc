"""What the user chose for good: a small file in the config folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from localq.errors import storage_errors
from localq.messages import msg
from localq.paths import Paths

__all__ = ["Settings", "read_settings", "settings_file", "use_language", "write_settings"]

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
            text = file.read(_MAX_BYTES)
    except OSError:
        return Settings()
    import json  # most homes have no such file, and then no verb should wait for this

    from localq.json_codec import fitting_fields

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Settings()
    return Settings(**fitting_fields(Settings, document))


def use_language(settings: Settings) -> None:
    """From now on, and in the processes that are begun from here, texts are in the language that
    was chosen; LOCALQ_LANG, where it is set, was chosen later and wins."""
    if settings.language:
        os.environ.setdefault("LOCALQ_LANG", settings.language)


def write_settings(paths: Paths, settings: Settings) -> None:
    """StorageError where the folder cannot be written."""
    import json

    from localq.json_codec import to_json

    path = settings_file(paths)
    partial = path.with_suffix(".partial")
    with storage_errors(path, hint=msg("let LOCALQ_HOME name another folder")):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(to_json(settings), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
