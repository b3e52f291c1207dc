"""Jobs: what runs and what ran, whoever began it; stop it, go on with it, read what it said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.types import CSSPathType
from textual.widgets import Static

from localq.display import age, byte_size, printable, printable_lines
from localq.errors import LocalqError
from localq.events import Unit
from localq.jobs import Job, JobState
from localq.messages import msg
from localq.tui.context import AppContext
from localq.tui.hints import in_the_app
from localq.tui.job_text import MARKS, amount, bar, job_title, share, state_name
from localq.tui.screens.base import AppScreen
from localq.tui.text import tr
from localq.tui.watch import HomeNews
from localq.tui.widgets.steady_text import SteadyText
from localq.tui.widgets.table import Column, Table

__all__ = ["JobsScreen"]

_BAR = 10
_LOG_LINES = 200
_STYLES = {JobState.FAILED: "bold", JobState.RUNNING: "bold", JobState.FINISHED: "dim"}


class JobsScreen(AppScreen):
    NAME = "jobs"
    CSS_PATH: ClassVar[CSSPathType | None] = "jobs.tcss"
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", msg("Show the model"), key_display="↵"),
        Binding("s,delete", "stop", msg("Stop")),
        Binding("r", "resume", msg("Go on")),
        Binding("a", "retry", msg("From the beginning")),
        Binding("x", "forget", msg("Forget")),
        Binding("X", "clear", msg("Forget the finished ones"), show=False),
        Binding("l", "log", msg("Log")),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._log_of: int | None = None
        self._memory: Mapping[int, int] = {}
        """Bytes that the processes of the jobs hold."""

    def compose_body(self) -> ComposeResult:
        with Container(id="columns"):
            with Vertical(id="list") as box:
                box.border_title = tr("Jobs")
                yield Table[Job](self._columns(), lambda job: str(job.id))
                yield Static(id="nothing", markup=False)
            with VerticalScroll(id="detail") as panel:
                panel.border_title = tr("Job")
                yield SteadyText(id="about")
                yield SteadyText(id="log")

    def on_mount(self) -> None:
        self.query_one("#nothing", Static).update(
            tr("Nothing has been done yet. Pull a model (2) or quantize one (1), and see it here.")
        )

    def home_changed(self, news: HomeNews) -> None:
        jobs = sorted(news.jobs, key=lambda job: (not job.state.is_active, -job.id))
        table = self.query_one(Table)
        table.show(jobs)
        table.display = bool(jobs)
        self.query_one("#nothing").display = not jobs
        active = sum(job.state.is_active for job in jobs)
        self.set_right(tr("{count} running", count=active) if active else "")
        if active:
            self._look_at_memory([job for job in jobs if job.state.is_active])

    def _look_at_memory(self, jobs: Sequence[Job]) -> None:
        memory = self.context.services.jobs.memory

        def known(found: Mapping[int, int]) -> None:
            self._memory = found
            table = self.query_one(Table)
            table.refresh_rows(i for i, job in enumerate(table.rows) if job.id in found)

        self.context.calls.start(
            self, lambda say, cancel: memory(jobs), done=known, failed=self._complain
        )

    @on(Table.Moved)
    def _describe(self) -> None:
        job = self._job
        self.query_one("#about", SteadyText).say(_about(job) if job else Text())
        self.refresh_bindings()
        if job is None:
            self.query_one("#log", SteadyText).say(Text())
            return
        log, job_id = self.context.services.jobs.log, job.id
        if self._log_of != job_id:
            self._log_of = job_id
            self.query_one("#log", SteadyText).say(Text())
        self.context.calls.start(
            self,
            lambda say, cancel: log(job_id),
            done=lambda text: self._show_log(job_id, text),
            failed=self._complain,
        )

    def _show_log(self, job_id: int, text: str) -> None:
        if job_id != self._log_of:
            return  # the cursor has moved on
        lines = printable_lines(text).splitlines()[-_LOG_LINES:]
        shown = Text("\n".join(lines), style="dim", overflow="fold")
        self.query_one("#log", SteadyText).say(shown)

    @property
    def _job(self) -> Job | None:
        job = self.query_one(Table).current
        return job if isinstance(job, Job) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action not in ("open", "stop", "resume", "retry", "forget", "log"):
            return True
        job = self._job if self.is_mounted else None
        if job is None:
            return False
        match action:
            case "open":
                return job.state is JobState.FINISHED and bool(job.result)
            case "stop":
                return job.state.is_active or job.state is JobState.INTERRUPTED
            case "resume" | "retry":
                return job.state.is_resumable
            case "forget":
                return not job.state.is_active
        return True

    def action_open(self) -> None:
        if (job := self._job) is not None and job.result:
            self.shell.show_model(job.result)

    @on(Table.Selected)
    def _selected(self) -> None:
        if self.check_action("open", ()):
            self.action_open()
        elif self.check_action("resume", ()):
            self.action_resume()

    def action_stop(self) -> None:
        cancel = self.context.services.jobs.cancel
        self._do(lambda job: cancel(job.id), msg("Asked to stop; what it has done is kept."))

    def action_resume(self) -> None:
        resume = self.context.services.jobs.resume
        self._do(lambda job: resume(job.id), msg("It goes on."))

    def action_retry(self) -> None:
        resume = self.context.services.jobs.resume
        self._do(lambda job: resume(job.id, anew=True), msg("It begins anew."))

    def action_forget(self) -> None:
        clear = self.context.services.jobs.clear
        self._do(lambda job: clear((job.id,)), msg("Forgotten; the models stay."))

    def action_clear(self) -> None:
        clear = self.context.services.jobs.clear
        self._do(lambda job: clear(), msg("Forgotten; the models stay."))

    def action_log(self) -> None:
        """Read it from its end; escape leads back."""
        panel = self.query_one("#detail", VerticalScroll)
        panel.focus()
        panel.scroll_end(animate=False)

    def key_escape(self) -> None:
        self.query_one(Table).focus()

    def _do(self, work: Callable[[Job], object], told: str) -> None:
        job = self._job
        if job is None:
            return

        def done(_: object) -> None:
            self.notify(tr(told), markup=False)
            self.shell.look_now()

        self.context.calls.start(
            self, lambda say, cancel: work(job), done=done, failed=self._complain
        )

    def _complain(self, error: LocalqError) -> None:
        self.shell.complain(error)

    def _held(self, job: Job) -> str:
        held = self._memory.get(job.id) if job.state.is_active else None
        return byte_size(held) if held is not None else ""

    def _columns(self) -> list[Column[Job]]:
        now = self.context.clock.now
        return [
            Column(
                msg("State"),
                lambda job, _: Text(
                    f"{MARKS[job.state]} {state_name(job.state)}", _STYLES.get(job.state, "")
                ),
                width=13,
            ),
            Column(msg("Job"), lambda job, _: Text(job_title(job)), least=32),
            Column(msg("Progress"), lambda job, _: Text(_bar(job)), width=_BAR + 6, rank=1),
            Column(msg("Speed"), lambda job, _: Text(_speed(job)), width=11, right=True, rank=3),
            Column(
                msg("Memory"),
                lambda job, _: Text(self._held(job), "dim"),
                width=9,
                right=True,
                rank=4,
            ),
            Column(msg("When"), lambda job, _: _when(job, now()), width=11, rank=2),
        ]


def _bar(job: Job) -> str:
    known = job.state.is_resumable and share(job.progress) is not None
    return bar(job.progress, _BAR) if job.state.is_active or known else ""


def _speed(job: Job) -> str:
    speed = job.progress.speed
    if job.state is not JobState.RUNNING or not speed or job.progress.unit is Unit.SECONDS:
        return ""
    unit = job.progress.unit
    return f"{byte_size(speed)}/s" if unit is Unit.BYTES else f"{speed:,.0f} {tr('tok')}/s"


def _when(job: Job, now: float) -> Text:
    return Text(age(job.ended_at or job.started_at or job.created_at, now), "dim")


def _about(job: Job) -> Text:
    text = Text(overflow="fold")
    text.append(job_title(job), "bold")
    text.append(f"\n{MARKS[job.state]} {state_name(job.state)} · ")
    text.append(tr("job {id}", id=job.id))
    if job.detached:
        text.append(" · " + tr("in the background"))
    if job.state is JobState.RUNNING and job.progress.stage:
        text.append(f"\n\n{printable(tr(job.progress.stage))}")
        text.append(f"\n{bar(job.progress, 24)}\n{amount(job.progress)}")
    if job.state is JobState.FINISHED and job.result:
        text.append(f"\n\n{printable(job.result)}")
    if job.error:
        text.append(f"\n\n✗ {printable(job.error)}", "bold")
        if job.hint:
            text.append(f"\n→ {printable(in_the_app(job.hint))}", "dim")
    if job.state is JobState.INTERRUPTED:
        text.append("\n\n" + tr("Its process is gone; it can go on where it was (r)."))
    return text.append("\n")
