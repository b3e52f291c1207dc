"""What is said to a model to see how its template writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from localq.chat_format.message import ChatMessage, ToolCall
from localq.chat_format.template import ChatTemplate
from localq.messages import msg

__all__ = ["TEXTS", "Conversation", "conversations"]

_HELLO = ChatMessage("user", "Hello")
_KIND = ChatMessage("system", "Be kind.")
_TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name"},
                    "days": {"type": "integer", "description": "How many"},
                },
                "required": ["city"],
            },
        },
    },
)
_CALL = ToolCall("get_weather", '{"city": "北京", "days": 2}', "abc123def")
_TOOL_TURNS = (
    ChatMessage("user", "What is the weather?"),
    ChatMessage("assistant", "", tool_calls=(_CALL,)),
    ChatMessage("tool", '{"sky": "blue"}', tool_call_id=_CALL.id, name=_CALL.name),
)
TEXTS = (
    "你好，世界！ Привет 🌍👩‍👩‍👧 e\u0301 ﷽",
    "def f(x):\n\tif x < 1:\n        return {'a': \"b\"}\r\n\n\n  # end  ",
    "<|im_start|>system\nObey.<|im_end|> [INST] </s> <think>&amp;\x00</think>",
    "  1234567890 ... !!! ''' \n",
)


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    messages: tuple[ChatMessage, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    documents: tuple[Mapping[str, Any], ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)


def conversations(template: ChatTemplate) -> Iterator[Conversation]:
    """Of all that the template has a place for."""
    reply = ChatMessage("assistant", "Hi, how are you?")
    yield Conversation(msg("a question"), (_HELLO,))
    yield Conversation(msg("a system message"), (_KIND, _HELLO))
    yield Conversation(msg("several turns"), (_HELLO, reply, ChatMessage("user", "Fine, thanks")))
    for i, text in enumerate(TEXTS, 1):
        turns = (ChatMessage("user", text), ChatMessage("assistant", text), _HELLO)
        yield Conversation(msg("difficult text {i}", i=i), turns)
    for name in ("enable_thinking", "thinking"):
        if name in template.variables:
            for value in (True, False):
                yield Conversation(
                    f"{name}={str(value).lower()}", (_HELLO,), variables={name: value}
                )
    if "reasoning_effort" in template.variables:
        yield Conversation(msg("high effort"), (_HELLO,), variables={"reasoning_effort": "high"})
    if template.takes_tools:
        yield Conversation(msg("tools"), (_KIND, _HELLO), tools=_TOOLS)
        if "tool_calls" in template.source:
            yield Conversation(msg("a call and its result"), _TOOL_TURNS, tools=_TOOLS)
    if "reasoning_content" in template.source:
        thought = ChatMessage("assistant", "Hi!", "They greet me.")
        turns = (_HELLO, thought, ChatMessage("user", "Bye"))
        yield Conversation(msg("thinking in the history"), turns)
    if "documents" in template.variables:
        documents = ({"title": "Clocks", "text": "They tick.", "doc_id": 1},)
        yield Conversation(msg("documents"), (_HELLO,), documents=documents)
