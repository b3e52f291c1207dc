"""A model's own chat template: how a conversation becomes the text it was trained on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from textwrap import shorten

from jinja2 import TemplateError, TemplateSyntaxError

from localq.chat.dialect import RefusedError, strftime_now
from localq.chat.limits import MAX_SIZE, LimitError, RenderBudget, too_large
from localq.chat.message import ChatMessage
from localq.chat.sandbox import BoundedEnvironment
from localq.errors import UnsupportedError
from localq.messages import msg

__all__ = ["ChatTemplate"]

_FILENAME = "<chat template>"
_MAX_SOURCE = 1 << 20


class ChatTemplate:
    """A Jinja template as models ship it, with the functions and variables that Hugging Face's
    tokenizers give it. It comes with a download and is not trusted: see `localq.chat.sandbox`.

    UnsupportedError, from here or from `render`, names the line of the template.
    """

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        if len(source) > _MAX_SOURCE:
            raise UnsupportedError(
                msg("the model's chat template has {source:,} characters", source=len(source))
            )
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._lock = threading.Lock()
        self._environment = environment = BoundedEnvironment()
        try:
            code = environment.compile(source, filename=_FILENAME)
            self._template = environment.template_class.from_code(
                environment, code, environment.make_globals(None)
            )
        except Exception as error:  # a stranger's code: whatever it does, it is unsupported
            raise _unsupported(error) from error

    def render(self, messages: Sequence[ChatMessage], add_generation_prompt: bool = True) -> str:
        """The conversation as one text, ready for the model's reply by default."""
        variables = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
        }
        with self._lock:
            try:
                return self._render({**variables, "tools": None, "documents": None})
            except (RefusedError, LimitError) as error:
                raise _unsupported(error) from error
            except Exception as error:
                # Some templates are written for tool calls only, and need something to list.
                nothing = {"tools": [], "documents": [], "functions": "[]"}
                today = strftime_now("%Y-%m-%d")
                try:
                    return self._render({**variables, **nothing, "datetime": today})
                except Exception:
                    raise _unsupported(error) from error

    def _render(self, variables: dict[str, object]) -> str:
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
