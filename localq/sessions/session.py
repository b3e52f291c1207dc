"""What is known of a session besides its messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from localq.sessions.preset import Preset
from localq.sessions.tree import MessageTree, N

__all__ = ["MAX_TITLE", "Session", "shown_end", "title_of"]

MAX_TITLE = 200
_SHOWN = 60
_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Session:
    id: int
    title: str
    title_given: bool
    """By the user; else it was made from what was said first."""
    model: str
    """Its name in the library, or the file's path; "" where none answered yet."""
    model_hash: str | None
    """Of the file, as "sha256:..." or, where that was never computed, "sample:..."."""
    plan: Mapping[str, object]
    """Options for loading the model that the user gave for this session."""
    preset: Preset
    """As it was when the session began, and as the session's own settings changed it since."""
    pinned: bool
    archived: bool
    tags: tuple[str, ...]
    created_at: float
    updated_at: float
    leaf_id: int | None
    """The message that the session goes on after; None: there is none yet."""
    message_count: int
    """In all branches."""
    revision: int
    """Grows with every change, whichever program makes it."""


def shown_end(session: Session, tree: MessageTree[N]) -> int | None:
    """The end of the branch that stands for a session where one is shown, exported or copied: the
    one it goes on with or, where it goes on from its beginning, the one that was spoken on last.
    None: there are no messages."""
    return session.leaf_id if session.leaf_id in tree else tree.newest_leaf()


def title_of(text: str) -> str:
    """A title made from what was said first: its first sentence, at most 60 characters; "" where
    it says nothing."""
    lines = [line.strip().lstrip("#>*- ").strip() for line in text.splitlines()]
    line = next((line for line in lines if line and not line.startswith("```")), "")
    line = " ".join("".join(c if c.isprintable() else " " for c in line[:1000]).split())
    sentence = _END.split(line, maxsplit=1)[0]
    if len(sentence) <= _SHOWN:
        return sentence
    cut = sentence[: _SHOWN - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > _SHOWN // 2 else cut) + "…"
