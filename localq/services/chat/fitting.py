"""What of a session the model gets to read, and what is left out where it is too much.

Nothing is left out unless the session's preset says so, and what is left out is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from localq.chat_format.message import ChatMessage, Picture, Role, ToolCall
from localq.chat_format.prompt import fit_chat, room_for_reply
from localq.errors import UsageError
from localq.messages import msg
from localq.services.chat.chat_model import ChatModel, Prompt
from localq.sessions import NewMessage, OnFull, Preset, SessionMessage
from localq.sessions.attachments import with_attachments
from localq.sessions.picture_attachments import picture_files

__all__ = ["ContextFull", "Fitted", "fit", "whole_prompt"]

_LEAST_ROOM = 16
"""With the policy to stop, a reply may have what is left, but not less than a sixteenth."""

Summarise = Callable[[Sequence[SessionMessage], str], str]
"""A summary of messages, which goes on from an earlier one or ""."""


class ContextFull(UsageError):
    """What is to be sent does not fit the context, and nothing may be left out."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Fitted:
    prompt: Prompt
    left_out: tuple[SessionMessage, ...]
    """The oldest messages, which the prompt does not have."""
    summary: str = ""
    """What has just been written to stand for them; "" where nothing was."""


def fit(
    chat: ChatModel,
    preset: Preset,
    path: Sequence[SessionMessage],
    new: NewMessage | None,
    summarise: Summarise,
) -> Fitted:
    """The prompt for a reply to `new`, said after `path`, or to the path's last message.

    ContextFull, with how much it is; UnsupportedError from the template.
    """
    n_ctx = chat.loaded.n_ctx
    start, summary = _before(path, preset.on_full)

    def prompt(some: Sequence[SessionMessage], summary: str) -> Prompt:
        return chat.prompt(_messages(preset, some, new, summary))

    said = path[start:]
    whole = prompt(said, summary)
    if preset.on_full is OnFull.STOP:
        if len(whole.tokens) + max(1, n_ctx // _LEAST_ROOM) > n_ctx:
            raise _full(whole, n_ctx)
        return Fitted(whole, tuple(path[:start]))
    room = room_for_reply(n_ctx, n_ctx)
    if len(whole.tokens) + room <= n_ctx:
        return Fitted(whole, tuple(path[:start]))
    chatted = _messages(preset, said, new, summary)
    fitted = fit_chat(chatted, lambda some: chat.prompt(some).tokens, n_ctx=n_ctx, room=room)
    cut = _advance(said, fitted.dropped)
    left_out = tuple(path[: start + cut])
    if preset.on_full is OnFull.SUMMARISE and cut:
        summary = summarise(said[:cut], summary)
    shorter = prompt(said[cut:], summary)
    if len(shorter.tokens) + max(1, n_ctx // _LEAST_ROOM) > n_ctx:
        raise _full(shorter, n_ctx)
    made = summary if preset.on_full is OnFull.SUMMARISE and cut else ""
    return Fitted(shorter, left_out, made)


def whole_prompt(chat: ChatModel, preset: Preset, path: Sequence[SessionMessage]) -> Prompt:
    """What the model reads of a branch as it stands, whether it fits or not."""
    start, summary = _before(path, preset.on_full)
    return chat.prompt(_messages(preset, path[start:], None, summary))


def _before(path: Sequence[SessionMessage], on_full: OnFull) -> tuple[int, str]:
    """How many messages are out already, and the summary that stands for them. A cut stays where
    it is for several turns, so that what the engine has read is of use."""
    place = {message.id: index for index, message in enumerate(path)}
    for message in reversed(path):
        index = place.get(message.left_out_id) if message.left_out_id is not None else None
        if index is None:
            continue
        if message.role == "summary":
            return index + 1, message.content
        if on_full is OnFull.SLIDE:
            return index + 1, ""
    return 0, ""


def _messages(
    preset: Preset,
    path: Sequence[SessionMessage],
    new: NewMessage | None,
    summary: str,
) -> list[ChatMessage]:
    said: list[ChatMessage] = []
    every: list[SessionMessage | NewMessage] = [*path, *([new] if new else [])]
    for message in every:
        if message.role == "summary":
            continue
        said.append(_chat_message(message.role, message))
    if summary:
        # Part of a message that is there, for many templates take a system message only once.
        first = said[0] if said else ChatMessage("user", "")
        content = f"{_HEADING}\n{summary}\n\n---\n\n{first.content}"
        said[:1] = [replace(first, content=content)]
    system = [ChatMessage("system", preset.system)] if preset.system else []
    return [*system, *said]


def _chat_message(role: Role, message: SessionMessage | NewMessage) -> ChatMessage:
    texts = [one for one in message.attachments if not one.media]
    return ChatMessage(
        role,
        with_attachments(message.content, texts),
        pictures=tuple(map(Picture, picture_files(message.attachments))),
        reasoning=message.reasoning,
        tool_calls=tuple(ToolCall(c.name, c.arguments, c.id) for c in message.tool_calls),
        tool_call_id=message.tool_call_id,
    )


_HEADING = "[A summary of our conversation so far]"


def _advance(said: Sequence[SessionMessage], dropped: int) -> int:
    """How many of the messages `dropped` of those that the model reads are."""
    count = 0
    for index, message in enumerate(said):
        if count == dropped:
            return index
        count += message.role != "summary"
    return len(said)


def _full(prompt: Prompt, n_ctx: int) -> ContextFull:
    return ContextFull(
        msg(
            "the conversation takes {used:,} tokens, and the context of {n_ctx:,} has no room for"
            " a reply; nothing was sent",
            used=len(prompt.tokens),
            n_ctx=n_ctx,
        ),
        hint=msg(
            "a larger context (--ctx N), a shorter message, or leave out what is old"
            " (--on-full slide, or summarise)"
        ),
    )
