"""Talk to a model, and keep nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from localq.chat_format.message import ChatMessage, Picture
from localq.chat_format.prompt import fit_chat, fit_text, room_for_reply
from localq.chat_format.reply import ContentText, Event, ReasoningText
from localq.closing import Closing
from localq.engine.client import Generation, LoadedModel
from localq.engine.sampling import SamplingParams
from localq.events import Emit, Note, ignore
from localq.library import Library, Model
from localq.messages import msg
from localq.services.chat.chat_model import ChatModel, Prompt

__all__ = ["Conversation"]


class Conversation(Closing):
    """Messages in memory and the loaded model that answers them, which is given back at the end:
    leave it by `with` or `close`. Where the context is full, the oldest messages are left out, and
    the user is told. Not for several threads at once, but `close` works from any."""

    def __init__(self, chat: ChatModel, *, emit: Emit = ignore, system: str | None = None) -> None:
        self._chat = chat
        self._emit = emit
        self._messages = (ChatMessage("system", system),) if system else ()
        self._cut = 0

    @classmethod
    def open(
        cls,
        library: Library,
        model: str | None,
        *,
        emit: Emit = ignore,
        system: str | None = None,
        **options: Any,
    ) -> Conversation:
        """As `ChatModel.open`, with its options."""
        return cls(ChatModel.open(library, model, emit=emit, **options), emit=emit, system=system)

    def close(self) -> None:
        """Be done with the model; unless others use it, its memory is given back."""
        self._chat.close()

    @property
    def model(self) -> Model:
        return self._chat.model

    @property
    def loaded(self) -> LoadedModel:
        return self._chat.loaded

    @property
    def continues_text(self) -> bool:
        """Whether the model has no chat template, so that a reply goes on where the text ends."""
        return self._chat.continues_text

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """What the next reply will take into account."""
        return self._messages

    def sampling(self, **given: Any) -> SamplingParams:
        """As `ChatModel.sampling`."""
        return self._chat.sampling(**given)

    def count(self, text: str) -> int:
        """How many tokens a text takes."""
        return self._chat.count(text)

    def reply(
        self,
        text: str,
        sampling: SamplingParams,
        *,
        pictures: Sequence[Picture] = (),
        cancel: threading.Event,
        on_text: Callable[[str], None],
        on_reasoning: Callable[[str], None] | None = None,
    ) -> Generation:
        """Answer `text`; `on_text` gets what is said as it comes, `on_reasoning` what is thought
        before (None: nobody). A cancelled reply stays in the conversation as far as it got.
        UnsupportedError for `pictures` that the model cannot see, or from the template, and
        EngineError: the conversation is as it was before, and where the engine has died the next
        reply starts it again."""
        self._chat.revive(cancel)
        messages = (*self._messages, ChatMessage("user", text, pictures=tuple(pictures)))
        room = room_for_reply(self.loaded.n_ctx, sampling.max_tokens)
        if self.continues_text:
            prompt = self._text_prompt(messages, room)
        else:
            messages, prompt = self._chat_prompt(messages, room)
        parser = self._chat.parser(prompt)

        def tell(events: Sequence[Event]) -> None:
            for event in events:
                match event:
                    case ContentText(said):
                        on_text(said)
                    case ReasoningText(thought) if on_reasoning:
                        on_reasoning(thought)

        generation = self._chat.engine.generate(
            prompt.tokens,
            sampling,
            pictures=prompt.pictures,
            cancel=cancel,
            on_text=lambda piece: tell(parser.feed(piece)),
        )
        tell(parser.finish())
        if generation.text or generation.stop != "cancelled":
            self._messages = (*messages, parser.message)
        return generation

    def _chat_prompt(
        self, messages: tuple[ChatMessage, ...], room: int
    ) -> tuple[tuple[ChatMessage, ...], Prompt]:
        def tokenize(some: Sequence[ChatMessage]) -> list[int]:
            return self._chat.prompt(some).tokens

        n_ctx = self.loaded.n_ctx
        fitted = fit_chat(messages, tokenize, n_ctx=n_ctx, room=room)
        if fitted.dropped and len(fitted.tokens) < n_ctx:
            self._warn(msg("the oldest {dropped} messages were left out", dropped=fitted.dropped))
        return fitted.messages, self._chat.prompt(fitted.messages)

    def _text_prompt(self, messages: tuple[ChatMessage, ...], room: int) -> Prompt:
        n_ctx = self.loaded.n_ctx
        whole = self._chat.prompt(messages)
        tokens = whole.tokens
        if len(messages) == 1 or len(tokens) + room <= n_ctx:
            return whole
        prefix = self._chat.engine.tokenize("")
        new = self._chat.engine.tokenize(messages[-1].content, add_special=False)
        fitted = fit_text(tokens, prefix, len(new), n_ctx=n_ctx, room=room)
        if fitted.dropped > self._cut and len(fitted.tokens) < n_ctx:
            self._cut = fitted.dropped
            self._warn(
                msg(
                    "the first {dropped:,} tokens of the text were left out", dropped=fitted.dropped
                )
            )
        return Prompt(whole.text, fitted.tokens, whole.pictures)

    def _warn(self, what: str) -> None:
        self._emit(
            Note(
                msg(
                    "the conversation outgrew the context of {n_ctx:,} tokens: {what}",
                    n_ctx=self.loaded.n_ctx,
                    what=what,
                ),
                warning=True,
            )
        )
