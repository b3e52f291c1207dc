"""Service calls in threads, and their way back to the screen that asked for them.

For what a screen waits for and shows itself: questions, and conversations. Long work is a job in a
process of its own (`localq.tui.services.jobs`). A call runs in a daemon thread: one that hangs must
not keep the program alive after the app has quit.

What it says is collected; the first news since the last delivery posts one message, and the
screen takes everything at most `FRAMES` times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from textual.message import Message
from textual.message_pump import MessagePump

from localq.errors import LocalqError
from localq.events import JobEvent, JobFailed, JobFinished, Progress
from localq.jobs.cancel_event import CancelEvent
from localq.tui.failure import presentable

__all__ = [
    "FRAMES",
    "CallListener",
    "CallNews",
    "CallSpoke",
    "Calls",
    "Say",
    "ServiceCall",
    "Work",
    "Written",
]

FRAMES = 30
"""Deliveries per second, at most."""


@dataclass(frozen=True, slots=True)
class Written:
    """Text that a model has written, in `pieces` as it came: about one for each token."""

    text: str
    pieces: int = 1
    thought: bool = False
    """Not said, only thought."""


CallNews = JobEvent | Written
Say = Callable[[CallNews], None]
Result = TypeVar("Result")
Work = Callable[[Say, threading.Event], Result]
"""Runs in a thread, told how to report and when to stop."""


class ServiceCall(Generic[Result]):
    """One call. `done`, `failed` and `heard` are called in the app's own thread."""

    def __init__(
        self,
        listener: MessagePump,
        work: Work[Result],
        *,
        done: Callable[[Result], object],
        failed: Callable[[LocalqError], object],
        heard: Callable[[CallNews], object] | None = None,
    ) -> None:
        self.cancel = CancelEvent()
        self._listener = listener
        self._work = work
        self._done = done
        self._failed = failed
        self._heard = heard
        self._lock = threading.Lock()
        self._news: list[CallNews] = []
        self._posted = False
        self._delivered_at = 0.0

    def run(self, log: Path) -> None:
        """Do the work; never raises."""
        try:
            result = self._work(self.say, self.cancel)
        except Exception as error:  # the app outlives whatever a service does
            self.say(JobFailed(presentable(error, log)))
        else:
            self.say(JobFinished(result))

    def say(self, news: CallNews) -> None:
        """Called from any thread. Progress replaces older progress of its stage, text is joined."""
        with self._lock:
            last = self._news[-1] if self._news else None
            if (
                isinstance(news, Written)
                and isinstance(last, Written)
                and news.thought is last.thought
            ):
                text, pieces = last.text + news.text, last.pieces + news.pieces
                self._news[-1] = Written(text, pieces, news.thought)
            elif (
                isinstance(news, Progress)
                and isinstance(last, Progress)
                and news.stage == last.stage
            ):
                self._news[-1] = news
            else:
                self._news.append(news)
            if self._posted:
                return
            self._posted = True
        with suppress(RuntimeError):  # the app has quit: nobody is left to be told
            self._listener.post_message(CallSpoke(self))

    def until_next_frame(self) -> float:
        """Seconds to wait before the next delivery; 0 or less: none."""
        return self._delivered_at + 1 / FRAMES - time.monotonic()

    def deliver(self) -> None:
        """Hand everything said so far to the callbacks."""
        with self._lock:
            news, self._news = self._news, []
            self._posted = False
        self._delivered_at = time.monotonic()
        for item in news:
            if isinstance(item, JobFinished):
                self._done(item.result)  # type: ignore[arg-type]  # what `work` returned
            elif isinstance(item, JobFailed):
                self._failed(item.error)  # type: ignore[arg-type]  # made by presentable()
            elif self._heard is not None:
                self._heard(item)


class CallSpoke(Message, bubble=False):
    """A call has news to be taken with `call.deliver()`."""

    def __init__(self, call: ServiceCall[Any]) -> None:
        super().__init__()
        self.call = call


class CallListener(MessagePump):
    """For screens and widgets that call services: delivers their news at a steady pace."""

    def on_call_spoke(self, message: CallSpoke) -> None:
        message.stop()
        delay = message.call.until_next_frame()
        if delay > 0:
            self.set_timer(delay, message.call.deliver)
        else:
            message.call.deliver()


class Calls:
    """The calls that are running."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, CancelEvent] = {}

    def start(
        self,
        listener: MessagePump,
        work: Work[Result],
        *,
        done: Callable[[Result], object],
        failed: Callable[[LocalqError], object],
        heard: Callable[[CallNews], object] | None = None,
    ) -> ServiceCall[Result]:
        """Run `work` for the screen or widget `listener`, which must be a CallListener."""
        call = ServiceCall(listener, work, done=done, failed=failed, heard=heard)
        self._spawn(partial(call.run, self._log), call.cancel)
        return call

    def start_quietly(self, work: Callable[[], None]) -> None:
        """Run what nobody waits for; a failure goes to the log alone."""

        def run() -> None:
            try:
                work()
            except Exception as error:  # nobody is left who could be told
                presentable(error, self._log)

        self._spawn(run, CancelEvent())

    def stop(self, timeout: float, *, by_system: bool = False) -> None:
        """Ask all calls to stop and wait for them, `timeout` seconds at most. `by_system`: nobody
        wanted them to, so their records say that they were interrupted."""
        with self._lock:
            running = dict(self._running)
        for cancel in running.values():
            cancel.by_system = by_system
            cancel.set()
        deadline = time.monotonic() + timeout
        for thread in running:
            thread.join(max(deadline - time.monotonic(), 0))

    def _spawn(self, work: Callable[[], None], cancel: CancelEvent) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._running.pop(threading.current_thread(), None)

        thread = threading.Thread(target=run, name="localq-call", daemon=True)
        with self._lock:
            self._running[thread] = cancel
        thread.start()
