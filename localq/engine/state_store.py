"""What texts had in memory, on disk, so that they go on after a restart without being read again.

A file has one line of JSON, the tokens as little-endian int32, and llama.cpp's own bytes. Nothing
of it is believed before the line, the sizes and the checksum fit; a file that is cut off, or of
another model or engine, is ignored.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from localq.engine.log_output import write_log
from localq.engine.prefix_tree import PrefixTree

__all__ = ["StateStore", "file_fingerprint"]

_FORMAT = "localq state 1"
_SUFFIX = ".state"
_MAX_HEADER = 4096
_MAX_TOKENS = 1 << 24
_SAMPLE = 4 << 20
_MOST_BYTES = 4 << 30
_SHARE_OF_FREE = 10
_LEAST_TOKENS = 128
"""Fewer are read again as fast."""
_MORE_WORTH = 64
"""Going to the disk pays for so many more tokens than there are in memory."""


class StateStore:
    """The states of one model in `folder`; `key` is of all that must be the same to go on with
    one. At most `most_bytes` of states of all models together; None: 4 GB, or a tenth of what is
    free. No method fails: what cannot be read or written is not there."""

    def __init__(self, folder: Path, key: str, most_bytes: int | None = None) -> None:
        self._folder = folder
        self._key = blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
        self._most = most_bytes
        self._tree = PrefixTree()
        self._paths: dict[int, Path] = {}
        self._next = 0
        with suppress(OSError):
            for path in sorted(folder.glob(f"{self._key[:16]}-*{_SUFFIX}"), key=_used):
                if tokens := self._tokens_of(path):
                    self._enter(path, tokens)

    def __len__(self) -> int:
        return len(self._paths)

    def longer(self, tokens: Sequence[int], than: int) -> tuple[int, int] | None:
        """A state that has enough more of the beginning of `tokens` than `than` to be worth its
        reading: its number for `load`, and how many of the tokens it has."""
        match = self._tree.longest(tokens)
        if match is None or match.length < than + _MORE_WORTH:
            return None
        return match.key, match.length

    def load(self, number: int) -> bytes | None:
        """llama.cpp's bytes; None where the file is not what it was."""
        path, tokens = self._paths[number], self._tree.tokens(number)
        data = None
        with suppress(OSError, ValueError), path.open("rb") as file:
            header = _header(file)
            kept = file.read(4 * len(tokens))
            payload = file.read(header.bytes + 1)
            if (
                header.key == self._key
                and kept == _bytes_of(tokens)
                and len(payload) == header.bytes
                and _checksum(kept, payload) == header.checksum
            ):
                data = payload
        if data is None:
            self._forget(number)
        else:
            self._tree.touch(number)
            with suppress(OSError):
                os.utime(path)
        return data

    def save(self, tokens: Sequence[int], data: bytes) -> bool:
        """Keep a state, in place of those of the same text's beginnings; whether it is kept."""
        if len(tokens) < _LEAST_TOKENS:
            return False
        same = [match for match in self._tree.prefixes(tokens) if match.length == len(tokens)]
        if same:
            self._tree.touch(same[0].key)
            return True
        limit = self._limit()
        raw = _bytes_of(tokens)
        name = blake2b(raw, digest_size=12).hexdigest()
        path = self._folder / f"{self._key[:16]}-{name}{_SUFFIX}"
        header = {
            **{"format": _FORMAT, "key": self._key, "tokens": len(tokens), "bytes": len(data)},
            "checksum": _checksum(raw, data),
        }
        line = json.dumps(header).encode() + b"\n"
        if len(line) + len(raw) + len(data) > limit:
            return False
        replaced = [match.key for match in self._tree.prefixes(tokens)]
        try:
            _write(path, (line, raw, data))
        except OSError as error:
            write_log(f"a state was not kept: {error}\n")
            return False
        self._enter(path, tokens)
        for number in replaced:
            self._forget(number)
        self._prune(limit, path)
        return True

    def _limit(self) -> int:
        if self._most is not None:
            return self._most
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return 0
        return min(_MOST_BYTES, free // _SHARE_OF_FREE)

    def _prune(self, limit: int, newest: Path) -> None:
        """Delete what was used longest ago, of whichever model, until the rest fits."""
        with suppress(OSError):
            files = sorted(self._folder.glob(f"*{_SUFFIX}"), key=_used, reverse=True)
            files.sort(key=lambda path: path != newest)  # clocks are coarse
            total = 0
            for path in files:
                total += path.stat().st_size
                if total > limit:
                    path.unlink(missing_ok=True)
        for number, path in tuple(self._paths.items()):
            if not path.exists():
                self._forget(number)

    def _enter(self, path: Path, tokens: Sequence[int]) -> None:
        self._next += 1
        self._tree.add(self._next, tokens)
        self._paths[self._next] = path

    def _forget(self, number: int) -> None:
        self._tree.remove(number)
        with suppress(OSError):
            self._paths.pop(number).unlink(missing_ok=True)

    def _tokens_of(self, path: Path) -> Sequence[int]:
        with suppress(OSError, ValueError), path.open("rb") as file:
            header = _header(file)
            size = file.tell() + 4 * header.tokens + header.bytes
            if header.key == self._key and path.stat().st_size == size:
                return _tokens(file.read(4 * header.tokens))
        with suppress(OSError):
            path.unlink(missing_ok=True)  # it has our name, and is of no use to anybody
        return ()


def file_fingerprint(path: Path) -> str:
    """Changes with a model file, without reading all of it: of its size, time, beginning and end.
    OSError."""
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        digest = blake2b(f"{facts.st_size} {facts.st_mtime_ns}".encode(), digest_size=16)
        digest.update(file.read(_SAMPLE))
        file.seek(max(0, facts.st_size - _SAMPLE))
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _write(path: Path, parts: Sequence[bytes]) -> None:
    """All or nothing, and for the user's eyes only."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class _Header:
    key: str
    tokens: int
    bytes: int
    checksum: str


def _header(file: BinaryIO) -> _Header:
    """ValueError where it is not one."""
    try:
        header = json.loads(file.readline(_MAX_HEADER))
    except RecursionError:
        raise ValueError("not a state") from None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError("not a state")
    for name, most in (("tokens", _MAX_TOKENS), ("bytes", 1 << 40)):
        value = header.get(name)
        if type(value) is not int or not 0 < value <= most:
            raise ValueError(f"{name} is {value!r}")
    key, checksum = str(header.get("key")), str(header.get("checksum"))
    return _Header(key, header["tokens"], header["bytes"], checksum)


def _used(path: Path) -> float:
    return path.stat().st_mtime


def _bytes_of(tokens: Sequence[int]) -> bytes:
    numbers = array("i", tokens)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _tokens(raw: bytes) -> list[int]:
    numbers = array("i", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return list(numbers)


def _checksum(tokens: bytes, data: bytes) -> str:
    digest = blake2b(tokens, digest_size=16)
    digest.update(data)
    return digest.hexdigest()
