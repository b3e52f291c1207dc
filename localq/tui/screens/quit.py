"""Leaving while jobs run that were begun here: they can go on, for they need no app."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from localq.jobs import Job
from localq.tui.job_text import job_title
from localq.tui.screens.confirm import Answer, QuestionDialog
from localq.tui.text import tr

__all__ = ["QuitDialog"]

_SHOWN = 5


class QuitDialog(QuestionDialog):
    """Dismissed with "leave" (the jobs go on), "stop" (they are stopped) or "stay"."""

    def __init__(self, running: Sequence[Job]) -> None:
        text = Text(overflow="fold")
        text.append(tr("Jobs are still running. They can go on without the app."))
        text.append("\n")
        for job in running[:_SHOWN]:
            text.append(f"\n  {job_title(job)}", "bold")
        if len(running) > _SHOWN:
            text.append("\n  …")
        text.append("\n\n" + tr("What a stopped job has done is kept, and can be gone on with."))
        super().__init__(
            tr("Quit"),
            text,
            (
                Answer("leave", tr("Let them run"), "l"),
                Answer("stop", tr("Stop them"), "s", loses=True),
                Answer("stay", tr("Stay"), "n"),
            ),
        )
