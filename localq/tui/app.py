"""The app itself: its screens, its theme, and how it starts and ends."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.types import CSSPathType

from localq.tui import strings
from localq.tui.clock import Clock
from localq.tui.context import AppContext
from localq.tui.jobs import Jobs
from localq.tui.screens.help import HelpDialog
from localq.tui.screens.job_dialog import JobDialog
from localq.tui.screens.library import LibraryScreen
from localq.tui.services import Services
from localq.tui.theme import NIGHT

if TYPE_CHECKING:
    from localq.library import Library

__all__ = ["LocalqApp", "run"]

_KILLED = 128
"""What shells add to the number of a signal that ended a program."""
_PATIENCE = 5.0
"""Seconds that jobs get to stop after the app has quit."""


def run(library: Library | None = None) -> int:
    """Run the app on the terminal until the user quits, or the system ends it; the exit code."""
    from localq.library import Library
    from localq.tui.wiring import services_of

    app = LocalqApp(services_of(library or Library()))
    try:
        app.run()
    finally:
        app.jobs.stop(_PATIENCE, by_system=app.ended_by is not None)
    return 0 if app.ended_by is None else _KILLED + app.ended_by


class LocalqApp(App[None]):
    TITLE = strings.APP
    # The default screen's own CSS_PATH is not read, as those of pushed screens are.
    CSS_PATH: ClassVar[CSSPathType | None] = ["app.tcss", "screens/library.tcss"]
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (70, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", strings.KEY_HELP, show=False, priority=True),
        Binding("ctrl+q", "quit", strings.KEY_QUIT, key_display="^q", priority=True),
    ]

    def __init__(self, services: Services, clock: Clock | None = None) -> None:
        super().__init__()
        self.jobs = Jobs(services.log)
        self.context = AppContext(services, self.jobs, clock or Clock())
        self.register_theme(NIGHT)
        self.theme = NIGHT.name
        self.ended_by: signal.Signals | None = None
        """The signal that ended the app."""

    def on_mount(self) -> None:
        """A polite kill, or a terminal that is closed, leaves by the same door as the user: else
        the terminal would stay in the app's own screen, with the mouse captured."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            kind = getattr(signal, name, None)  # Windows has no SIGHUP
            with suppress(NotImplementedError, RuntimeError, ValueError):  # nor these handlers
                if kind is not None:
                    loop.add_signal_handler(kind, self._end, kind)

    def _end(self, kind: signal.Signals) -> None:
        self.ended_by = kind
        self.exit()

    async def action_quit(self) -> None:
        """Leave; first ask where that would end a job."""
        for screen in self.screen_stack:
            if isinstance(screen, JobDialog) and screen.confirm_quit(self.exit):
                return
        self.exit()

    def get_default_screen(self) -> LibraryScreen:
        return LibraryScreen(self.context)

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpDialog):
            self.push_screen(HelpDialog())
