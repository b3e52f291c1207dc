"""Records what chat templates write for an assistant: what a model has to write, too.

`python -m tests.reference.record_replies FOLDER`, a folder of *.jinja files, writes
`tests/data/replies.json`.

Of each template only the markers are kept that tell its format. A reply is kept if it is read as
the message that was written, or, where the template leaves a part of that out, as one for which the
template writes the same reply.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localq.chat_format.message import ChatMessage, ToolCall
from localq.chat_format.reply import ReplyFormat, reply_format
from localq.chat_format.reply.detect import telling_marks
from localq.chat_format.template import ChatTemplate
from localq.errors import UnsupportedError

__all__ = ["REPLIES", "TOOLS", "meaning", "replies_of"]

REPLIES = Path(__file__).parent.parent / "data" / "replies.json"
_ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "</s>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|end_of_text|>",
    "<turn|>",
    "<end_of_turn>",
    "<|message_sep|>",
    "<|assistant_end|>",
    "<|end|>",
    "<SPECIAL_12>",
    "<sep>",
    "<|call|>",
    "<|return|>",
    "<|calls|>",
    "<|tool_response>",
    "<seed:eos>",
)
_COMMAND = "<|CHATBOT_TOKEN|>"
_NEXT_TURNS = (  # what some write though they are asked for no more
    "<|END_OF_TURN_TOKEN|>",
    "<|eot_id|><|start_header_id|>",
    "<｜end▁of▁sentence｜><｜Assistant｜>",
    "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>",
)
_STRING = {"type": "string", "description": "a text"}
_WEATHER = {
    "city": _STRING,
    "days": {"type": "integer", "description": "how many"},
    "exact": {"type": "boolean", "description": "whether"},
    "where": {
        "type": "object",
        "description": "a thing",
        "properties": {},
        "additionalProperties": _STRING,
    },
    "tags": {"type": "array", "description": "a list", "items": _STRING},
}


def _tool(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    function = {"name": name, "description": "Does it.", "parameters": parameters}
    return {"type": "function", "function": function}


def _call(name: str, id_: str = "abcdefgh1", **arguments: Any) -> ToolCall:
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False), id_)


TOOLS = [_tool("get_weather", _WEATHER, ["city"]), _tool("now", {}, [])]
_PARIS = _call("get_weather", city="Paris", days=3)
_ROME = _call("get_weather", "abcdefgh2", city="Rome", tags=["u"])
_HARD = _call(
    "get_weather",
    city='Paris "x"\n</tool_call> é 你好',
    days=-3,
    exact=True,
    where={"a": [1, None, "b"]},
    tags=["x", "y"],
)
_MESSAGES = (
    ChatMessage("assistant", "Hello.\n\nSecond line: 你好."),
    ChatMessage("assistant", "Hello.", "I think.\n\nMore."),
    ChatMessage("assistant", "", tool_calls=(_PARIS,)),
    ChatMessage("assistant", "", tool_calls=(_HARD,)),
    ChatMessage("assistant", "", tool_calls=(_PARIS, _ROME)),
    ChatMessage("assistant", "", tool_calls=(_call("now"),)),
    ChatMessage("assistant", "Let me look.", tool_calls=(_PARIS,)),
    ChatMessage("assistant", "", "I think.", tool_calls=(_PARIS,)),
    ChatMessage("assistant", "Let me look.", "I think.", tool_calls=(_PARIS,)),
)
_ASKED = ChatMessage("user", "What is the weather?")


def main() -> None:
    recorded: list[str] = []
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        kept = list(replies_of(path.stem, source))
        print(f"{path.stem}: {len(kept)}", file=sys.stderr)
        recorded += [json.dumps(entry, ensure_ascii=False) for entry in kept]
    REPLIES.write_text("[\n" + ",\n".join(recorded) + "\n]\n", encoding="utf-8")


def replies_of(name: str, source: str) -> Iterator[dict[str, Any]]:
    """What is recorded of one template."""
    format_ = reply_format(source)
    template = ChatTemplate(source, "<s>", "</s>")
    for message in _MESSAGES:
        try:
            prompt, reply = _reply(template, format_, message)
        except UnsupportedError:
            continue
        parser = format_.parser(prompt, TOOLS)
        parser.feed(reply)
        parser.finish()
        if meaning(parser.message) != meaning(message):
            try:
                _, again = _reply(template, format_, parser.message)
            except UnsupportedError:
                continue
            if again.strip() != reply.strip():
                continue
        content, reasoning, calls = meaning(parser.message)
        yield {
            "template": name,
            "format": format_.name,
            "markers": " ".join(telling_marks(source)),
            "prompt": prompt[-60:],
            "reply": reply,
            "content": content,
            "reasoning": reasoning,
            "calls": calls,
        }


def meaning(message: ChatMessage) -> tuple[str, str, list[list[Any]]]:
    calls = [[call.name, json.loads(call.arguments)] for call in message.tool_calls]
    return message.content.strip(), message.reasoning.strip(), calls


def _reply(template: ChatTemplate, format_: ReplyFormat, message: ChatMessage) -> tuple[str, str]:
    """A prompt and the model's reply to it."""
    variables = {"enable_thinking": bool(message.reasoning)}
    prompt = template.render([_ASKED], tools=TOOLS, variables=variables)
    whole = template.render([_ASKED, message], False, tools=TOOLS, variables=variables)
    begun = next(
        (begun for begun in _beginnings(prompt, format_) if whole.startswith(begun)),
        whole[: whole.rfind(_COMMAND) + len(_COMMAND)],  # it ends with instructions
    )
    reply = whole.removeprefix(begun)
    for more in _NEXT_TURNS:
        reply = reply.partition(more)[0]
    while end := next((end for end in _ENDS if reply.rstrip().endswith(end)), None):
        reply = reply.rstrip().removesuffix(end)
    thinks = any(reply.lstrip().startswith(open_) for open_, _ in format_.thinking)
    return (begun if thinks or not message.reasoning else prompt), reply


def _beginnings(prompt: str, format_: ReplyFormat) -> Iterator[str]:
    """The prompt, also without the thinking that it begins, or leaves out."""
    yield prompt
    yield (stripped := prompt.rstrip())
    for pair in format_.thinking:
        for mark in reversed(pair):
            if stripped.endswith(mark):
                stripped = stripped.removesuffix(mark).rstrip()
                yield stripped


if __name__ == "__main__":
    main()
