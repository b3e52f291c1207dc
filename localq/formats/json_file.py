"""JSON files from strangers: bounded in size and depth, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localq.errors import BadFileError, NotFoundError
from localq.formats.stand_in import LOOKED_AT, stand_in
from localq.messages import msg

__all__ = ["parse_json_object", "read_json_array", "read_json_object"]

_MAX_BYTES = 256 << 20
"""The largest published tokenizer.json is some 35 MB."""


def read_json_object(path: Path, *, max_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """The JSON object in the file; BadFileError where it is something else."""
    return parse_json_object(_read(path, max_bytes), path)


def read_json_array(path: Path, *, max_bytes: int = _MAX_BYTES) -> list[Any]:
    """The JSON array in the file; BadFileError where it is something else."""
    value = _parse(_read(path, max_bytes), path, 0)
    if not isinstance(value, list):
        raise BadFileError(path, msg("not a JSON array"))
    return value


def parse_json_object(data: bytes, path: Path, *, offset: int = 0) -> dict[str, Any]:
    """The JSON object in `data`, which stands at `offset` of the file `path`."""
    value = _parse(data, path, offset)
    if not isinstance(value, dict):
        raise BadFileError(path, msg("not a JSON object"), offset=offset)
    return value


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise BadFileError(
                path, msg("{size:,} bytes of JSON is more than localq reads", size=size)
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(msg("{path}: no such file", path=path)) from None
    except OSError as error:
        raise BadFileError(
            path, msg("cannot be read: {strerror}", strerror=error.strerror or error)
        ) from error


def _parse(data: bytes, path: Path, offset: int) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        if found := stand_in(data[:LOOKED_AT]):
            raise BadFileError(path, found.problem, hint=found.hint) from None
        raise BadFileError(
            path, msg("not valid JSON: {msg}", msg=error.msg), offset=offset + error.pos
        ) from None
    except UnicodeDecodeError as error:
        raise BadFileError(path, msg("not valid UTF-8"), offset=offset + error.start) from None
    except RecursionError:
        raise BadFileError(path, msg("JSON nested too deeply"), offset=offset) from None
    except ValueError as error:  # an integer of thousands of digits
        raise BadFileError(
            path, msg("not valid JSON: {error}", error=error), offset=offset
        ) from None
