"""A session as a text for other programs and people: Markdown, JSON, OpenAI's messages, a page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from localq.json_codec import to_json
from localq.sessions.attachments import with_attachments
from localq.sessions.message import MessageState, SessionMessage, left_out_after
from localq.sessions.picture_attachments import data_url
from localq.sessions.session import Session, shown_end
from localq.sessions.tree import MessageTree

__all__ = ["FORMAT", "ExportFormat", "export", "openai_messages"]

FORMAT = "localq session 1"
"""What the JSON of a session says of itself."""


class ExportFormat(StrEnum):
    MARKDOWN = "markdown"
    JSON = "json"
    """All branches; `localq sessions import` reads it."""
    OPENAI = "openai"
    HTML = "html"


def export(session: Session, tree: MessageTree[SessionMessage], form: ExportFormat) -> str:
    """The session as a text: all branches as JSON, else the one that it goes on with."""
    path = tree.path(shown_end(session, tree))
    match form:
        case ExportFormat.JSON:
            return _as_json(session, tree)
        case ExportFormat.OPENAI:
            return _text_of(openai_messages(session, path))
        case ExportFormat.HTML:
            from localq.sessions.page import page

            return page(session, path, _facts)
        case ExportFormat.MARKDOWN:
            return _markdown(session, path)


def openai_messages(session: Session, path: Sequence[SessionMessage]) -> list[dict[str, Any]]:
    """As `messages` of an OpenAI request."""
    return list(_openai(session, path))


def _openai(session: Session, path: Sequence[SessionMessage]) -> Iterator[dict[str, Any]]:
    if session.preset.system:
        yield {"role": "system", "content": session.preset.system}
    for message in path:
        if message.role == "summary":
            continue  # all of what it stands for is there
        texts = [one for one in message.attachments if not one.media]
        content: Any = with_attachments(message.content, texts)
        if len(texts) < len(message.attachments):
            content = [
                *(
                    {"type": "image_url", "image_url": {"url": data_url(one)}}
                    for one in message.attachments
                    if one.media
                ),
                {"type": "text", "text": content},
            ]
        found: dict[str, Any] = {"role": message.role, "content": content}
        if message.reasoning:
            found["reasoning_content"] = message.reasoning
        if message.tool_calls:
            found["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id:
            found["tool_call_id"] = message.tool_call_id
        yield found


def _as_json(session: Session, tree: MessageTree[SessionMessage]) -> str:
    place = {message.id: index for index, message in enumerate(tree)}
    messages = []
    for message in tree:
        fields = to_json(message)
        del fields["id"]
        # By their places among the messages: the numbers mean nothing elsewhere.
        fields["parent"] = place.get(fields.pop("parent_id"))
        fields["left_out"] = place.get(fields.pop("left_out_id"))
        fields["state"] = message.state.value
        messages.append({name: value for name, value in fields.items() if value not in ("", [])})
    preset = session.preset
    document = {
        "format": FORMAT,
        "title": session.title,
        "model": session.model,
        "model_hash": session.model_hash,
        "plan": dict(session.plan),
        "preset": {**to_json(preset), "on_full": preset.on_full.value},
        "tags": list(session.tags),
        "created_at": session.created_at,
        "leaf": None if session.leaf_id is None else place.get(session.leaf_id),
        "messages": messages,
    }
    return _text_of(document)


def _text_of(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


_NAMES: Mapping[str, str] = {
    "user": "User",
    "assistant": "Assistant",
    "system": "System",
    "tool": "Tool",
    "summary": "Summary of what no longer fitted the context",
}

_Facts = Callable[[SessionMessage], tuple[str, str]]


def _facts(message: SessionMessage) -> tuple[str, str]:
    """Who wrote a message, and what else is to be said of it."""
    notes = [message.model] if message.model else []
    if speed := message.tokens_per_second:
        notes.append(f"{message.generated_tokens} tokens, {speed:.1f} per second")
    if message.state is not MessageState.WHOLE:
        notes.append("cut off: its program ended")
    elif message.stop in ("length", "context", "cancelled"):
        notes.append({"cancelled": "stopped by the user"}.get(message.stop, "cut off"))
    return _NAMES[message.role], " · ".join(notes)


def _markdown(session: Session, path: Sequence[SessionMessage]) -> str:
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.created_at))
    parts = [f"# {session.title or 'Untitled'}", f"{session.model} · {date}".strip(" ·")]
    if session.preset.system:
        parts += ["## System", session.preset.system]
    left_out = left_out_after(path)
    for message in path:
        who, notes = _facts(message)
        parts.append(f"## {who}" + (f" ({notes})" if notes else ""))
        if message.reasoning:
            quoted = message.reasoning.strip().replace("\n", "\n> ")
            parts.append(f"> {quoted}")
        if text := with_attachments(message.content, message.attachments).strip("\n"):
            parts.append(text)
        parts += [f"Calls `{call.name}`: `{call.arguments}`" for call in message.tool_calls]
        if message.id == left_out:
            parts.append("*What stands above was no longer in the context.*")
    return "\n\n".join(parts) + "\n"
