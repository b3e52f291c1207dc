"""Fetching files so that what is on disk afterwards is what the source promised, byte for byte.

Several files come at once, each over a connection of its own. A file that is partly there is
continued, whoever began it. It counts only when its size and its checksum are right; content that
arrives wrong is fetched once more from the start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from localq.errors import Cancelled, HubError, storage_errors
from localq.events import Emit
from localq.hub.backoff import Backoff, RetryPolicy, stop_if
from localq.hub.progress import TransferMonitor
from localq.hub.source import AGAIN, CONTINUES, RemoteFile, Source
from localq.hub.transfer import Transfer, read_into
from localq.messages import msg

__all__ = ["FILES_AT_ONCE", "fetch_all", "matches"]

FILES_AT_ONCE = 4
_LARGE = 16 << 20
_FREE_SPACE = msg("free some space, or set LOCALQ_HOME to a folder on a larger disk")


def fetch_all(
    source: Source,
    targets: Mapping[Path, RemoteFile],
    *,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None = None,
    stage: str = "downloading",
    files_at_once: int = FILES_AT_ONCE,
) -> int:
    """Bring every target to be its file of `source`; returns the bytes that had to be moved.

    The folders exist. Whole files are checked and kept. `emit` is called by the calling thread
    alone. Raises Cancelled, OfflineError, HubError, StorageError; the first failure stops the
    other files at once. What has arrived until then stays, for the next time.
    """
    monitor = TransferMonitor(emit, stage, sum(file.size for file in targets.values()))
    policy = policy or RetryPolicy()

    large = sum(file.size >= _LARGE for file in targets.values())

    def bring(target: Path, file: RemoteFile) -> int:
        stop_if(monitor.stopped)
        backoff = Backoff(policy, monitor.stopped, monitor.note)
        # Where files are fewer than processors, another of these can do the hashing.
        aside = hashing if large < (os.cpu_count() or 1) and file.size >= _LARGE else None
        with storage_errors(target, _FREE_SPACE):
            return Transfer(source, file, target, backoff, monitor, aside).run()

    with (
        ThreadPoolExecutor(files_at_once, "hash") as hashing,
        ThreadPoolExecutor(files_at_once, "fetch") as pool,
    ):
        futures: list[Future[int]] = []
        for target, file in targets.items():
            futures.append(pool.submit(bring, target, file))
            futures[-1].add_done_callback(lambda future: monitor.wake())
        try:
            while not all(future.done() for future in futures):
                monitor.wait()
                monitor.tell()
                stop_if(cancel)
                _raise_failure(futures)
        finally:
            monitor.stop()
    _raise_failure(futures)
    monitor.tell(finished=True)
    return sum(future.result() for future in futures)


def matches(
    path: Path,
    file: RemoteFile,
    cancel: threading.Event,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> bool:
    """Whether `path` already is `file`. Reads all of it if the size is right; `on_bytes` hears of
    every piece that was read."""

    def count(size: int) -> None:
        stop_if(cancel)
        on_bytes(size)

    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as opened:
            hasher = file.digest.hasher(file.size)
            read_into(hasher, opened, count)
    except OSError:
        return False
    return hasher.hexdigest() == file.digest.hex


def _raise_failure(futures: list[Future[int]]) -> None:
    """The error of a file that failed, rather than those of the files that it stopped."""
    failures = [error for future in futures if future.done() and (error := future.exception())]
    for error in sorted(failures, key=lambda error: isinstance(error, Cancelled)):
        if isinstance(error, HubError) and error.hint == AGAIN:
            error.hint = CONTINUES
        raise error
