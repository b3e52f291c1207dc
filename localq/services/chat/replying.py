"""One reply, from the prompt to the store, which has it while it grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from localq.chat_format.reply import CallMade, ContentText, Event, ReasoningText
from localq.engine.client import Generation
from localq.engine.sampling import SamplingParams
from localq.errors import Cancelled, LocalqError, NotFoundError
from localq.messages import msg
from localq.services.chat.chat_model import ChatModel, Prompt
from localq.services.chat.reply_saver import ReplySaver
from localq.sessions import MessageState, NewMessage, SessionStore, ToolCall

__all__ = ["GrowingReply", "NothingSaid", "write_reply"]


class NothingSaid(Exception):
    """The reply did not begin, because of `cause`."""

    def __init__(self, cause: LocalqError) -> None:
        self.cause = cause


@dataclass(frozen=True, slots=True)
class GrowingReply:
    """A message of the store that waits for its text."""

    session_id: int
    message_id: int
    left_out_id: int | None


def write_reply(
    store: SessionStore,
    chat: ChatModel,
    reply: GrowingReply,
    prompt: Prompt,
    sampling: SamplingParams,
    *,
    cancel: threading.Event,
    on_event: Callable[[Event], None],
) -> None:
    """Let the model answer, and the store keep what it says. NothingSaid; NotFoundError: another
    program has removed the reply. After any other error what there is of it is interrupted."""
    parser = chat.parser(prompt)
    calls: list[ToolCall] = []

    def keep(content: str, reasoning: str) -> None:
        store.grow(reply.session_id, reply.message_id, content, reasoning)

    def take(event: Event) -> None:
        match event:
            case ContentText(text):
                saver.add(text)
            case ReasoningText(text):
                saver.add(reasoning=text)
            case CallMade(_, call):
                calls.append(ToolCall(call.name, call.arguments, call.id))
        on_event(event)

    def take_text(text: str) -> None:
        for event in parser.feed(text):
            take(event)

    def finish(generation: Generation | None) -> None:
        saver.close()
        new = NewMessage(
            "assistant",
            saver.content,
            saver.reasoning,
            tuple(calls),
            state=MessageState.WHOLE if generation else MessageState.INTERRUPTED,
            left_out_id=reply.left_out_id,
        )
        if generation:
            new = _with_figures(new, generation)
        store.finish(reply.session_id, reply.message_id, new)

    with ReplySaver(keep, gone=NotFoundError, on_gone=cancel.set) as saver:
        try:
            generation = chat.engine.generate(
                prompt.tokens,
                sampling,
                pictures=prompt.pictures,
                cancel=cancel,
                on_text=take_text,
            )
            for event in parser.finish():
                take(event)
        except BaseException as error:
            saver.close()
            said = saver.content or saver.reasoning or calls
            if isinstance(error, LocalqError) and not said:
                raise NothingSaid(error) from None
            finish(None)
            raise
        said = saver.content or saver.reasoning or calls
        if generation.stop == "cancelled" and not said and saver.problem is None:
            raise NothingSaid(Cancelled(msg("stopped; nothing was said")))
        finish(generation)


def _with_figures(reply: NewMessage, generation: Generation) -> NewMessage:
    return replace(
        reply,
        prompt_tokens=generation.prompt_tokens,
        reused_tokens=generation.reused_tokens,
        generated_tokens=generation.generated_tokens,
        prompt_seconds=generation.prompt_seconds,
        generate_seconds=generation.generate_seconds,
        stop=generation.stop,
    )
