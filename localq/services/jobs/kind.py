"""What one kind of work has to say of itself to be a job."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from localq.events import Emit
from localq.library import Library
from localq.services.consent import Consent

__all__ = ["JobKind"]

Request = TypeVar("Request")
Result = TypeVar("Result")


class JobKind(ABC, Generic[Request, Result]):
    """All in which a kind differs from the others. To add one: a module in
    `localq.services.jobs.kinds`, and its names in the table there."""

    name: ClassVar[str]
    """In the records of jobs, which are there for good: never to be changed."""
    request: type[Request]
    """A frozen dataclass that `localq.json_codec` can write and read."""

    @abstractmethod
    def work(
        self,
        library: Library,
        request: Request,
        emit: Emit,
        cancel: threading.Event,
        consent: Consent,
    ) -> Result:
        """Do it, going on where an earlier try stopped."""

    @abstractmethod
    def title(self, request: Request) -> str:
        """The work in a few words, such as "pull org/model"."""

    @abstractmethod
    def made(self, result: Result) -> str:
        """The name or path of what came out."""

    def settled(self, library: Library, request: Request) -> Request:
        """The request so written that it means the same in any folder at any time."""
        return request

    def check(self, library: Library, request: Request) -> None:
        """Raise what can be known beforehand to go wrong, without a network or a look at
        weights."""
        return

    def may_ask(self, request: Request) -> bool:
        """Whether the work may need someone's consent."""
        return False

    def folders(self, library: Library, request: Request) -> set[Path]:
        """Folders of models in which whole files may be left that no entry of the library has.

        LocalqError where what it was to be made from is gone.
        """
        return set()

    def drop_partials(self, library: Library, request: Request) -> int:
        """Delete what was left half-made, which nobody works on; the bytes freed.

        HubError where another localq is at it.
        """
        return 0
