"""One file on its way to the disk, hashed as it comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from localq.errors import HubError, OfflineError
from localq.hub.backoff import Backoff, stop_if
from localq.hub.hashing import HashingAside
from localq.hub.progress import TransferMonitor
from localq.hub.source import Damaged, DigestKind, Hasher, RemoteFile, Source, TransferInterrupted
from localq.messages import msg

__all__ = ["Transfer", "read_into"]

_CHUNK = 1 << 20
_WORTHWHILE = 64 << 10
"""A connection that brought this many bytes may be replaced at once when it breaks."""


@dataclass(slots=True)
class Transfer:
    """`have` bytes of the file are in `target`, and went through `hasher`.

    With `aside` its threads do the hashing.
    """

    source: Source
    file: RemoteFile
    target: Path
    backoff: Backoff
    monitor: TransferMonitor
    aside: ThreadPoolExecutor | None = None
    have: int = field(default=0, init=False)
    moved: int = field(default=0, init=False)
    hasher: Hasher = field(init=False)

    def run(self) -> int:
        """Bring the file; returns the bytes that had to be moved.

        What is there goes only when all of it has come and the checksum is wrong, not because of
        an answer that was seen to be something else.
        """
        try:
            self._attempt()
        except Damaged:
            self._discount()
            try:
                self._attempt()
            except Damaged as error:
                raise HubError(
                    msg(
                        "{repo}: {path} arrived damaged twice: {message}",
                        repo=self.source.repo,
                        path=self.file.path,
                        message=error.message,
                    ),
                    hint=msg(
                        "run the same command again later; if it stays so, tell the model's owner"
                    ),
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
                except (TransferInterrupted, OfflineError) as error:
                    self._stop_if_cancelled()
                    if self.have - before >= _WORTHWHILE:
                        self.backoff.progressed()
                    else:
                        self.backoff.wait(error)
        if not self._is_right():
            self.target.unlink(missing_ok=True)
            kind = self.file.digest.kind
            name = "sha256" if kind is DigestKind.SHA256 else "Git blob id"
            raise Damaged(msg("its {name} is not the one listed", name=name))

    def _take_over(self, output: BinaryIO) -> None:
        """Begin with what an earlier run left."""
        self.hasher = self._fresh_hasher()
        self.have = 0
        output.seek(0)
        if output.seek(0, 2) > self.file.size:
            output.truncate(0)
        output.seek(0)
        read_into(self.hasher, output, self._count)
        if self.have == self.file.size and not self._is_right():
            output.truncate(0)
            self._discount()
            self.hasher = self._fresh_hasher()

    def _receive(self, output: BinaryIO) -> None:
        with ExitStack() as stack:
            with self.monitor.waiting():
                stream = stack.enter_context(self.source.open(self.file, self.have))
            self.monitor.hold(stream.abort)
            began = self.have
            known = self.have - stream.start  # a server may begin at the first byte anew
            try:
                for whole in self.monitor.chunks_of(stream):
                    chunk, known = whole[known:], max(0, known - len(whole))
                    if self.have + len(chunk) > self.file.size:
                        output.truncate(began)  # what came before may be right
                        raise Damaged(
                            msg("it is longer than the {size:,} bytes listed", size=self.file.size)
                        )
                    output.write(chunk)
                    self.hasher.update(chunk)
                    self.moved += len(whole)
                    self._count(len(chunk))
            finally:
                self.monitor.release()
        if self.have < self.file.size:
            raise TransferInterrupted(
                msg("{path}: the connection closed before the file's end", path=self.file.path)
            )

    def _fresh_hasher(self) -> Hasher:
        hasher = self.file.digest.hasher(self.file.size)
        return hasher if self.aside is None else HashingAside(hasher, self.aside)

    def _is_right(self) -> bool:
        return self.hasher.hexdigest() == self.file.digest.hex

    def _discount(self) -> None:
        """Begin to count anew."""
        self.monitor.meter.add(-self.have)
        self.have = 0

    def _count(self, count: int) -> None:
        self.have += count
        self.monitor.meter.add(count)
        self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        stop_if(self.monitor.stopped)


def read_into(hasher: Hasher, opened: BinaryIO, count: Callable[[int], None]) -> None:
    """Hash the rest of an open file; `count` hears how many bytes each step read."""
    while chunk := opened.read(_CHUNK):
        hasher.update(chunk)
        count(len(chunk))
