"""Talk to a model in a session that is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localq.chat_format.reply import Event
from localq.closing import Closing
from localq.errors import LocalqError, UsageError
from localq.events import Emit, Note, ignore
from localq.json_codec import fitting_fields, to_json
from localq.library import Library
from localq.messages import msg
from localq.services.chat.chat_model import ChatModel
from localq.services.chat.fitting import Fitted, fit, whole_prompt
from localq.services.chat.model_hash import differs, model_hash
from localq.services.chat.presets import checked_preset, sampling_given
from localq.services.chat.replying import GrowingReply, NothingSaid, write_reply
from localq.services.chat.session_view import SessionView
from localq.services.chat.summary import summarise
from localq.sessions import (
    Attachment,
    MessageState,
    NewMessage,
    Preset,
    Session,
    SessionMessage,
    SessionStore,
)
from localq.sessions.message import left_out_after
from localq.sessions.preset import DEFAULT
from localq.sessions.words import well_formed

if TYPE_CHECKING:
    from localq.planning.offload_plan import PlanOptions
    from localq.services.hosting.pool import ModelPool

__all__ = ["ContextMeter", "SessionChat", "SummaryMade"]


@dataclass(frozen=True, slots=True)
class SummaryMade:
    """The model has written a summary, which from now on stands for the `count` oldest messages."""

    text: str
    count: int


OnEvent = Callable[[Event | SummaryMade], None]


@dataclass(frozen=True, slots=True)
class ContextMeter:
    used: int
    """Tokens that the conversation takes."""
    n_ctx: int
    left_out: int
    """Messages of it that the model no longer reads."""


class SessionChat(SessionView, Closing):
    """A session and the loaded model that answers in it. It is in the store from the first
    message on, and replies while they grow. Not for several threads at once, but `close` works
    from any; other programs may have the same session open."""

    def __init__(
        self,
        store: SessionStore,
        chat: ChatModel,
        *,
        session: Session | None = None,
        preset: Preset = DEFAULT,
        title: str = "",
        model_hash: str | None = None,
        plan: Mapping[str, object] | None = None,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(store, session, title)
        self.chat = chat
        self._emit = emit
        self._preset = preset if session is None else session.preset
        self._model_hash = model_hash
        self._plan = dict(plan or {})

    @classmethod
    def open(
        cls,
        library: Library,
        model: str | None = None,
        *,
        session: Session | None = None,
        preset: Preset | None = None,
        title: str = "",
        plan_options: PlanOptions | None = None,
        template: str | None = None,
        think: bool | None = None,
        effort: str | None = None,
        force: bool = False,
        emit: Emit = ignore,
        cancel: threading.Event | None = None,
        pool: ModelPool | None = None,
    ) -> SessionChat:
        """Load a model and go on with a session, or begin one; without `model` the session's, else
        the one used last. What is given goes before what the session was held with, and stays with
        it. Errors are those of `ChatModel.open`, and UsageError for a preset with nonsense."""
        from localq.planning.offload_plan import PlanOptions

        if preset is not None:
            checked_preset(preset)
        store = SessionStore(library.paths)
        plan: dict[str, object] = {}
        if session is not None and (model is None or model == session.model):
            plan = dict(session.plan)
            model = model or session.model or None
        given = to_json(plan_options, defaults=False) if plan_options else {}
        chosen = {"template": template, "think": think, "effort": effort}
        plan |= given | {name: value for name, value in chosen.items() if value is not None}
        kept_template, kept_effort = (
            value if isinstance(value := plan.get(name), str) else None
            for name in ("template", "effort")
        )
        kept_think = plan.get("think")
        chat = ChatModel.open(
            library,
            model,
            emit=emit,
            plan_options=PlanOptions(**fitting_fields(PlanOptions, plan)),
            force=force,
            template=kept_template,
            think=kept_think if isinstance(kept_think, bool) else None,
            effort=kept_effort,
            cancel=cancel,
            pool=pool,
        )
        try:
            hashed = model_hash(library, chat.model)
            talk = cls(
                store,
                chat,
                session=session,
                preset=preset or DEFAULT,
                title=title,
                model_hash=hashed,
                plan=plan,
                emit=emit,
            )
            if session is not None:
                talk._take_over(session, preset, hashed, plan)
        except BaseException:
            chat.close()
            raise
        return talk

    def close(self) -> None:
        """Be done with the model; the session stays."""
        self.chat.close()

    @property
    def preset(self) -> Preset:
        return self._preset

    @property
    def model_name(self) -> str:
        return self.chat.model.name

    def meter(self) -> ContextMeter:
        """How full the context is. UnsupportedError from the template."""
        path = self.path
        left_out = self._left_out(path)
        last = path[-1] if path else None
        if last is not None and last.prompt_tokens and last.generated_tokens is not None:
            used = last.prompt_tokens + last.generated_tokens
        elif path or self._preset.system:
            used = len(whole_prompt(self.chat, self._preset, path).tokens)
        else:
            used = 0
        return ContextMeter(used, self.chat.loaded.n_ctx, left_out)

    def attach(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...]:
        """The same with the tokens that each will take. UnsupportedError for a picture that the
        model cannot see."""
        return tuple(
            replace(
                one,
                tokens=self.chat.count_picture(one.content)
                if one.media
                else self.chat.count(one.content),
            )
            for one in attachments
        )

    def send(
        self,
        text: str,
        attachments: Sequence[Attachment] = (),
        *,
        given: Mapping[str, object] | None = None,
        cancel: threading.Event,
        on_event: OnEvent,
    ) -> SessionMessage:
        """Say something and get the reply, which comes to `on_event` as it grows. `given` goes
        before the preset's sampling. A cancelled reply stays as far as it got.

        ContextFull, SessionBusy, UnsupportedError: nothing was said. EngineError: what there is of
        a reply stays, as an interrupted one; where there is none, nothing was said.
        """
        if not text.strip() and not attachments:
            raise UsageError(msg("nothing to say to the model"))
        new = NewMessage("user", well_formed(text), attachments=tuple(attachments))
        return self._answer(lambda: (self._leaf, new), given or {}, cancel, on_event)

    def retry(
        self,
        *,
        given: Mapping[str, object] | None = None,
        cancel: threading.Event,
        on_event: OnEvent,
    ) -> SessionMessage:
        """Another reply beside the last one, or the first one where there is none yet."""
        return self._answer(lambda: (self._last_said().id, None), given or {}, cancel, on_event)

    def edit(
        self,
        text: str,
        message_id: int | None = None,
        *,
        given: Mapping[str, object] | None = None,
        cancel: threading.Event,
        on_event: OnEvent,
    ) -> SessionMessage:
        """Say something else in place of a message, of the last one for None: a new branch."""

        def target() -> tuple[int | None, NewMessage]:
            old = self._last_said() if message_id is None else self._message(message_id)
            return old.parent_id, NewMessage("user", said, attachments=old.attachments)

        said = well_formed(text)
        return self._answer(target, given or {}, cancel, on_event)

    def set_preset(self, preset: Preset) -> None:
        """Answer otherwise from now on. UsageError: it makes no sense."""
        self._preset = checked_preset(preset)
        if self._session is not None:
            self._session = self._store.set_preset(self._session.id, preset)

    def _answer(
        self,
        target: Callable[[], tuple[int | None, NewMessage | None]],
        given: Mapping[str, object],
        cancel: threading.Event,
        on_event: OnEvent,
    ) -> SessionMessage:
        """`target` says, once nobody else can write, after which message what is said."""
        self.chat.revive(cancel)
        asked = sampling_given(self._preset, given)
        session = self._session or self._begin()
        try:
            with self._store.writing(session.id):
                self._follow()
                parent_id, new = target()
                fitted = self._fit(self._tree.path(parent_id), new, cancel, on_event)
                room = max(1, self.chat.loaded.n_ctx - len(fitted.prompt.tokens))
                sampling = self.chat.sampling(**{"max_tokens": room, **asked})
                drafts = self._drafts(fitted, new)
                ids = self._store.say(session.id, parent_id, *drafts)
                reply = GrowingReply(session.id, ids[-1], drafts[-1].left_out_id)
                try:
                    write_reply(
                        self._store,
                        self.chat,
                        reply,
                        fitted.prompt,
                        sampling,
                        cancel=cancel,
                        on_event=on_event,
                    )
                except NothingSaid as nothing:
                    self._store.take_back(session.id, ids, parent_id)
                    raise nothing.cause from None
                finally:
                    self._reload()
                    self._leaf = self._usual_leaf()
        finally:
            self._forget_if_empty(session)
        return self._tree[ids[-1]]

    def _fit(
        self,
        path: Sequence[SessionMessage],
        new: NewMessage | None,
        cancel: threading.Event,
        on_event: OnEvent,
    ) -> Fitted:
        def shorten(messages: Sequence[SessionMessage], earlier: str) -> str:
            count = sum(message.role != "summary" for message in messages)
            what = msg("the context is full: summarising the oldest {count} messages", count=count)
            self._emit(Note(what))
            text = summarise(self.chat, messages, earlier, cancel)
            on_event(SummaryMade(text, count))
            return text

        fitted = fit(self.chat, self._preset, path, new, shorten)
        fresh = len(fitted.left_out) - self._left_out(path)
        if fresh > 0 and not fitted.summary:
            self._emit(
                Note(
                    msg(
                        "the context of {n_ctx:,} tokens is full: the oldest {count} messages are"
                        " left out",
                        n_ctx=self.chat.loaded.n_ctx,
                        count=len(fitted.left_out),
                    ),
                    warning=True,
                )
            )
        return fitted

    def _drafts(self, fitted: Fitted, new: NewMessage | None) -> list[NewMessage]:
        """What goes into the store before the reply grows: a summary, what is said, the reply."""
        left_out_id = fitted.left_out[-1].id if fitted.left_out else None
        name = self.chat.model.name
        drafts = []
        if fitted.summary:
            text = fitted.summary
            drafts.append(NewMessage("summary", text, model=name, left_out_id=left_out_id))
        if new is not None:
            drafts.append(new)
        growing = NewMessage(
            "assistant", state=MessageState.GROWING, model=name, left_out_id=left_out_id
        )
        return [*drafts, growing]

    def _begin(self) -> Session:
        self._session = self._store.create(
            title=self._title,
            model=self.chat.model.name,
            model_hash=self._model_hash,
            plan=self._plan,
            preset=self._preset,
        )
        return self._session

    def _take_over(
        self,
        session: Session,
        preset: Preset | None,
        hashed: str | None,
        plan: Mapping[str, object],
    ) -> None:
        """What is new since the session was held last becomes the session's own."""
        name = self.chat.model.name
        if name == session.model and differs(session.model_hash, hashed):
            self._emit(
                Note(
                    msg("{name} is another file than this session was held with", name=name),
                    warning=True,
                )
            )
        if (name, hashed, dict(plan)) != (session.model, session.model_hash, dict(session.plan)):
            self._session = self._store.set_model(session.id, name, hashed, plan)
        if preset is not None:
            self.set_preset(preset)

    def _follow(self) -> None:
        """Go on after what another program has said meanwhile, and say so."""
        if news := self.refresh():
            self._emit(
                Note(
                    msg(
                        "another program has added {count} messages to this session; it goes on"
                        " after them",
                        count=len(news),
                    ),
                    warning=True,
                )
            )

    def _forget_if_empty(self, session: Session) -> None:
        """A session in which nothing was said after all."""
        if not len(self._tree):
            with suppress(LocalqError):  # the reason why nothing was said matters more
                if not self._store.session(session.id).message_count:
                    self._store.remove(session.id)
            self._session, self._leaf = None, None

    def _left_out(self, path: Sequence[SessionMessage]) -> int:
        last = left_out_after(path)
        return next((n for n, message in enumerate(path, 1) if message.id == last), 0)
