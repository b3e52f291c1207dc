"""Which file a session was held with, whatever it is called now."""

from __future__ import annotations

from contextlib import suppress

from localq.engine.state_store import file_fingerprint
from localq.errors import LocalqError
from localq.library import Library, Model

__all__ = ["differs", "model_hash"]


def model_hash(library: Library, model: Model) -> str | None:
    """ "sha256:..." where the library knows it, else "sample:...", which is quickly computed; None:
    the file cannot be read."""
    with suppress(LocalqError):
        if known := library.hashes.of_model(model.name).get(library.place(model.path)):
            return f"sha256:{known.sha256}"
    with suppress(OSError):
        return f"sample:{file_fingerprint(model.path)}"
    return None


def differs(one: str | None, other: str | None) -> bool:
    """Whether two hashes are of different files; False where that cannot be told."""
    if one is None or other is None:
        return False
    return one.partition(":")[0] == other.partition(":")[0] and one != other
