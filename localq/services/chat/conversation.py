"""Talk to a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from localq.chat.message import ChatMessage
from localq.chat.prompt import fit_chat, fit_text, join_text, room_for_reply
from localq.closing import Closing
from localq.engine.client import Generation, LoadedModel
from localq.engine.sampling import SamplingParams
from localq.engine.sampling_defaults import sampling_for
from localq.errors import UnsupportedError
from localq.events import Emit, Note, ignore
from localq.library import Library, Model
from localq.messages import msg

if TYPE_CHECKING:
    from localq.chat.template import ChatTemplate
    from localq.planning.offload_plan import PlanOptions
    from localq.services.hosting.pool import ModelPool

__all__ = ["ChatEngine", "Conversation"]


class ChatEngine(Protocol):
    """What a conversation needs of `localq.services.hosting.hosted.HostedModel`."""

    def revive(self, *, cancel: threading.Event | None = None) -> bool: ...

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]: ...

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
    ) -> Generation: ...

    def close(self) -> None: ...


class Conversation(Closing):
    """Messages and the loaded model that answers them, which is given back at the end: leave it
    by `with` or `close`. A model with a chat template is talked to in its own format; one without
    continues the text of all messages. Not for several threads at once, but `close` works from
    any."""

    def __init__(
        self,
        engine: ChatEngine,
        model: Model,
        loaded: LoadedModel,
        template: ChatTemplate | None,
        *,
        emit: Emit = ignore,
        system: str | None = None,
        metadata: Mapping[str, object] | None = None,
        pool: ModelPool | None = None,
    ) -> None:
        """`pool` is closed with the conversation."""
        self.model = model
        self._metadata = metadata or {}
        self.loaded = loaded
        self._engine = engine
        self._pool = pool
        self._template = template
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
        n_ctx: int | None = None,
        plan_options: PlanOptions | None = None,
        force: bool = False,
        system: str | None = None,
        template: str | None = None,
        cancel: threading.Event | None = None,
        pool: ModelPool | None = None,
        owner: str = "chat",
    ) -> Conversation:
        """Load a model of the library, or a .gguf file, as it is planned for this machine; None:
        the one used last. `pool` is where others may have it loaded; without one it is this
        conversation's own, and `owner` what `localq ps` calls the program.

        `plan_options` go before those saved for the model, `n_ctx` (tokens) before both.
        NotFoundError, BadFileError, UsageError (an option makes no sense), UnsupportedError (its
        template does not work, or what it takes cannot be told), EngineError, Cancelled while it
        loads. `force` loads also what cannot fit, or what nothing can be told of. `template` goes
        before the model's own: a file, a name, or "none".
        """
        from localq.planning.offload_plan import PlanOptions
        from localq.services.hosting.pool import ModelPool

        plan_options = plan_options or PlanOptions()
        if n_ctx is not None:
            plan_options = replace(plan_options, n_ctx=n_ctx)
        own = None if pool else ModelPool(library, owner=owner)
        try:
            used = pool or own
            assert used
            prepared = used.prepare(model, plan_options, force=force, cancel=cancel)
            chat_template = _template(prepared.metadata, template)
            hosted = used.open(prepared, emit=emit, cancel=cancel)
        except BaseException:
            if own:
                own.close()
            raise
        loaded = hosted.loaded
        if 0 < loaded.n_ctx_train < loaded.n_ctx:
            emit(
                Note(
                    msg(
                        "a context of {n_ctx:,} tokens is more than the {n_ctx_train:,} the model"
                        " was trained with",
                        n_ctx=loaded.n_ctx,
                        n_ctx_train=loaded.n_ctx_train,
                    ),
                    warning=True,
                )
            )
        return cls(
            hosted,
            hosted.model,
            loaded,
            chat_template,
            emit=emit,
            system=system,
            metadata=prepared.metadata,
            pool=own,
        )

    def close(self) -> None:
        """Be done with the model; unless others use it, its memory is given back."""
        self._engine.close()
        if self._pool:
            self._pool.close()

    @property
    def continues_text(self) -> bool:
        """Whether the model has no chat template, so that a reply goes on where the text ends."""
        return self._template is None

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """What the next reply will take into account."""
        return self._messages

    def sampling(self, **given: Any) -> SamplingParams:
        """Settings of a reply: what is given and not None, else what the model's makers recommend,
        else localq's own. UsageError."""
        return sampling_for(self._metadata, given)

    def reply(
        self,
        text: str,
        sampling: SamplingParams,
        *,
        cancel: threading.Event,
        on_text: Callable[[str], None],
    ) -> Generation:
        """Answer `text`; `on_text` gets the reply as it comes. A cancelled reply stays in the
        conversation as far as it got. EngineError, or UnsupportedError from the template: the
        conversation is as it was before, and where the engine has died the next reply starts it
        again."""
        if self._engine.revive(cancel=cancel):
            self._emit(Note(msg("{name} was loaded again", name=self.model.name)))
        messages = (*self._messages, ChatMessage("user", text))
        room = room_for_reply(self.loaded.n_ctx, sampling.max_tokens)
        if self._template:
            messages, tokens = self._chat_prompt(messages, self._template, room)
        else:
            tokens = self._text_prompt(messages, room)
        generation = self._engine.generate(tokens, sampling, cancel=cancel, on_text=on_text)
        if generation.text or generation.stop != "cancelled":
            self._messages = (*messages, ChatMessage("assistant", generation.text))
        return generation

    def _chat_prompt(
        self, messages: tuple[ChatMessage, ...], template: ChatTemplate, room: int
    ) -> tuple[tuple[ChatMessage, ...], list[int]]:
        def tokenize(some: Sequence[ChatMessage]) -> list[int]:
            text = template.render(some)
            has_bos = bool(template.bos_token) and text.startswith(template.bos_token)
            return self._engine.tokenize(text, add_special=not has_bos)

        n_ctx = self.loaded.n_ctx
        fitted = fit_chat(messages, tokenize, n_ctx=n_ctx, room=room)
        if fitted.dropped and len(fitted.tokens) < n_ctx:
            self._warn(msg("the oldest {dropped} messages were left out", dropped=fitted.dropped))
        return fitted.messages, fitted.tokens

    def _text_prompt(self, messages: tuple[ChatMessage, ...], room: int) -> list[int]:
        n_ctx = self.loaded.n_ctx
        tokens = self._engine.tokenize(join_text(messages))
        if len(messages) == 1 or len(tokens) + room <= n_ctx:
            return tokens
        prefix = self._engine.tokenize("")
        new = self._engine.tokenize(messages[-1].content, add_special=False)
        fitted = fit_text(tokens, prefix, len(new), n_ctx=n_ctx, room=room)
        if fitted.dropped > self._cut and len(fitted.tokens) < n_ctx:
            self._cut = fitted.dropped
            self._warn(
                msg(
                    "the first {dropped:,} tokens of the text were left out", dropped=fitted.dropped
                )
            )
        return fitted.tokens

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


def _template(metadata: Mapping[str, object], choice: str | None) -> ChatTemplate | None:
    source = metadata.get("tokenizer.chat_template")
    if choice is not None:
        from localq.chat.named_templates import read_template

        source = read_template(choice)
    if not isinstance(source, str) or not source.strip():
        return None
    from localq.chat.template import ChatTemplate

    try:
        return ChatTemplate(source, _special(metadata, "bos"), _special(metadata, "eos"))
    except UnsupportedError as error:
        if choice is not None:
            raise UnsupportedError(
                msg("{choice}: {message}", choice=choice, message=error.message), hint=error.hint
            ) from None
        hint = error.hint or "run it with another: --template chatml, or a file's, or none"
        raise UnsupportedError(error.message, hint=hint) from None


def _special(metadata: Mapping[str, object], which: str) -> str:
    """The text of the BOS or EOS token; "" where the model has none."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    id_ = metadata.get(f"tokenizer.ggml.{which}_token_id")
    if isinstance(tokens, list) and isinstance(id_, int) and 0 <= id_ < len(tokens):
        return str(tokens[id_])
    return ""
