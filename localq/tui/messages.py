"""What threads tell the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from localq.tui.jobs import ServiceCall

__all__ = ["JobSpoke"]


class JobSpoke(Message, bubble=False):
    """A job has news to be taken with `job.deliver()`."""

    def __init__(self, job: ServiceCall[Any]) -> None:
        super().__init__()
        self.job = job
