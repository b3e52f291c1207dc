"""A model's own chat template: how a conversation becomes the text it was trained on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from textwrap import shorten
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables

from localq.chat_format.dialect import RefusedError, strftime_now, tojson
from localq.chat_format.limits import MAX_SIZE, LimitError, RenderBudget, too_large
from localq.chat_format.message import ChatMessage
from localq.chat_format.plain_tools import (
    describe_documents,
    describe_tools,
    in_system_message,
    write_calls,
)
from localq.chat_format.sandbox import BoundedEnvironment
from localq.chat_format.template_messages import PROBE, PROBED, forms
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["ChatTemplate"]

_FILENAME = "<chat template>"
_MAX_SOURCE = 1 << 20
_NOTHING = {"tools": None, "documents": None, "bos_token": "", "eos_token": ""}


class ChatTemplate:
    """A Jinja template as models ship it, with the functions and variables that Hugging Face's
    tokenizers give it. It comes with a download and is not trusted: see `BoundedEnvironment`.

    UnsupportedError, from here or from `render`, names the line of the template.
    """

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        if len(source) > _MAX_SOURCE:
            raise UnsupportedError(
                msg(
                    "the model's chat template has {source:,} characters, which are too many",
                    source=len(source),
                )
            )
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._lock = threading.Lock()
        self._environment = environment = BoundedEnvironment()
        try:
            code = environment.compile(source, filename=_FILENAME)
            self._template = environment.template_class.from_code(
                environment, code, environment.make_globals(None)
            )
            self.variables = frozenset(find_undeclared_variables(environment.parse(source)))
            """Names that it reads: messages, tools, enable_thinking, ... (and some that it sets)"""
        except Exception as error:  # a stranger's code: whatever it does, it is unsupported
            raise _unsupported(error) from error

    @property
    def takes_tools(self) -> bool:
        """Whether it says itself which tools there are."""
        return not self.variables.isdisjoint(("tools", "custom_tools", "functions"))

    def render(
        self,
        messages: Sequence[ChatMessage],
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        documents: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as one text, ready for the model's reply by default.

        `tools` in the form of OpenAI's API, `documents` with title and text. `variables` are what
        the template makes of them (enable_thinking, reasoning_effort, ...). A template that has no
        place for tools or documents finds them in the system message.
        """
        messages = self._with_described(messages, tools, documents)
        given = {
            **(variables or {}),
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "tools": list(tools) or None,
            "documents": list(documents) or None,
        }
        if tools and "functions" in self.variables:
            given["functions"] = tojson([tool.get("function", tool) for tool in tools], indent=4)
        with self._lock:
            alone = any(m.tool_calls for m in messages) and self._calls_alone
            return self._render_messages(messages, given, calls_alone=alone)

    @cached_property
    def _calls_alone(self) -> bool:
        """Whether calls are written only where nothing is said beside them."""
        written = {}
        for alone in (False, True):
            with suppress(UnsupportedError):
                written[alone] = PROBED in self._render_messages(PROBE, {}, calls_alone=alone)
        return written.get(True, False) and not written.get(False, False)

    def _render_messages(
        self, messages: Sequence[ChatMessage], given: Mapping[str, Any], *, calls_alone: bool
    ) -> str:
        first: Exception | None = None
        for form in forms(self.source, messages, calls_alone=calls_alone):
            try:
                return self._render_form({**_NOTHING, **given, "messages": form.write(messages)})
            except LimitError as error:
                raise _unsupported(first or error) from error
            except Exception as error:
                first = first or error
        assert first is not None
        raise _unsupported(first) from first

    def _with_described(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]],
        documents: Sequence[Mapping[str, Any]],
    ) -> Sequence[ChatMessage]:
        """The messages with what the template has no place for."""
        taught = self.takes_tools
        if "tool_calls" not in self.source:
            messages = write_calls(messages, self.source, results=not taught)
        if tools and not taught:
            messages = in_system_message(messages, describe_tools(tools))
        if documents and "documents" not in self.variables:
            messages = in_system_message(messages, describe_documents(documents))
        return messages

    def _render_form(self, variables: dict[str, Any]) -> str:
        try:
            return self._render(variables)
        except (RefusedError, LimitError):
            raise
        except Exception:
            # Some templates are written for tool calls only, and need something to list.
            listed = {key: variables[key] or [] for key in ("tools", "documents")}
            today = {"functions": "[]", "datetime": strftime_now("%Y-%m-%d")}
            with suppress(Exception):
                return self._render({**today, **variables, **listed})
            raise

    def _render(self, variables: Mapping[str, Any]) -> str:
        self._environment.budget = budget = RenderBudget()
        parts: list[str] = []
        size = 0
        for part in self._template.generate(variables):
            budget.check_time()
            parts.append(part)
            size += len(part)
            if size > MAX_SIZE:
                too_large()
        return "".join(parts)


def _unsupported(error: Exception) -> UnsupportedError:
    line = _line(error)
    where = f" (line {line})" if line else ""
    fault = "does not work"
    reason = str(error)
    if isinstance(error, RefusedError):
        fault = "refuses this conversation"
    elif not isinstance(error, LimitError | TemplateError):
        reason = msg("{kind}: {reason}", kind=type(error).__name__, reason=reason)
    reason = shorten(reason, 300, placeholder="...")
    return UnsupportedError(
        msg(
            "the model's chat template {fault}{where}: {reason}",
            fault=fault,
            where=where,
            reason=reason,
        )
    )


def _line(error: Exception) -> int | None:
    """The template's line that failed; Jinja rewrites tracebacks to say so."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line = None
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == _FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
