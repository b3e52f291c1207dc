"""From a client's messages to what a model reads, and to what reads its reply."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from localq.chat_format.choose_template import choose_template, own_templates, special_token
from localq.chat_format.message import ChatMessage
from localq.chat_format.pictures import mark_pictures
from localq.chat_format.prompt import join_text
from localq.chat_format.reply import PLAIN, ReplyFormat, ReplyParser, reply_format
from localq.chat_format.template import ChatTemplate
from localq.chat_format.thinking import ThinkingControl, thinking_control
from localq.engine.protocol import Pictures
from localq.services.hosting.hosted import HostedModel

__all__ = ["ChatInput", "ChatPrompt", "ChatTemplates"]

_KEPT = 16


@dataclass(frozen=True, slots=True)
class ChatInput:
    """`tools` and `documents` in the form of OpenAI's API; `variables` are the template's own.
    `think` None: as the model does by itself."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    variables: Mapping[str, Any] | None = None
    think: bool | None = None
    effort: str | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    text: str
    tokens: list[int]
    format: ReplyFormat
    tools: tuple[Mapping[str, Any], ...]
    pictures: Pictures | None = None

    def parser(self) -> ReplyParser:
        """For one reply."""
        return self.format.parser(self.text, self.tools)

    @property
    def markers(self) -> tuple[str, ...]:
        """Control tokens that the parser has to see."""
        return tuple(sorted(self.format.markers))


@dataclass(frozen=True, slots=True)
class _Compiled:
    template: ChatTemplate
    thinking: ThinkingControl
    format: ReplyFormat


class ChatTemplates:
    """The templates of the models that were talked to lately, compiled. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, _Compiled | None] = OrderedDict()

    def render(self, metadata: Mapping[str, object], chat: ChatInput) -> tuple[str, ReplyFormat]:
        """The text that the model reads, and the format of its reply. UnsupportedError."""
        found = self._of(metadata, bool(chat.tools), bool(chat.documents))
        if found is None:
            return join_text(chat.messages), PLAIN
        variables = found.thinking.variables(chat.think, chat.effort)
        text = found.template.render(
            found.thinking.messages(chat.messages, chat.think, chat.effort),
            tools=chat.tools,
            documents=chat.documents,
            variables={**variables, **(chat.variables or {})},
        )
        return text, found.format

    def prompt(self, model: HostedModel, chat: ChatInput) -> ChatPrompt:
        """The same with its tokens."""
        metadata = model.metadata
        marked = mark_pictures(chat.messages)
        pictures = Pictures(marked.files, marked.mark) if marked.files else None
        text, format_ = self.render(metadata, replace(chat, messages=marked.messages))
        bos = special_token(metadata, "bos")
        has_bos = bool(bos) and text.startswith(bos)
        tokens = model.tokenize(text, add_special=not has_bos, pictures=pictures)
        return ChatPrompt(text, tokens, format_, chat.tools, pictures)

    def _of(self, metadata: Mapping[str, object], tools: bool, documents: bool) -> _Compiled | None:
        sources = tuple(sorted(own_templates(metadata).items()))
        specials = special_token(metadata, "bos"), special_token(metadata, "eos")
        key = (sources, specials, metadata.get("general.name"), tools, documents)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        chosen = choose_template(metadata, tools=tools, documents=documents)
        found = None
        if chosen:
            template = chosen.template
            format_ = reply_format(template.source)
            found = _Compiled(template, thinking_control(template), format_)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
