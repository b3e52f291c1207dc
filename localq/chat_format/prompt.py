"""From messages to the tokens a model reads, within its context.

Where a conversation outgrows the context, more of its oldest part is left out than would have to
be: else every reply from then on would mean cutting, and reading everything anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localq.chat_format.message import ChatMessage

__all__ = ["FittedChat", "FittedText", "fit_chat", "fit_text", "join_text", "room_for_reply"]


@dataclass(frozen=True, slots=True)
class FittedChat:
    messages: tuple[ChatMessage, ...]
    """Without those that were left out."""
    tokens: list[int]
    dropped: int
    """Messages left out."""


@dataclass(frozen=True, slots=True)
class FittedText:
    tokens: list[int]
    dropped: int
    """Tokens left out at the beginning."""


def room_for_reply(n_ctx: int, max_tokens: int) -> int:
    """Tokens of the context to keep free: a quarter, if that many may be generated."""
    return max(1, min(max_tokens, n_ctx // 4))


def fit_chat(
    messages: Sequence[ChatMessage],
    tokenize: Callable[[Sequence[ChatMessage]], list[int]],
    *,
    n_ctx: int,
    room: int,
) -> FittedChat:
    """The messages, the last being the user's new one, without the oldest replies and what they
    answered if all of them leave less than `room` tokens; then half the context is free. The
    system message stays, and so does the new one, even where it does not fit alone."""
    tokens = tokenize(messages)
    if len(tokens) + room <= n_ctx:
        return FittedChat(tuple(messages), tokens, 0)
    start = 1 if messages[0].role == "system" else 0
    # After each reply the conversation may begin anew.
    cuts = [i + 1 for i in range(start, len(messages) - 1) if messages[i].role == "assistant"]
    if not cuts:
        return FittedChat(tuple(messages), tokens, 0)

    def without(cut: int) -> tuple[ChatMessage, ...]:
        return (*messages[:start], *messages[cut:])

    first = bisect_left(cuts, True, key=lambda cut: len(tokenize(without(cut))) <= n_ctx // 2)
    cut = cuts[min(first, len(cuts) - 1)]
    kept = without(cut)
    return FittedChat(kept, tokenize(kept), cut - start)


def join_text(messages: Sequence[ChatMessage]) -> str:
    """The messages as one text to be continued, for a model that was not taught to chat."""
    text = ""
    for message in messages:
        new = message.content
        # A reply brings its own space; the user's next words need one.
        if message.role == "user" and text[-1:].strip() and new[:1].strip():
            text += " "
        text += new
    return text


def fit_text(
    tokens: list[int], prefix: Sequence[int], new: int, *, n_ctx: int, room: int
) -> FittedText:
    """The tokens of a text, without its beginning if it leaves less than `room`. `prefix` begins
    every text (BOS) and stays, and so do the last `new` tokens, which the user has just written."""
    excess = len(tokens) + room - n_ctx
    if excess <= 0:
        return FittedText(tokens, 0)
    # In steps, so that the text begins at the same place for several replies.
    step = max(1, n_ctx // 4)
    dropped = min(-(-excess // step) * step, max(0, len(tokens) - len(prefix) - new))
    return FittedText([*prefix, *tokens[len(prefix) + dropped :]], dropped)
