"""Tools and documents for a model whose chat template has no place for them.

They are described in the system message, and calls and results are written into messages as most
models were taught it (Hermes, Qwen): a call is JSON within <tool_call>, a result is the user's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from localq.chat_format.message import ChatMessage, ToolCall

__all__ = ["describe_documents", "describe_tools", "in_system_message", "write_calls"]

_TOOLS = """\
# Tools

You may call functions to help with the request. These are their signatures:
<tools>
{tools}
</tools>

To call one, answer with its name and arguments as a JSON object within tags:
<tool_call>
{{"name": <name>, "arguments": <arguments as a JSON object>}}
</tool_call>"""


def describe_tools(tools: Sequence[Mapping[str, Any]]) -> str:
    return _TOOLS.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))


def describe_documents(documents: Sequence[Mapping[str, Any]]) -> str:
    parts = ["# Documents"]
    for document in documents:
        if title := document.get("title"):
            parts.append(f"## {title}")
        parts.append(str(document.get("text", document.get("contents", document.get("content")))))
    return "\n\n".join(parts)


def in_system_message(messages: Sequence[ChatMessage], text: str) -> list[ChatMessage]:
    """The messages with `text` at the end of the first one, if that is a system message."""
    if messages and messages[0].role in ("system", "developer"):
        first = messages[0]
        return [replace(first, content=f"{first.content}\n\n{text}"), *messages[1:]]
    return [ChatMessage("system", text), *messages]


def write_calls(
    messages: Sequence[ChatMessage], source: str, *, results: bool
) -> list[ChatMessage]:
    """The messages with calls as a part of what was said, as the model of the template `source`
    writes them; `results`: with results as the user's messages, too."""
    write = next((write for mark, write in _WRITERS.items() if mark in source), _hermes)
    written: list[ChatMessage] = []
    answering = False
    for message in messages:
        was_answering, answering = answering, results and message.role == "tool"
        if message.tool_calls:
            calls = write(message.tool_calls)
            content = f"{message.content}\n{calls}" if message.content else calls
            message = replace(message, content=content, tool_calls=())
        elif answering:
            answer = f"<tool_response>\n{message.content}\n</tool_response>"
            if was_answering:  # results of one reply's calls are one message
                answer = f"{written.pop().content}\n{answer}"
            message = ChatMessage("user", answer)
        written.append(message)
    return written


def _json(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name": {name}, "arguments": {call.arguments}}}'


def _hermes(calls: Sequence[ToolCall]) -> str:
    return "\n".join(f"<tool_call>\n{_json(call)}\n</tool_call>" for call in calls)


def _granite(calls: Sequence[ToolCall]) -> str:
    return f"<|tool_call|>[{', '.join(map(_json, calls))}]"


def _lfm2(calls: Sequence[ToolCall]) -> str:
    return f"<|tool_call_start|>[{', '.join(map(_python, calls))}]<|tool_call_end|>"


def _python(call: ToolCall) -> str:
    try:
        arguments = json.loads(call.arguments)
        return f"{call.name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
    except (ValueError, AttributeError, RecursionError):
        return _json(call)


# What a template holds that says how its model writes calls.
_WRITERS = {
    "<|tool_call|>": _granite,
    "<|tool_list_start|>": _lfm2,
    "List of tools: [": _lfm2,
}
