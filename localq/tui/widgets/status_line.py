"""The line above the keys: what was just said, else the jobs that run. It covers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.reactive import reactive
from textual.widget import Widget

from localq.display import printable
from localq.jobs import Job, JobState
from localq.tui.job_text import amount, bar, job_title
from localq.tui.text import elide, tr

__all__ = ["Said", "StatusLine"]

_MARKS = {"information": "✓", "warning": "!", "error": "✗"}
_BAR = 12


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the user; `severity` is Textual's."""

    text: str
    severity: str = "information"


class StatusLine(Widget, can_focus=False):
    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status--information",
        "status--warning",
        "status--error",
        "status--job",
    }
    DEFAULT_CSS = """
    StatusLine {
        dock: bottom;
        height: 1;
        margin-bottom: 1;
        padding: 0 1;
        background: $background;
        color: $text-muted;
        .status--information { color: $success; }
        .status--warning { color: $warning; }
        .status--error { color: $error; text-style: bold; }
        .status--job { color: $primary; }
    }
    """

    said: reactive[Said | None] = reactive(None)
    jobs: reactive[Sequence[Job]] = reactive(())

    def render(self) -> Text:
        width = self.content_size.width
        if self.said is not None:
            style = self.get_component_rich_style(f"status--{self.said.severity}", partial=True)
            mark = _MARKS.get(self.said.severity, "·")
            return Text.assemble(
                (mark, style), " ", elide(printable(self.said.text), width - 2), end=""
            )
        active = [job for job in self.jobs if job.state.is_active]
        if not active:
            return Text(end="")
        return self._job(active, width)

    def _job(self, active: Sequence[Job], width: int) -> Text:
        job = active[0]
        style = self.get_component_rich_style("status--job", partial=True)
        more = tr("  and {count} more", count=len(active) - 1) if len(active) > 1 else ""
        waits = job.state is JobState.QUEUED
        done = tr("starting") if waits else amount(job.progress, short=True)
        text = Text.assemble((bar(job.progress, _BAR), style), "  ", end="", no_wrap=True)
        rest = f"{done}{more}"
        room = width - text.cell_len - len(rest) - 2
        text.append(elide(job_title(job), max(room, 10)))
        return text.append(f"  {rest}", "dim")

    async def on_click(self, event: events.Click) -> None:
        await self.run_action("app.show('jobs')")
