"""What is on the Hub, and how it would fit here."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localq.events import Emit

if TYPE_CHECKING:
    from localq.library import Library
    from localq.services.fit.fit import FitResult
    from localq.services.pull.pull import Choice
    from localq.services.pull.search import FoundModel

__all__ = ["HubAccess", "HubServices"]


@dataclass(frozen=True, slots=True)
class HubAccess:
    """Where the Hub is, whether there is a token for it (which is shown to nobody), and whether
    the user wants no network."""

    endpoint: str
    has_token: bool
    offline: bool


class HubServices:
    def __init__(self, library: Library) -> None:
        self._library = library

    def choices(self) -> Sequence[Choice]:
        """Models worth pulling on this machine, the recommended one first. Asks nobody."""
        from localq.services.pull.pull import choices

        return choices(self._library)

    def sized(self, choices: Sequence[Choice], cancel: threading.Event) -> Sequence[Choice]:
        """The same models with their sizes, where the Hub tells them soon."""
        from localq.services.pull.choice_sizes import with_sizes

        return with_sizes(choices, cancel=cancel)

    def search(self, words: str, emit: Emit, cancel: threading.Event) -> tuple[FoundModel, ...]:
        from localq.services.pull.search import SearchRequest, search

        return search(SearchRequest(words, limit=50), emit, cancel).models

    def fit(self, model: str, emit: Emit, cancel: threading.Event) -> FitResult:
        """The ladder of a repository, or of a model of the library, from headers alone."""
        from localq.services.fit.fit import FitRequest, fit

        return fit(self._library, FitRequest(model), emit, cancel)

    def check_spec(self, spec: str) -> None:
        """UsageError for what cannot be the name of a model on the Hub."""
        from localq.hub.spec import parse_spec

        if spec.casefold() != "demo":
            parse_spec(spec)

    def ladder(self, name: str, cancel: threading.Event, *, every: bool = False) -> FitResult:
        """What can be made of a model of the library, and how each would fit. Asks nobody."""
        from localq.events import ignore
        from localq.services.fit.fit import FitRequest, fit

        return fit(self._library, FitRequest(name, every=every, related=False), ignore, cancel)

    def access(self) -> HubAccess:
        """How the Hub is reached. What is set and makes no sense is said as an address."""
        from localq.errors import LocalqError, OfflineError
        from localq.hub.environment import endpoint, refuse_offline, token_file, token_variable

        try:
            address = endpoint()
            has_token = bool(token_variable() or token_file())
        except LocalqError as error:
            return HubAccess(error.message, has_token=False, offline=False)
        try:
            refuse_offline()
        except OfflineError:
            return HubAccess(address, has_token, offline=True)
        return HubAccess(address, has_token, offline=False)
