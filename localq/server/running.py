"""Blocking work in a thread, and what it tells, in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Running"]

E = TypeVar("E")


class Running(Generic[E]):
    """An `async with` block: when it is left, the work has been cancelled and has ended.

    `work` is given a callback for its events, which never waits, and an event that asks it to end.
    """

    def __init__(
        self, executor: Executor, work: Callable[[Callable[[E], None], threading.Event], None]
    ) -> None:
        self._cancel = threading.Event()
        self._events: deque[E] = deque()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._told = False
        self._done = self._loop.run_in_executor(executor, work, self._put, self._cancel)
        self._done.add_done_callback(lambda _: self._arrived.set())

    def _put(self, event: E) -> None:
        """From the thread. One call into the loop serves all that comes before it looks."""
        self._events.append(event)
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._arrived.set)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cancel.set()
        while not self._done.done():
            with suppress(asyncio.CancelledError):  # the thread must have ended all the same
                await asyncio.wait([self._done])
        if not self._done.cancelled():
            self._done.exception()  # has been raised by `next`, or nobody waits for it

    async def next(self, seconds: float) -> list[E] | None:
        """What has been told since the last call, nothing after so many seconds; None: the work is
        done, and all it told was heard. Raises what it raised."""
        if not self._events and not self._done.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
        done = self._done.done()
        self._arrived.clear()
        self._told = False
        found: list[E] = []
        while self._events:
            found.append(self._events.popleft())
        if done and not found:
            self._done.result()
            return None
        return found
