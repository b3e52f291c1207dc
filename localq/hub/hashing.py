"""A checksum computed beside the work that brings the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from localq.hub.source import Hasher

__all__ = ["HashingAside"]

_BATCH = 1 << 20
"""Bytes handed over at once: waking a thread for each chunk would cost more than it saves."""


class HashingAside:
    """A Hasher that does its work in a thread of `pool`; at most two batches are in memory."""

    def __init__(self, hasher: Hasher, pool: ThreadPoolExecutor) -> None:
        self._hasher = hasher
        self._pool = pool
        self._batch: list[bytes] = []
        self._size = 0
        self._last: Future[None] | None = None

    def update(self, data: bytes, /) -> None:
        self._batch.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            self._hand_over()

    def hexdigest(self) -> str:
        self._hand_over()
        self._finish()
        return self._hasher.hexdigest()

    def _hand_over(self) -> None:
        self._finish()
        self._last = self._pool.submit(_feed, self._hasher, self._batch)
        self._batch, self._size = [], 0

    def _finish(self) -> None:
        if self._last is not None:
            self._last.result()


def _feed(hasher: Hasher, batch: Sequence[bytes]) -> None:
    for data in batch:
        hasher.update(data)
