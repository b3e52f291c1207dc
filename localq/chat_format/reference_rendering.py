"""Chat templates rendered as Hugging Face's transformers do it: by plain Jinja in its sandbox.

To compare `ChatTemplate` with, which does it in a way of its own. Nothing bounds the time and the
memory that a template takes here: only for templates that `ChatTemplate` has rendered before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localq.chat_format.dialect import GenerationBlock
from localq.chat_format.message import ChatMessage

__all__ = ["ReferenceRefusal", "as_transformers_takes", "render_as_transformers"]


class ReferenceRefusal(Exception):
    """Plain Jinja does not render it."""


def render_as_transformers(
    source: str,
    messages: Sequence[Mapping[str, Any]],
    special_tokens: Mapping[str, str],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    documents: Sequence[Mapping[str, Any]] = (),
    variables: Mapping[str, Any] | None = None,
) -> str:
    """The text for a model's reply. ReferenceRefusal."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda format_: datetime.now().strftime(format_)
    try:
        return environment.from_string(source).render(
            messages=list(messages),
            tools=list(tools) or None,
            documents=list(documents) or None,
            add_generation_prompt=True,
            **special_tokens,
            **(variables or {}),
        )
    except Exception as error:  # whatever a stranger's template does
        raise ReferenceRefusal(" ".join(str(error).split())[:200]) from error


def as_transformers_takes(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Messages as its documentation has them: arguments are objects."""
    return [_message(message) for message in messages]


def _message(message: ChatMessage) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        written |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        written |= {"tool_call_id": message.tool_call_id, "name": message.name}
    return written


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
