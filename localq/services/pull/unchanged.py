"""Whether the files of a model that is here are still what they should be."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localq.errors import LibraryError
from localq.events import Emit, Progress
from localq.hub.fetch import matches
from localq.hub.source import DigestKind
from localq.library import Library, Model
from localq.library.hashes import FileHash, SaidBy, hash_file, verified
from localq.messages import msg
from localq.services.library.verify import mend
from localq.services.pull.plan import Plan

__all__ = ["refuse_changed", "refuse_unlike_listed"]


def refuse_unlike_listed(
    library: Library, model: Model, plan: Plan, emit: Emit, cancel: threading.Event
) -> None:
    """LibraryError for a file of `model` that is there and not what the Hub lists of it in `plan`.

    Only files that may have changed since they were last compared are read, those that `verify`
    found changed among them; what is found to be right is noted.
    """
    known = library.hashes.of_model(model.name)
    count = _counter(emit, plan.size_bytes)
    for path, file in plan.files.items():
        place = library.place(path)
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        by_content = file.digest.kind is DigestKind.SHA256
        if _holds(known.get(place), status, file.digest.hex if by_content else None):
            continue
        if not matches(path, file, cancel, count):
            raise _changed(library, model, path)
        sha256 = file.digest.hex if by_content else hash_file(path, cancel)
        library.hashes.record(place, verified(sha256, SaidBy.HUB, status, time.time()))


def refuse_changed(library: Library, model: Model, emit: Emit, cancel: threading.Event) -> bool:
    """LibraryError for a file of `model` that is not what its recorded hash says, as above.

    Whether all of its files have one; the others were not compared with anything.
    """
    known = library.hashes.of_model(model.name)
    sizes = library.sizes(model)
    count = _counter(emit, model.size_bytes)
    compared = True
    for path in sizes:
        place = library.place(path)
        record = known.get(place)
        status = path.stat()
        if record is None:
            compared = False
        elif not record.still_holds(status):
            if hash_file(path, cancel, count) != record.sha256:
                raise _changed(library, model, path)
            again = verified(record.sha256, record.said_by, status, time.time())
            library.hashes.record(place, again)
    return compared


def _holds(record: FileHash | None, status: os.stat_result, sha256: str | None) -> bool:
    if record is None or not record.still_holds(status):
        return False
    return record.sha256 == sha256 if sha256 else record.said_by is SaidBy.HUB


def _changed(library: Library, model: Model, path: Path) -> LibraryError:
    return LibraryError(
        msg("{name} is here, but {path} is not what was pulled", name=model.name, path=path),
        hint=mend(library, model),
    )


def _counter(emit: Emit, total: int) -> Callable[[int], None]:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress("comparing", done, max(total, done)))

    return count
