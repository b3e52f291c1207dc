"""A file to be sent along with a message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.suggester import Suggester
from textual.widgets import Input

from localq.tui.context import AppContext
from localq.tui.screens.text_dialog import TextDialog
from localq.tui.text import tr

if TYPE_CHECKING:
    from localq.sessions import Attachment

__all__ = ["AttachDialog", "PathSuggester"]

_LOOKED_AT = 2000


class AttachDialog(TextDialog):
    def __init__(self, context: AppContext, take: Callable[[Attachment], object]) -> None:
        attachment = context.services.chat.attachment
        super().__init__(
            context,
            tr("Send a file along"),
            tr("A file of text or code, or a picture; → completes its path"),
            lambda text: take(attachment(text)),
        )

    def on_mount(self) -> None:
        self.query_one(Input).suggester = PathSuggester()


class PathSuggester(Suggester):
    """The first name in the folder that goes on with what is typed."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        folder, slash, begin = value.rpartition("/")
        if not value:
            return None
        where = os.path.expanduser(folder + slash) if slash else "."  # noqa: PTH111
        names = []
        try:
            with os.scandir(Path(where)) as entries:
                for entry, _ in zip(entries, range(_LOOKED_AT), strict=False):
                    if entry.name.startswith(begin) and (begin or not entry.name.startswith(".")):
                        names.append(entry.name + ("/" if entry.is_dir() else ""))
        except OSError:
            return None
        return f"{folder}{slash}{min(names)}" if names else None
