"""The list of a checkpoint's files of weights, read from the Hub before any is chosen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from localq.errors import BadFileError
from localq.events import Emit
from localq.formats.json_file import parse_json_object
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.headers import fetch_range
from localq.hub.source import RemoteFile, Source
from localq.messages import msg

__all__ = ["ReadIndex", "index_reader"]

ReadIndex = Callable[[RemoteFile], Mapping[str, Any]]
"""Of an index: the JSON object that it is."""

_MAX_BYTES = 64 << 20


def index_reader(
    source: Source, emit: Emit, cancel: threading.Event, policy: RetryPolicy | None = None
) -> ReadIndex:
    """A reader of the indexes of `source`, each of which is fetched once."""
    read: dict[str, Mapping[str, Any]] = {}

    def read_index(file: RemoteFile) -> Mapping[str, Any]:
        if file.path not in read:
            shown = Path(source.repo) / file.path
            if file.size > _MAX_BYTES:
                raise BadFileError(
                    shown, msg("{size:,} bytes are more than an index can have", size=file.size)
                )
            backoff = Backoff(policy or RetryPolicy(), cancel, emit)
            data = fetch_range(source, file, 0, file.size, backoff)
            read[file.path] = parse_json_object(data, shown)
        return read[file.path]

    return read_index
