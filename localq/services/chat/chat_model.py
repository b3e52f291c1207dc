"""A loaded model that is talked to: messages become tokens, tokens a reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from localq.chat_format.message import ChatMessage
from localq.chat_format.pictures import mark_pictures
from localq.chat_format.prompt import join_text
from localq.chat_format.reply import PLAIN, ReplyParser
from localq.closing import Closing
from localq.engine.client import Generation, LoadedModel
from localq.engine.protocol import Pictures
from localq.engine.sampling import SamplingParams
from localq.engine.sampling_defaults import sampling_for
from localq.events import Emit, Note, ignore
from localq.library import Library, Model
from localq.messages import msg

if TYPE_CHECKING:
    from localq.chat_format.template import ChatTemplate
    from localq.chat_format.thinking import ThinkingControl
    from localq.planning.offload_plan import PlanOptions
    from localq.services.hosting.pool import ModelPool

__all__ = ["ChatEngine", "ChatModel", "Prompt", "check_chat_model"]


class ChatEngine(Protocol):
    """What a conversation needs of `localq.services.hosting.hosted.HostedModel`."""

    def revive(self, *, cancel: threading.Event | None = None) -> bool: ...

    def tokenize(
        self,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        pictures: Pictures | None = None,
    ) -> list[int]: ...

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        *,
        pictures: Pictures | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None],
    ) -> Generation: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads, as a text and as tokens."""

    text: str
    tokens: list[int]
    pictures: Pictures | None = None


def check_chat_model(library: Library, model: str, template: str | None = None) -> None:
    """Raise what would keep a model from being opened, as far as its file's header tells, which
    takes no time: NotFoundError, BadFileError, UnsupportedError, UsageError."""
    from localq.chat_format.choose_template import choose_template
    from localq.formats.gguf import read_gguf
    from localq.services.library.locate import locate_gguf
    from localq.services.library.writes_text import check_writes_text

    found = locate_gguf(library, model)
    file = read_gguf(found.path)
    check_writes_text(found, file)
    choose_template(file.metadata, template)


class ChatModel(Closing):
    """A loaded model and its chat template; a model without one continues the text of all
    messages. It is given back at the end: leave it by `with` or `close`, which works from any
    thread; the rest is not for several threads at once."""

    def __init__(
        self,
        engine: ChatEngine,
        model: Model,
        loaded: LoadedModel,
        template: ChatTemplate | None,
        *,
        emit: Emit = ignore,
        metadata: Mapping[str, object] | None = None,
        pool: ModelPool | None = None,
        think: bool | None = None,
        effort: str | None = None,
    ) -> None:
        """`pool` is closed with the model."""
        self._think = think
        self._effort = effort
        self._thinking: ThinkingControl | None = None
        self._format = PLAIN
        if template is not None:
            from localq.chat_format.reply import reply_format
            from localq.chat_format.thinking import thinking_control

            self._thinking = thinking_control(template)
            self._format = reply_format(template.source)
        self.model = model
        self.loaded = loaded
        self.template = template
        self.engine = engine
        self._metadata = metadata or {}
        self._emit = emit
        self._pool = pool
        if effort is not None and not (self._thinking and self._thinking.takes_effort):
            emit(Note(msg("this model cannot be told how much to think"), warning=True))

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
        template: str | None = None,
        cancel: threading.Event | None = None,
        pool: ModelPool | None = None,
        owner: str = "chat",
        think: bool | None = None,
        effort: str | None = None,
    ) -> ChatModel:
        """Load a model of the library, or a .gguf file, as it is planned for this machine; None:
        the one used last. `pool` is where others may have it loaded; without one it is this
        model's own, and `owner` what `localq ps` calls the program.

        `plan_options` go before those saved for the model, `n_ctx` (tokens) before both.
        NotFoundError, BadFileError, UsageError (an option makes no sense), UnsupportedError (its
        template does not work, or what it takes cannot be told), EngineError, Cancelled while it
        loads. `force` loads also what cannot fit, or what nothing can be told of. `template` goes
        before the model's own: a file, a name, or "none". `think`: whether the model thinks before
        it answers, where its template lets one choose; None: as the template has it. `effort`: how
        much, "low", "medium", "high" or what else the template takes; "none": not at all.
        """
        from localq.chat_format.choose_template import choose_template
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
            chosen = choose_template(prepared.metadata, template)
            hosted = used.open(prepared, emit=emit, cancel=cancel)
        except BaseException:
            if own:
                own.close()
            raise
        if chosen and chosen.warning:
            emit(Note(chosen.warning, warning=True))
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
            chosen.template if chosen else None,
            emit=emit,
            metadata=prepared.metadata,
            pool=own,
            think=think,
            effort=effort,
        )

    def close(self) -> None:
        """Be done with the model; unless others use it, its memory is given back."""
        self.engine.close()
        if self._pool:
            self._pool.close()

    @property
    def continues_text(self) -> bool:
        """Whether the model has no chat template, so that a reply goes on where the text ends."""
        return self.template is None

    def sampling(self, **given: Any) -> SamplingParams:
        """Settings of a reply: what is given and not None, else what the model's makers recommend,
        else localq's own. UsageError."""
        # What thinking and calls are marked by, which are control tokens in many models.
        return sampling_for(
            self._metadata, {**given, "markers": tuple(sorted(self._format.markers))}
        )

    def prompt(self, messages: Sequence[ChatMessage]) -> Prompt:
        """What the model reads of the messages. UnsupportedError from the template."""
        marked = mark_pictures(messages)
        messages = marked.messages
        pictures = Pictures(marked.files, marked.mark) if marked.files else None
        if self.template is None or self._thinking is None:
            text = join_text(messages)
            return Prompt(text, self.engine.tokenize(text, pictures=pictures), pictures)
        messages = self._thinking.messages(messages, self._think, self._effort)
        variables = self._thinking.variables(self._think, self._effort)
        text = self.template.render(messages, variables=variables)
        bos = self.template.bos_token
        has_bos = bool(bos) and text.startswith(bos)
        tokens = self.engine.tokenize(text, add_special=not has_bos, pictures=pictures)
        return Prompt(text, tokens, pictures)

    def count(self, text: str) -> int:
        """How many tokens a text takes."""
        return len(self.engine.tokenize(text, add_special=False, parse_special=False))

    def count_picture(self, file: str) -> int:
        """How many tokens a picture takes, whose file this is in base64. UnsupportedError."""
        pictures = Pictures((file,), "!")
        return len(self.engine.tokenize("!", add_special=False, pictures=pictures))

    def parser(self, prompt: Prompt) -> ReplyParser:
        """What tells the parts of a reply to `prompt` from one another."""
        return self._format.parser(prompt.text)

    def revive(self, cancel: threading.Event) -> None:
        """Load the model again where its process has died."""
        if self.engine.revive(cancel=cancel):
            self._emit(Note(msg("{name} was loaded again", name=self.model.name)))
