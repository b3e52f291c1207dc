"""What the screens may ask of the app, which they do not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from localq.errors import LocalqError
from localq.jobs import Job
from localq.settings import Settings

__all__ = ["Shell"]


class Shell(Protocol):
    settings: Settings

    def begin_job(
        self,
        make: Callable[[], object],
        what: str,
        then: Callable[[Job], object] | None = None,
    ) -> None: ...

    def look_now(self) -> None: ...

    def complain(self, error: LocalqError) -> None: ...

    def show_model(self, name: str) -> None: ...

    def show_plan(self, name: str) -> None: ...

    async def use(self, settings: Settings) -> None: ...
