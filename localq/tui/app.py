"""The app itself: its screens, its theme, and how it starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.timer import Timer
from textual.types import CSSPathType

from localq.display import printable
from localq.errors import LocalqError
from localq.jobs import Job, JobState
from localq.messages import Message as Words
from localq.messages import msg, translate
from localq.settings import Settings, read_settings, use_language
from localq.tui.calls import CallListener, Calls
from localq.tui.clock import Clock
from localq.tui.context import AppContext
from localq.tui.failure import logged
from localq.tui.hints import in_the_app
from localq.tui.job_text import job_title
from localq.tui.screens import opening
from localq.tui.screens.base import SCREENS, AppScreen
from localq.tui.services import Services
from localq.tui.text import tr
from localq.tui.theme import NIGHT, THEMES
from localq.tui.watch import HomeNews, HomeWatch
from localq.tui.widgets.status_line import Said, StatusLine

if TYPE_CHECKING:
    from localq.tui.watchdog import Watchdog

__all__ = ["LocalqApp"]

_SAID_SECONDS = 6.0
_WATCH_AFTER = 0.1
"""Seconds the library has the processor for itself."""
_PREPARE_AFTER = 0.9
"""Seconds after that until the other screens are made ready."""


class LocalqApp(CallListener, App[None]):
    TITLE = "localq"
    DEFAULT_MODE = "library"
    # The library's, too, which is opened first: a screen that brings its own is styled twice.
    CSS_PATH: ClassVar[CSSPathType | None] = ["app.tcss", "screens/library.tcss"]
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (70, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", msg("Help"), show=False, priority=True),
        Binding("ctrl+q", "quit", msg("Quit"), key_display="^q", priority=True),
        Binding("ctrl+c", "interrupt", msg("Copy, or stop what is being done"), show=False),
        Binding("ctrl+p", "command_palette", msg("All commands"), show=False, priority=True),
    ]
    ENABLE_COMMAND_PALETTE = True

    class HomeChanged(Message, bubble=False):
        def __init__(self, news: HomeNews) -> None:
            super().__init__()
            self.news = news

    def __init__(
        self,
        services: Services,
        clock: Clock | None = None,
        *,
        watch: HomeWatch | None = None,
        settled: Callable[[], object] = lambda: None,
    ) -> None:
        """`watch` was made before the models were read ahead; `settled` is called once, after
        the library has been drawn."""
        super().__init__()
        self._settled = settled
        self.calls = Calls(services.paths.log / "tui.log")
        self.context = AppContext(services, self.calls, clock or Clock())
        for theme in THEMES:
            self.register_theme(theme)
        self.settings = read_settings(services.paths)
        use_language(self.settings)
        self._begin_with(self.settings.theme)
        for _, name, _ in SCREENS:
            if name != self.DEFAULT_MODE:
                self.add_mode(name, self._maker(name))
        self.ended_by: signal.Signals | None = None
        """The signal that ended the app."""
        self.news = HomeNews()
        self.said: Said | None = None
        self._watch = watch or HomeWatch(services.paths, services.library.revision)
        self._begun: dict[int, Callable[[Job], object] | None] = {}
        """The jobs that were begun here, and what comes after each."""
        self._silence: Timer | None = None
        self._watchdog: Watchdog | None = None

    def _maker(self, name: str) -> Callable[[], Screen[Any]]:
        """Screens are imported when they are first opened."""

        def make() -> Screen[Any]:
            classes = opening.size_classes(
                (self.size.width, self.HORIZONTAL_BREAKPOINTS),
                (self.size.height, self.VERTICAL_BREAKPOINTS),
            )
            return opening.made(name, self.context, classes, self._css_update_count)

        return make

    def get_default_screen(self) -> Screen[Any]:
        """The library, which Textual styles once where it is no mode, and three times as one."""
        return self._maker(self.DEFAULT_MODE)()

    def _begin_with(self, theme: str) -> None:
        """Without styling everything in Textual's own theme before."""
        self.set_reactive(App.theme, theme if theme in self.available_themes else NIGHT.name)
        self.set_class(self.current_theme.dark, "-dark-mode", update=False)
        self.set_class(not self.current_theme.dark, "-light-mode", update=False)
        self.stylesheet.set_variables(self.get_css_variables())

    def on_mount(self) -> None:
        """A polite kill, or a terminal that is closed, leaves by the same door as the user: else
        the terminal would stay in the app's own screen, with the mouse captured."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            kind = getattr(signal, name, None)  # Windows has no SIGHUP
            with suppress(NotImplementedError, RuntimeError, ValueError):  # nor these handlers
                if kind is not None:
                    loop.add_signal_handler(kind, self._end_by, kind)
        # Of what happens from here on, and of jobs, one hears after the library is on the screen.
        self.add_mode(self.DEFAULT_MODE, self._maker(self.DEFAULT_MODE))
        self.set_timer(_WATCH_AFTER, self._settle)

    def _settle(self) -> None:
        self._watch.start(self._tell)
        self.set_timer(_PREPARE_AFTER, self._prepare)
        if "LOCALQ_WATCHDOG" in os.environ:
            from localq.tui.watchdog import watchdog_of

            self._watchdog = watchdog_of(self.context.services.paths.log / "tui.log")
            if self._watchdog is not None:
                self._watchdog.start()
        self._settled()

    def _prepare(self) -> None:
        """Read now what opening another screen would wait for."""
        opening.read_style_sheets(self.stylesheet)
        self.calls.start_quietly(opening.import_screens)

    def end(self, timeout: float) -> None:
        """Let go of everything, after the app has run."""
        self._let_go_of_terminal()
        if self._watchdog is not None:
            self._watchdog.stop()
        self._watch.stop(timeout)
        self.calls.stop(timeout, by_system=self.ended_by is not None)

    def _let_go_of_terminal(self) -> None:
        """A terminal that goes away sends SIGCONT too, upon which Textual reads it again, even
        where it had stopped: its thread would go round for ever at the end of what there is."""
        with suppress(AttributeError, ValueError):  # Windows has no SIGCONT
            signal.signal(signal.SIGCONT, signal.SIG_DFL)
        if self._driver is not None:
            self._driver.disable_input()

    def _end_by(self, kind: signal.Signals) -> None:
        self.ended_by = kind
        self.exit()

    # --- screens ---

    def action_show(self, name: str) -> None:
        """Bring a screen to the front, as it was left."""
        self.switch_mode(name)
        self.call_after_refresh(self._greet)

    def show_model(self, name: str) -> None:
        """The library, with the cursor on this model."""
        self.action_show("library")
        library = self.screen_stack[0]
        self.call_after_refresh(library.highlight, name)  # type: ignore[attr-defined]

    def show_plan(self, name: str) -> None:
        """The machine, with how this model would be loaded."""
        self.action_show("machine")
        self.screen_stack[0].choose(name)  # type: ignore[attr-defined]  # of MachineScreen

    async def use(self, settings: Settings) -> None:
        """Another language or theme: everything that is open is drawn anew."""
        before, self.settings = self.settings, settings
        self.theme = settings.theme or NIGHT.name
        if settings.language == before.language:
            return
        os.environ["LOCALQ_LANG"] = settings.language
        for _, name, _ in SCREENS:
            if name != self.current_mode and len(self._screen_stacks.get(name, ())) < 2:
                await self.remove_mode(name)
                self.add_mode(name, self._maker(name))
        await self.screen_stack[0].recompose()

    def _greet(self) -> None:
        screen = self.screen_stack[0]
        if isinstance(screen, AppScreen) and screen.is_mounted:
            screen.home_changed(self.news)
        if self.screen is not screen and hasattr(self.screen, "home_changed"):
            self.screen.home_changed(self.news)
        self._show_status()

    def action_help(self) -> None:
        from localq.tui.screens.help import HelpDialog

        if not isinstance(self.screen, HelpDialog):
            self.push_screen(HelpDialog(self.screen))

    def action_interrupt(self) -> None:
        """Ctrl-C where nothing is selected: stops what the screen does, but never leaves."""
        screen = self.screen
        if hasattr(screen, "action_stop_reply") and screen.check_action("stop_reply", ()):
            screen.action_stop_reply()
        else:
            self.notify(tr("^q quits."), markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Everything that has a key here, the screens, and what the app itself can do."""
        for key, name, title in SCREENS:
            yield SystemCommand(
                translate(title), tr("Go there ({key})", key=key), self._shower(name)
            )
        for active in screen.active_bindings.values():
            binding = active.binding
            own = not binding.action.startswith("app.") and active.node is not self
            if isinstance(binding.description, Words) and own and active.enabled:
                keys = self.get_key_display(binding)
                yield SystemCommand(
                    translate(binding.tooltip or binding.description),
                    tr("On this screen ({key})", key=keys),
                    self._doer(binding.action, active.node),
                )
        yield SystemCommand(tr("Theme"), tr("Change the colours"), self.action_change_theme)
        yield SystemCommand(tr("Keys"), tr("All keys of this screen"), self.action_help)
        yield SystemCommand(tr("Quit"), tr("Leave localq"), self.action_quit)

    def _shower(self, name: str) -> Callable[[], None]:
        return lambda: self.action_show(name)

    def _doer(self, action: str, node: Any) -> Callable[[], None]:
        def do() -> None:
            self.call_later(self.run_action, action, node)

        return do

    # --- jobs ---

    def begin_job(
        self,
        make: Callable[[], object],
        what: str,
        then: Callable[[Job], object] | None = None,
    ) -> None:
        """Let a process of its own do what the request asks for that `make` makes; how far it is
        is on every screen. `what`: in a few words, in the user's language; `then` is called once
        the job has finished."""
        start = self.context.services.jobs.start
        self.notify(tr("Starting: {what}", what=what), markup=False)

        def begun(job: Job) -> None:
            self._begun[job.id] = then
            self.notify(tr("{what} is under way; 3 shows how far it is.", what=what), markup=False)
            self.look_now()
            self._greet_the_end((), self.news.jobs)  # which the watch may have seen before

        self.calls.start(self, lambda say, cancel: start(make()), done=begun, failed=self.complain)

    def look_now(self) -> None:
        """Something was changed here: show it at once."""
        self._watch.look_now()

    def _tell(self, news: HomeNews) -> None:
        with suppress(RuntimeError):  # the app has quit
            self.post_message(self.HomeChanged(news))

    def on_localq_app_home_changed(self, message: HomeChanged) -> None:
        before, self.news = self.news, message.news
        if message.news.problem is not None:
            self.complain(message.news.problem)
        self._greet_the_end(before.jobs, message.news.jobs)
        self._greet()

    def _greet_the_end(self, before: tuple[Job, ...], jobs: tuple[Job, ...]) -> None:
        """Say what became of the jobs that ran, and do what comes after them."""
        ran = {job.id for job in before if job.state.is_active} | self._begun.keys()
        for job in jobs:
            if job.id not in ran or job.state.is_active:
                continue
            own = job.id in self._begun
            then = self._begun.pop(job.id, None)
            if job.state is JobState.FINISHED and then is not None:
                then(job)
            elif job.state is JobState.FINISHED and job.result:
                self.notify(tr("{name} is ready.", name=printable(job.result)), markup=False)
                self._show_new(job.result, own=own)
            elif job.state is JobState.FAILED:
                told = tr("{job} failed: {error}", job=job_title(job), error=printable(job.error))
                self.notify(told, severity="error", markup=False)
            elif job.state is JobState.INTERRUPTED:
                told = tr("{job} was interrupted; 3 shows it.", job=job_title(job))
                self.notify(told, severity="warning", markup=False)

    def _show_new(self, name: str, *, own: bool) -> None:
        """The cursor of the library goes to what was asked for here."""
        library = self._screen_stacks.get("library")
        if own and library:
            library[0].highlight(name)  # type: ignore[attr-defined]  # of LibraryScreen

    # --- what is said ---

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """In the line above the keys, where it covers nothing, for a while; errors stay until
        something else is said."""
        self.said = Said(translate(message), severity)
        if self._silence is not None:
            self._silence.stop()
            self._silence = None
        if severity != "error":
            self._silence = self.set_timer(timeout or _SAID_SECONDS, self._fall_silent)
        self._show_status()

    def complain(self, error: LocalqError) -> None:
        said = translate(error.message)
        if error.hint:
            said = f"{said}  → {in_the_app(translate(error.hint))}"
        self.notify(said, severity="error", markup=False)

    def _fall_silent(self) -> None:
        self.said = None
        self._show_status()

    def _show_status(self) -> None:
        for screen in self.screen_stack:
            for line in screen.query(StatusLine):
                line.said = self.said
                line.jobs = self.news.jobs

    # --- the end ---

    async def action_quit(self) -> None:
        """Leave; first ask what becomes of the jobs that were begun here and still run."""
        from localq.tui.screens.quit import QuitDialog

        if isinstance(self.screen, QuitDialog):
            return
        running = [job for job in self.news.jobs if job.id in self._begun and job.state.is_active]
        if not running:
            self.exit()
            return
        self.push_screen(QuitDialog(running), lambda answer: self._quit(answer, running))

    def _quit(self, answer: str | None, running: list[Job]) -> None:
        if answer == "leave":
            self.exit()
        elif answer == "stop":
            cancel = self.context.services.jobs.cancel
            self.calls.start(
                self,
                lambda say, stop: [cancel(job.id) for job in running],
                done=lambda _: self.exit(),
                failed=self.complain,
            )

    def _fatal_error(self) -> None:
        """A mistake of the app's own: its traceback belongs into the log, not over the terminal."""
        error = self._exception
        if error is None or "LOCALQ_DEBUG" in os.environ:
            super()._fatal_error()
            return
        log = self.context.services.paths.log / "tui.log"
        logged(error, log)
        what = tr("localq ended by a mistake of its own: {error}", error=repr(error))
        self._exit_renderables[:] = [
            Text(f"{what}\n→ {tr('the details are in {log} (localq logs)', log=log)}")
        ]
        self._close_messages_no_wait()
