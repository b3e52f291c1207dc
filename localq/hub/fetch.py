"""Fetching files so that what is on disk afterwards is what the source promised, byte for byte.

A file that is partly there is continued, whoever began it. It counts only when its size and its
checksum are right; content that arrives wrong is fetched once more from the start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from localq.errors import HubError, OfflineError, storage_errors
from localq.events import Emit, Progress
from localq.hub.patience import Patience, RetryPolicy, stop_if
from localq.hub.source import Damaged, DigestKind, Hasher, Interrupted, RemoteFile, Source

__all__ = ["fetch_all", "matches"]

_CHUNK = 1 << 20
_WORTHWHILE = 64 << 10
"""A connection that brought this many bytes may be replaced at once when it breaks."""
_SECONDS_BETWEEN_EVENTS = 0.1


def fetch_all(
    source: Source,
    targets: Mapping[Path, RemoteFile],
    *,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None = None,
    stage: str = "downloading",
) -> int:
    """Bring every target to be its file of `source`; returns the bytes that had to be moved.

    The folders exist. Whole files are checked and kept. Raises Cancelled, OfflineError, HubError,
    StorageError; what has arrived until then stays, for the next time.
    """
    meter = _Meter(emit, stage, sum(file.size for file in targets.values()))
    moved = 0
    for target, file in targets.items():
        patience = Patience(policy or RetryPolicy(), cancel, emit)
        fetch = _Fetch(source, file, target, patience, meter)
        with storage_errors(target):
            moved += fetch.run()
    meter.show(finished=True)
    return moved


def matches(path: Path, file: RemoteFile, cancel: threading.Event) -> bool:
    """Whether `path` already is `file`. Reads all of it if the size is right."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as opened:
            hasher = file.digest.hasher(file.size)
            _read_into(hasher, opened, lambda count: stop_if(cancel))
    except OSError:
        return False
    return hasher.hexdigest() == file.digest.hex


@dataclass(slots=True)
class _Meter:
    """All files' progress as events, not more often than anyone can see."""

    emit: Emit
    stage: str
    total: int
    done: int = field(default=0, init=False)
    shown_at: float = field(default=float("-inf"), init=False)

    def add(self, count: int) -> None:
        self.done += count
        self.show()

    def show(self, *, finished: bool = False) -> None:
        now = time.monotonic()
        if finished or now - self.shown_at >= _SECONDS_BETWEEN_EVENTS:
            self.shown_at = now
            self.emit(Progress(self.stage, self.done, self.total))


@dataclass(slots=True)
class _Fetch:
    """One file on its way. `have` bytes of it are in `target`, and went through `hasher`."""

    source: Source
    file: RemoteFile
    target: Path
    patience: Patience
    meter: _Meter
    have: int = field(default=0, init=False)
    moved: int = field(default=0, init=False)
    hasher: Hasher = field(init=False)

    def run(self) -> int:
        try:
            self._attempt()
        except Damaged:
            self._forget()
            try:
                self._attempt()
            except Damaged as error:
                self._forget()
                raise HubError(
                    f"{self.source.repo}: {self.file.path} arrived damaged twice: {error.message}",
                    hint="run the same command again later; if it stays so, tell the model's owner",
                ) from error
        return self.moved

    def _attempt(self) -> None:
        with self.target.open("ab+") as output:
            self._take_over(output)
            while self.have < self.file.size:
                self._stop_if_cancelled()
                before = self.have
                try:
                    self._receive(output)
                except (Interrupted, OfflineError) as error:
                    if self.have - before >= _WORTHWHILE:
                        self.patience.progressed()
                    else:
                        self.patience.wait(error)
        if self.hasher.hexdigest() != self.file.digest.hex:
            kind = self.file.digest.kind
            name = "sha256" if kind is DigestKind.SHA256 else "Git blob id"
            raise Damaged(f"its {name} is not the one listed")

    def _take_over(self, output: BinaryIO) -> None:
        """Begin with what an earlier run left."""
        self.hasher = self.file.digest.hasher(self.file.size)
        self.have = 0
        output.seek(0)
        if output.seek(0, 2) > self.file.size:
            output.truncate(0)
        output.seek(0)
        _read_into(self.hasher, output, self._count)

    def _receive(self, output: BinaryIO) -> None:
        with self.source.open(self.file, self.have) as stream:
            if stream.start != self.have:
                self._restart(output)
            for chunk in stream.chunks:
                self._stop_if_cancelled()
                if self.have + len(chunk) > self.file.size:
                    raise Damaged(f"it is longer than the {self.file.size:,} bytes listed")
                output.write(chunk)
                self.hasher.update(chunk)
                self.moved += len(chunk)
                self._count(len(chunk))
        if self.have < self.file.size:
            raise Interrupted(f"{self.file.path}: the connection closed before the file's end")

    def _restart(self, output: BinaryIO) -> None:
        output.truncate(0)
        self.meter.add(-self.have)
        self.have = 0
        self.hasher = self.file.digest.hasher(self.file.size)

    def _forget(self) -> None:
        self.meter.add(-self.have)
        self.have = 0
        self.target.unlink(missing_ok=True)

    def _count(self, count: int) -> None:
        self._stop_if_cancelled()
        self.have += count
        self.meter.add(count)

    def _stop_if_cancelled(self) -> None:
        stop_if(self.patience.cancel)


def _read_into(hasher: Hasher, opened: BinaryIO, count: Callable[[int], None]) -> None:
    while chunk := opened.read(_CHUNK):
        hasher.update(chunk)
        count(len(chunk))
