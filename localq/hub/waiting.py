"""A question to a server, with a word to the user when the answer is long in coming."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from localq.errors import Cancelled
from localq.events import Emit, Note
from localq.messages import msg

__all__ = ["QUIET_SECONDS", "aborted_by", "ask"]

QUIET_SECONDS = 3.0
"""Silence that the user should be told of."""

_LOOK_SECONDS = 0.1
_Answer = TypeVar("_Answer")


def ask(
    question: Callable[[], _Answer], host: str, *, emit: Emit, cancel: threading.Event
) -> _Answer:
    """The answer to `question`, which a thread of its own asks `host`.

    `emit` is called by the calling thread alone. Cancelled as soon as `cancel` is set: the thread
    is left to its own time-out.
    """
    future: Future[_Answer] = Future()

    def answer() -> None:
        try:
            future.set_result(question())
        except BaseException as error:
            future.set_exception(error)

    asking = threading.Thread(target=answer, name="ask", daemon=True)
    began, told = time.monotonic(), False
    while True:
        if cancel.is_set():
            raise Cancelled("stopped")
        if asking.ident is None:
            asking.start()
        try:
            return future.result(timeout=_LOOK_SECONDS)
        except TimeoutError:
            if future.done():
                raise
        if not told and time.monotonic() - began >= QUIET_SECONDS:
            emit(
                Note(
                    msg(
                        "waiting for {host}: no answer for {quiet_seconds:.0f} s",
                        host=host,
                        quiet_seconds=QUIET_SECONDS,
                    )
                )
            )
            told = True


@contextmanager
def aborted_by(cancel: threading.Event, abort: Callable[[], None]) -> Iterator[None]:
    """While the block waits for bytes: another thread calls `abort` as soon as `cancel` is set."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if cancel.is_set():
                abort()
                return

    threading.Thread(target=watch, name="abort", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
