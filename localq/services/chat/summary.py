"""A summary of what no longer fits the context, by the model that the conversation is with."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from localq.chat_format.message import ChatMessage
from localq.chat_format.reply import ContentText
from localq.errors import Cancelled, UnsupportedError
from localq.messages import msg
from localq.services.chat.chat_model import ChatModel, Prompt
from localq.sessions import SessionMessage
from localq.sessions.attachments import with_attachments

__all__ = ["summarise"]

_ASK = (
    "Below is the beginning of a conversation between a user and an assistant. Write a summary of"
    " it that can stand in its place: what the user wants, facts, names, numbers, decisions, code"
    " that still matters, and what is open. Write in the language of the conversation, in short"
    " sentences, without an introduction."
)
_SHARE = 8
"""A summary takes at most so much of the context."""
_NAMES = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def summarise(
    chat: ChatModel,
    messages: Sequence[SessionMessage],
    earlier: str,
    cancel: threading.Event,
) -> str:
    """What stands for the messages, and for what the `earlier` summary stands for. As many as fit
    are read at a time. Cancelled; UnsupportedError for a model that only continues text, or one
    that writes nothing."""
    if chat.continues_text:
        raise UnsupportedError(
            msg("{name} only continues text: it cannot summarise", name=chat.model.name),
            hint=msg("leave out what is old instead: --on-full slide"),
        )
    n_ctx = chat.loaded.n_ctx
    most = max(16, n_ctx // _SHARE)
    left = [_line(message) for message in messages if message.role in _NAMES]
    summary = earlier
    while left:
        count = len(left)
        prompt = _prompt(chat, summary, left)
        while count > 1 and len(prompt.tokens) + most > n_ctx:
            count = max(1, count // 2)
            prompt = _prompt(chat, summary, left[:count])
        if len(prompt.tokens) + most > n_ctx:  # one message alone is too much: its beginning does
            prompt = _prompt(chat, summary, [_beginning(left[0], len(prompt.tokens), n_ctx - most)])
        summary = _answer(chat, prompt, most, cancel)
        left = left[count:]
    return summary


def _prompt(chat: ChatModel, earlier: str, lines: Sequence[str]) -> Prompt:
    before = f"Summary so far:\n{earlier}\n\n" if earlier else ""
    text = f"{_ASK}\n\n{before}" + "\n\n".join(lines) + "\n\nSummary:"
    return chat.prompt([ChatMessage("user", text)])


def _beginning(line: str, tokens: int, room: int) -> str:
    over = max(0, tokens - room)
    return line[: max(200, len(line) * (room - over) // max(1, tokens))] + " …"


def _answer(chat: ChatModel, prompt: Prompt, most: int, cancel: threading.Event) -> str:
    parser = chat.parser(prompt)
    said: list[str] = []

    def take(text: str) -> None:
        said.extend(e.text for e in parser.feed(text) if isinstance(e, ContentText))

    sampling = chat.sampling(temperature=0.3, max_tokens=most)
    done = chat.engine.generate(prompt.tokens, sampling, cancel=cancel, on_text=take)
    said.extend(e.text for e in parser.finish() if isinstance(e, ContentText))
    if done.stop == "cancelled":
        raise Cancelled(msg("stopped; nothing was sent"))
    summary = "".join(said).strip()
    if not summary:
        raise UnsupportedError(
            msg("{name} wrote no summary", name=chat.model.name),
            hint=msg("leave out what is old instead: --on-full slide"),
        )
    return summary


def _line(message: SessionMessage) -> str:
    return f"{_NAMES[message.role]}: {with_attachments(message.content, message.attachments)}"
