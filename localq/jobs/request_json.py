"""Requests as texts and back: the frozen dataclasses that services take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from localq.errors import LibraryError
from localq.json_codec import from_json, json_scalar, to_json
from localq.messages import msg

__all__ = ["decode", "encode"]

Request = TypeVar("Request")


def encode(request: object) -> str:
    """The same text for the same request; fields at their defaults are left out, paths absolute."""
    return json.dumps(to_json(request, _scalar, defaults=False), sort_keys=True)


def decode(kind: type[Request], text: str) -> Request:
    """The request of class `kind` that `encode` wrote; LibraryError for anything else."""
    try:
        made: Request = from_json(kind, json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise LibraryError(
            msg("the request of the job cannot be read: {error}", error=error),
            hint=msg("give the command itself again; localq jobs clear ID forgets the job"),
        ) from error
    return made


def _scalar(value: object) -> Any:
    return json_scalar(value.expanduser().absolute() if isinstance(value, Path) else value)
