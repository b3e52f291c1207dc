"""Messages as chat templates expect them, which is not the same for all.

A template is given what its own text asks for. Where two readings are possible the more common one
is tried first; a template that cannot take it says so by an error, and the next one is tried.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from localq.chat_format.message import ChatMessage, ToolCall

__all__ = ["PROBE", "PROBED", "MessageForm", "forms"]

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "thought")
_BLOCKS = re.compile(r"""(?:\['type'\]|\.type) == ['"]thinking['"]""")
_FIRST_CALL = re.compile(r"tool_calls\[0\]")
_MISTRAL_IDS = re.compile(r"length *!= *9\b")
_MISTRAL_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How messages are written for one template."""

    reasoning_keys: tuple[str, ...] = ()
    reasoning_blocks: bool = False
    """Content is a list of blocks where there is reasoning (Mistral)."""
    short_ids: bool = False
    """Ids of calls have to be nine letters or digits (Mistral)."""
    developer: bool = False
    """It knows the role `developer`; else that is a system message."""
    text_arguments: bool = False
    """Arguments are JSON as a text, not an object (DeepSeek, Functionary)."""
    system_in_user: bool = False
    """There is no role `system`: it becomes the beginning of the first user's message (Gemma 2)."""
    one_call: bool = False
    """A message has one call: several become as many messages, each before its result."""
    calls_alone: bool = False
    """A message with calls has no content (null): what was said is a message before it."""
    joined: bool = False
    """Beside calls, what was said is a part of what was thought (gpt-oss)."""

    def write(self, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
        if self.system_in_user:
            messages = _without_system(messages)
        if self.one_call:
            messages = _one_by_one(messages)
        if self.calls_alone:
            messages = _without_content(messages)
        names = {call.id: call.name for message in messages for call in message.tool_calls}
        return [self._message(message, names) for message in messages]

    def _message(self, message: ChatMessage, names: Mapping[str, str]) -> dict[str, Any]:
        role = message.role
        if role == "developer" and not self.developer:
            role = "system"
        content = None if self.calls_alone and message.tool_calls else message.content
        written: dict[str, Any] = {"role": role, "content": content}
        if message.role == "tool":
            if message.tool_call_id:
                written["tool_call_id"] = self._id(message.tool_call_id)
            if name := message.name or names.get(message.tool_call_id):
                written["name"] = name
        if message.reasoning:
            self._add_reasoning(message, written)
        if message.tool_calls:
            written["tool_calls"] = [self._call(call) for call in message.tool_calls]
        return written

    def _add_reasoning(self, message: ChatMessage, written: dict[str, Any]) -> None:
        reasoning = message.reasoning
        if self.joined and message.tool_calls and message.content:
            reasoning += "\n\n" + message.content
            written["content"] = ""
        for key in self.reasoning_keys:
            written[key] = reasoning
        if self.reasoning_blocks:
            written["content"] = [{"type": "thinking", "thinking": reasoning}]
            if message.content:
                written["content"].append({"type": "text", "text": message.content})

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments: Any = call.arguments
        if not self.text_arguments:
            try:
                read = json.loads(call.arguments)
            except (ValueError, RecursionError):
                read = None
            if isinstance(read, dict):
                arguments = read
        function = {"name": call.name, "arguments": arguments}
        written: dict[str, Any] = {"type": "function", "function": function}
        if call.id:
            written["id"] = self._id(call.id)
        return written

    def _id(self, id_: str) -> str:
        if not self.short_ids or _MISTRAL_ID.fullmatch(id_):
            return id_
        return hashlib.sha256(id_.encode("utf-8", "replace")).hexdigest()[:9]


# Shows whether a template writes calls beside what is said.
PROBE = (
    ChatMessage("user", "?"),
    ChatMessage("assistant", "!", tool_calls=(ToolCall("probed_name", "{}", "probed123"),)),
)
PROBED = "probed_name"


def forms(
    source: str, messages: Sequence[ChatMessage], *, calls_alone: bool = False
) -> Iterator[MessageForm]:
    """In the order in which they are to be tried, for these messages."""
    first = MessageForm(
        reasoning_keys=tuple(key for key in _REASONING_KEYS if _reads_key(source, key)),
        reasoning_blocks="[THINK]" in source and _BLOCKS.search(source) is not None,
        short_ids=_MISTRAL_IDS.search(source) is not None,
        developer="developer" in source,
        one_call=_FIRST_CALL.search(source) is not None,
        calls_alone=calls_alone,
    )
    yield first
    system = bool(messages) and messages[0].role in ("system", "developer")
    calls = any(message.tool_calls for message in messages)
    several = any(len(message.tool_calls) > 1 for message in messages)
    joined = any(m.tool_calls and m.reasoning and m.content for m in messages)
    changes: list[Callable[[MessageForm], MessageForm]] = []
    if calls:
        changes.append(lambda form: replace(form, text_arguments=True))
    if several and not first.one_call:
        changes.append(lambda form: replace(form, one_call=True))
    if joined:
        changes.append(lambda form: replace(form, joined=True))
    if system:
        changes.append(lambda form: replace(form, system_in_user=True))
    for change in changes:
        yield change(first)
    if len(changes) > 1:
        yield reduce(lambda form, change: change(form), changes, first)


def _reads_key(source: str, key: str) -> bool:
    """Whether a message's `key` is looked at: as .key, ['key'], get('key') or 'key' in."""
    return (
        re.search(rf"""\.{key}\b|\[['"]{key}['"]|\(['"]{key}['"]|['"]{key}['"] in""", source)
        is not None
    )


def _without_system(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    first, *rest = messages
    if first.role not in ("system", "developer"):
        return list(messages)
    for i, message in enumerate(rest):
        if message.role == "user":
            rest[i] = replace(message, content=f"{first.content}\n\n{message.content}")
            return rest
    return [replace(first, role="user"), *rest]


def _one_by_one(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Each call in a message of its own, with its result behind it."""
    written: list[ChatMessage] = []
    waiting: list[ChatMessage] = []
    for message in messages:
        if message.role != "tool":
            written += waiting
            waiting = []
        if len(message.tool_calls) > 1:
            first, *rest = message.tool_calls
            written.append(replace(message, tool_calls=(first,)))
            waiting = [ChatMessage("assistant", "", tool_calls=(call,)) for call in rest]
            continue
        while message.role == "tool" and waiting and message.tool_call_id in _ids(waiting):
            written.append(waiting.pop(0))
        written.append(message)
    return [*written, *waiting]


def _without_content(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    written: list[ChatMessage] = []
    for message in messages:
        if message.tool_calls and message.content:
            written.append(replace(message, tool_calls=()))
            message = replace(message, content="", reasoning="")
        written.append(message)
    return written


def _ids(messages: Sequence[ChatMessage]) -> set[str]:
    return {call.id for message in messages for call in message.tool_calls}
