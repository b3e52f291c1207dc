"""A message as the transcript shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from localq.display import printable
from localq.messages import translate
from localq.services.chat.message_notes import message_end, message_notes
from localq.sessions import MessageTree, SessionMessage
from localq.tui.text import tr

__all__ = ["Kind", "Turn", "turn_of"]


class Kind(Enum):
    USER = auto()
    REPLY = auto()
    OTHER = auto()
    """A system message, a tool's answer, a summary."""
    INTRODUCTION = auto()
    """Stands where nothing was said yet."""
    REMARK = auto()
    ERROR = auto()


@dataclass(frozen=True, slots=True)
class Turn:
    kind: Kind
    speaker: str = ""
    text: str = ""
    thought: str = ""
    notes: str = ""
    """How fast, and which of how many."""
    end: str = ""
    """Why it ends where it does, unless it is whole."""
    files: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    left_out: bool = False
    """The model reads neither this nor anything before it."""
    message_id: int | None = None
    """In the store."""


def turn_of(
    tree: MessageTree[SessionMessage], message: SessionMessage, left_out_id: int | None
) -> Turn:
    """`left_out_id`: the last message that the model no longer reads."""
    match message.role:
        case "user":
            kind, speaker = Kind.USER, tr("You")
        case "assistant":
            kind, speaker = Kind.REPLY, printable(message.model).rpartition("/")[2] or tr("Model")
        case "summary":
            kind, speaker = Kind.OTHER, tr("Summary of what no longer fitted")
        case "tool":
            kind, speaker = Kind.OTHER, tr("Tool")
        case _:
            kind, speaker = Kind.OTHER, tr("System")
    return Turn(
        kind,
        speaker,
        message.content,
        message.reasoning,
        " · ".join(map(translate, message_notes(tree, message))),
        translate(message_end(message) or ""),
        tuple(file_text(one.name, one.tokens) for one in message.attachments),
        tuple(printable(f"{call.name}({call.arguments})") for call in message.tool_calls),
        left_out=message.id == left_out_id,
        message_id=message.id,
    )


def file_text(name: str, tokens: int | None) -> str:
    """ "notes.txt: 412 tokens"."""
    if tokens is None:
        return printable(name)
    return tr("{name}: {tokens:,} tokens", name=printable(name), tokens=tokens)
