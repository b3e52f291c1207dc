"""Sessions and their messages, for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from localq.cli import output
from localq.display import age
from localq.messages import Message, msg, translate
from localq.services.chat.message_notes import message_end, message_notes
from localq.sessions import MessageTree, Session, SessionMessage
from localq.sessions.message import left_out_after
from localq.sessions.search import Found

__all__ = ["left_out_line", "numbered_notes", "show_found", "show_messages", "show_sessions"]


def show_sessions(sessions: Sequence[Session], now: float) -> None:
    headings = [msg("ID"), msg("TITLE"), msg("MODEL"), msg("MESSAGES"), msg("USED")]
    tagged = any(session.tags for session in sessions)
    if tagged:
        headings.append(msg("TAGS"))
    output.table(
        headings,
        (
            [
                str(session.id),
                ("* " if session.pinned else "") + (session.title or translate(msg("(untitled)"))),
                session.model.rpartition("/")[2],
                str(session.message_count),
                age(session.updated_at, now),
                *([", ".join(session.tags)] if tagged else []),
            ]
            for session in sessions
        ),
    )


def show_found(found: Sequence[Found]) -> None:
    output.table(
        (msg("ID"), msg("TITLE"), msg("FOUND")),
        (
            (
                str(one.session.id),
                one.session.title or translate(msg("(untitled)")),
                one.snippet if one.message_id is not None else "",
            )
            for one in found
        ),
    )


def show_messages(
    session: Session, tree: MessageTree[SessionMessage], messages: Iterable[SessionMessage]
) -> None:
    """A session as a text to read."""
    messages = list(messages)
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.created_at))
    output.line(f"{session.id}  {session.title}")
    output.line(" · ".join(part for part in (session.model, date, session.preset.name) if part))
    if session.preset.system:
        _message(translate(msg("System")), "", session.preset.system)
    left_out = left_out_after(messages)
    for message in messages:
        who = translate(_NAMES[message.role])
        _message(who, numbered_notes(tree, message), message.content, message)
        if message.id == left_out:
            output.line("")
            output.line(left_out_line())


_NAMES = {
    "user": msg("You"),
    "assistant": msg("Model"),
    "system": msg("System"),
    "tool": msg("Tool"),
    "summary": msg("Summary of what no longer fitted"),
}


def left_out_line() -> Message:
    return msg("--- what stands above is no longer in the context ---")


def numbered_notes(tree: MessageTree[SessionMessage], message: SessionMessage) -> str:
    """The message's number, and what else is to be said of it besides its text."""
    notes = [f"#{message.id}", *message_notes(tree, message)]
    if end := message_end(message):
        notes.append(end)
    return " · ".join(map(translate, notes))


def _message(who: str, notes: str, text: str, message: SessionMessage | None = None) -> None:
    output.line("")
    output.heading(who, notes)
    for attachment in message.attachments if message else ():
        output.line(
            msg(
                "[{name}: {tokens} tokens]",
                name=attachment.name,
                tokens="?" if attachment.tokens is None else f"{attachment.tokens:,}",
            )
        )
    if message and message.reasoning:
        output.dim(message.reasoning.strip("\n"))
    if text:
        output.text(text.strip("\n"))
    for call in message.tool_calls if message else ():
        output.text(f"{call.name}({call.arguments})")
