"""What is to be said of a message besides its text."""

from __future__ import annotations

from localq.messages import Message, msg
from localq.sessions import MessageState, MessageTree, SessionMessage

__all__ = ["message_end", "message_notes"]


def message_notes(tree: MessageTree[SessionMessage], message: SessionMessage) -> list[Message]:
    """Which of how many it is, and how fast it came."""
    notes = []
    place = tree.place(message.id)
    if place.count > 1:
        notes.append(msg("{number} of {count}", number=place.number, count=place.count))
    if speed := message.tokens_per_second:
        notes.append(
            msg("{tokens} tokens, {speed:.1f}/s", tokens=message.generated_tokens, speed=speed)
        )
    if message.prompt_seconds:
        notes.append(msg("begun after {seconds:.1f} s", seconds=message.prompt_seconds))
    return notes


def message_end(message: SessionMessage) -> Message | None:
    """Why it ends where it does; None: it is whole."""
    match message.state, message.stop:
        case MessageState.INTERRUPTED, _:
            return msg("cut off: its program ended")
        case MessageState.GROWING, _:
            return msg("being written")
        case _, "cancelled":
            return msg("stopped")
        case _, "length":
            return msg("cut off: the longest reply allowed")
        case _, "context":
            return msg("cut off: the context is full")
    return None
