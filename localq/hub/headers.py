"""The headers of files on the Hub, a few hundred kilobytes instead of the files.

A part of a file has no checksum of its own: whoever fetches the whole file later should see that
it begins as its header said (`RemoteHeader.beginning`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from localq.display import byte_size
from localq.errors import BadFileError, Cancelled, OfflineError
from localq.events import Emit
from localq.formats.gguf import GGUFFile, parse_gguf
from localq.formats.safetensors import TensorInfo, parse_safetensors_header
from localq.hub.backoff import Backoff, RetryPolicy
from localq.hub.source import RemoteFile, Source, TransferInterrupted
from localq.hub.waiting import aborted_by
from localq.messages import msg

__all__ = [
    "RemoteGGUF",
    "RemoteHeader",
    "fetch_range",
    "read_remote_gguf",
    "read_remote_headers",
]

_FIRST_BYTES = 128 << 10
"""Of most shards more than the header; of most GGUF files a part, for they hold the vocabulary."""
_MAX_BYTES = 128 << 20
_WORTHWHILE = 64 << 10
"""A connection that brought this many bytes may be replaced at once when it breaks."""
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class RemoteHeader:
    """The tensors of a safetensors file, and the bytes that said so: those the file begins with.

    `fetched_bytes` is what came over the network.
    """

    tensors: tuple[TensorInfo, ...]
    beginning: bytes
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class RemoteGGUF:
    """What `read_gguf` would say; its path is the name of the repository and that of the file."""

    file: GGUFFile
    fetched_bytes: int


def read_remote_headers(
    source: Source,
    files: Sequence[RemoteFile],
    *,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None = None,
) -> list[RemoteHeader]:
    """The headers of safetensors files, in their order, several at a time.

    BadFileError for one that makes no sense; HubError, OfflineError and Cancelled as ever.
    """

    def read(file: RemoteFile) -> RemoteHeader:
        opened = _Opened(source, file, Backoff(policy or RetryPolicy(), cancel, emit))
        tensors = parse_safetensors_header(opened, _shown(source, file), file.size)
        return RemoteHeader(tensors, opened.taken, len(opened.have))

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="headers") as pool:
        reading = [pool.submit(read, file) for file in files]
        try:
            return [future.result() for future in reading]
        finally:
            for future in reading:
                future.cancel()


def read_remote_gguf(
    source: Source,
    file: RemoteFile,
    *,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None = None,
) -> RemoteGGUF:
    """The metadata and the tensor table of one GGUF file; raises as `read_remote_headers`."""
    opened = _Opened(source, file, Backoff(policy or RetryPolicy(), cancel, emit))
    found = parse_gguf(opened, _shown(source, file), file.size)
    return RemoteGGUF(found, len(opened.have))


def fetch_range(source: Source, file: RemoteFile, start: int, end: int, backoff: Backoff) -> bytes:
    """Bytes [start, end) of the file, which has them. What breaks is gone on with."""
    have = bytearray()
    while len(have) < end - start:
        if backoff.cancel.is_set():
            raise Cancelled("stopped")
        before = len(have)
        try:
            _receive(source, file, start, end, have, backoff.cancel)
        except (TransferInterrupted, OfflineError) as error:
            if len(have) - before >= _WORTHWHILE:
                backoff.progressed()
            else:
                backoff.wait(error)
    return bytes(have)


def _receive(
    source: Source,
    file: RemoteFile,
    start: int,
    end: int,
    have: bytearray,
    cancel: threading.Event,
) -> None:
    wanted = start + len(have)
    with source.open(file, wanted, end) as stream, aborted_by(cancel, stream.abort):
        skip = wanted - stream.start
        for chunk in stream.chunks:
            have += chunk[skip : skip + end - start - len(have)]
            skip = max(0, skip - len(chunk))
            if len(have) == end - start:
                return
    raise TransferInterrupted(
        msg("{path}: the connection closed before the part's end", path=file.path)
    )


def _shown(source: Source, file: RemoteFile) -> Path:
    return Path(source.repo) / file.path


@dataclass(slots=True)
class _Opened:
    """A remote file that is fetched as far as it is read, each time as much again as is there."""

    source: Source
    file: RemoteFile
    backoff: Backoff
    have: bytearray = field(default_factory=bytearray, init=False)
    position: int = field(default=0, init=False)

    @property
    def taken(self) -> bytes:
        """All that was read."""
        return bytes(self.have[: self.position])

    def read(self, count: int, /) -> bytes:
        begin, end = self.position, min(self.position + count, self.file.size)
        if end > _MAX_BYTES:
            raise BadFileError(
                _shown(self.source, self.file),
                msg("the header is longer than {max_bytes}", max_bytes=byte_size(_MAX_BYTES)),
                offset=begin,
            )
        have = len(self.have)
        if end > have:
            enough = min(max(end, 2 * have, _FIRST_BYTES), self.file.size)
            self.have += fetch_range(self.source, self.file, have, enough, self.backoff)
        self.position = end
        return bytes(self.have[begin:end])
