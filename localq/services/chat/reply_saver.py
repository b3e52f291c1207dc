"""A reply is kept while it grows, so that a program that dies loses half a second of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from localq.closing import Closing
from localq.errors import LocalqError

__all__ = ["ReplySaver"]

_SECONDS = 0.5


class ReplySaver(Closing):
    """Hands what a reply has become to `save`, in a thread of its own: the first piece at once,
    then every half a second while there is more. What cannot be saved is tried again; `problem`
    says why it was not. `gone` is called where `save` raises that, and nothing is saved after."""

    def __init__(
        self,
        save: Callable[[str, str], None],
        *,
        gone: type[LocalqError],
        on_gone: Callable[[], None],
    ) -> None:
        self._save = save
        self._gone = gone
        self._on_gone = on_gone
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._changed = threading.Event()
        self._closed = threading.Event()
        self.problem: LocalqError | None = None
        self._thread = threading.Thread(target=self._run, name="reply-saver", daemon=True)
        self._thread.start()

    def add(self, content: str = "", reasoning: str = "") -> None:
        """The reply has grown by so much. Takes no time."""
        if content:
            self._content.append(content)
        if reasoning:
            self._reasoning.append(reasoning)
        self._changed.set()

    @property
    def content(self) -> str:
        """All so far."""
        return "".join(self._content)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    def close(self) -> None:
        """No more comes; what was not saved yet is for the caller to save."""
        self._closed.set()
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._changed.wait()
            if self._closed.is_set():
                return
            self._changed.clear()
            try:
                self._save(self.content, self.reasoning)
                self.problem = None
            except self._gone as error:
                self.problem = error
                self._on_gone()
                return
            except LocalqError as error:
                self.problem = error
                self._changed.set()
            self._closed.wait(_SECONDS)
