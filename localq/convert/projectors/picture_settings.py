"""How a model wants its pictures: what preprocessor_config.json and processor_config.json say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localq.errors import BadFileError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.messages import msg

__all__ = ["PictureSettings", "read_picture_settings"]

_FILES = (
    # the file, and the part of it that newer ones put its settings into
    ("preprocessor_config.json", "media_proc_cfg"),
    ("processor_config.json", "image_processor"),
)
_MOST_CHANNELS = 16


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """`mean` and `deviation` have a number for each colour; `values` is all that is said."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    values: Mapping[str, Any]

    def integer(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        return value if type(value) is int and 0 < value < 1 << 31 else default


def read_picture_settings(root: Path) -> PictureSettings:
    """What the files in the checkpoint's folder say, the second before the first.

    BadFileError where they do not say how colours are scaled, without which no picture is seen
    right.
    """
    values: dict[str, Any] = {}
    last = root / _FILES[0][0]
    for name, inner in _FILES:
        path = root / name
        if is_there(path):
            content = read_json_object(path, max_bytes=1 << 20)
            part = content.get(inner)
            values |= {**content, **(part if isinstance(part, dict) else {})}
            last = path
    if not values:
        raise BadFileError(
            last,
            msg("is missing: it says how pictures are made ready"),
            hint=msg("pull the model again"),
        )
    return PictureSettings(
        _colours(last, values, "image_mean"), _colours(last, values, "image_std"), values
    )


def _colours(path: Path, values: Mapping[str, Any], key: str) -> tuple[float, ...]:
    given = values.get(key)
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_CHANNELS:
        raise BadFileError(path, msg("{key} is {value!r}", key=key, value=str(given)[:100]))
    for value in given:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
            raise BadFileError(path, msg("{key} is {value!r}", key=key, value=str(given)[:100]))
    return tuple(float(value) for value in given)
