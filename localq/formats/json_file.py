"""JSON files from strangers: bounded in size and depth, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localq.errors import BadFileError, NotFoundError
from localq.formats.stand_in import LOOKED_AT, stand_in

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
        raise BadFileError(path, "not a JSON array")
    return value


def parse_json_object(data: bytes, path: Path, *, offset: int = 0) -> dict[str, Any]:
    """The JSON object in `data`, which stands at `offset` of the file `path`."""
    value = _parse(data, path, offset)
    if not isinstance(value, dict):
        raise BadFileError(path, "not a JSON object", offset=offset)
    return value


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise BadFileError(path, f"{size:,} bytes of JSON is more than localq reads")
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read: {error.strerror or error}") from error


def _parse(data: bytes, path: Path, offset: int) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        if found := stand_in(data[:LOOKED_AT]):
            raise BadFileError(path, found.problem, hint=found.hint) from None
        raise BadFileError(
            path, f"not valid JSON: {error.msg}", offset=offset + error.pos
        ) from None
    except UnicodeDecodeError as error:
        raise BadFileError(path, "not valid UTF-8", offset=offset + error.start) from None
    except RecursionError:
        raise BadFileError(path, "JSON nested too deeply", offset=offset) from None
    except ValueError as error:  # an integer of thousands of digits
        raise BadFileError(path, f"not valid JSON: {error}", offset=offset) from None
