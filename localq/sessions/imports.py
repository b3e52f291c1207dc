"""Sessions from files: what `export` writes as JSON, and OpenAI's messages.

A file may come from anyone: its size and shape are looked at before anything of it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from localq.errors import BadFileError, LocalqError, UsageError
from localq.json_codec import fitting_fields
from localq.messages import msg
from localq.sessions.exports import FORMAT
from localq.sessions.message import Attachment, MessageState, NewMessage, Role, ToolCall
from localq.sessions.picture_attachments import from_data_url, is_sound
from localq.sessions.preset import DEFAULT, Preset, preset_of
from localq.sessions.words import well_formed

__all__ = ["MAX_IMPORT", "ImportedSession", "read_session"]

MAX_IMPORT = 256 << 20
"""Bytes."""
_MAX_MESSAGES = 100_000
_OPENAI_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_MOST = 1 << 53


@dataclass(frozen=True, slots=True)
class ImportedSession:
    """A session that is in no store yet; the arguments of `SessionStore.create`."""

    title: str
    model: str
    preset: Preset
    messages: tuple[tuple[int | None, NewMessage], ...]
    leaf: int | None = None
    tags: tuple[str, ...] = ()


def read_session(data: bytes, path: Path | str) -> ImportedSession:
    """What the file `path` with these bytes holds: a list of OpenAI's messages, an object with
    them under "messages", or an export. BadFileError names what in it is wrong."""
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadFileError(path, msg("not valid UTF-8"), offset=error.start) from None
    except json.JSONDecodeError as error:
        raise BadFileError(
            path, msg("not valid JSON: {msg}", msg=error.msg), offset=error.pos
        ) from None
    except (RecursionError, ValueError):
        raise BadFileError(path, msg("not JSON that can be read")) from None
    try:
        return _session(document)
    except (BadFileError, UsageError) as error:
        raise _named(path, error) from None


def _named(path: Path | str, error: LocalqError) -> BadFileError:
    problem = error.message.removeprefix(": ")
    return BadFileError(path, problem, hint=error.hint)


def _session(document: Any) -> ImportedSession:
    if isinstance(document, list):
        return _openai(document, "")
    if not isinstance(document, dict) or not isinstance(document.get("messages"), list):
        raise _wrong(msg("neither a session nor a list of messages"))
    form = document.get("format")
    if form is None:
        title = document.get("title")
        return _openai(document["messages"], title if isinstance(title, str) else "")
    if form != FORMAT:
        shown = str(form)[:80]
        raise UsageError(
            msg("is a {form!r}; this localq reads {ours!r}", form=shown, ours=FORMAT),
            hint=msg("pip install --upgrade localq"),
        )
    return _own(document)


def _openai(items: Sequence[Any], title: str) -> ImportedSession:
    _check_count(items)
    messages: list[tuple[int | None, NewMessage]] = []
    system = ""
    for number, item in enumerate(items):
        new = _openai_message(item, number)
        if number == 0 and new.role == "system":
            system = new.content
            continue
        messages.append((len(messages) - 1 if messages else None, new))
    return ImportedSession(
        title=_title(title),
        model="",
        preset=Preset(DEFAULT.name, system=system),
        messages=tuple(messages),
    )


def _openai_message(item: Any, number: int) -> NewMessage:
    if not isinstance(item, dict):
        raise _wrong(msg("message {number} is no object", number=number))
    role = item.get("role")
    known = _OPENAI_ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise _wrong(
            msg("message {number} has the role {role!r}", number=number, role=str(role)[:40])
        )
    reasoning = item.get("reasoning_content", item.get("reasoning", ""))
    content, attachments = _content(item.get("content"), number)
    return NewMessage(
        role=known,
        content=content,
        attachments=attachments,
        reasoning=well_formed(reasoning) if isinstance(reasoning, str) else "",
        tool_calls=_openai_calls(item.get("tool_calls"), number),
        tool_call_id=_text(item.get("tool_call_id")),
    )


def _content(content: Any, number: int) -> tuple[str, tuple[Attachment, ...]]:
    """A text, or the texts among its parts, and the pictures that it brings itself."""
    if content is None:
        return "", ()
    if isinstance(content, str):
        return well_formed(content), ()
    texts: list[str] = []
    pictures: list[Attachment] = []
    for part in content if isinstance(content, list) else [None]:
        image = part.get("image_url") if isinstance(part, dict) else None
        url = image.get("url") if isinstance(image, dict) else None
        if picture := from_data_url(url, f"picture {len(pictures) + 1}"):
            pictures.append(picture)
            continue
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise _wrong(msg("message {number} is more than text", number=number))
        texts.append(part["text"])
    return well_formed("\n".join(texts)), tuple(pictures)


def _openai_calls(calls: Any, number: int) -> tuple[ToolCall, ...]:
    if calls is None:
        return ()
    found = []
    for call in calls if isinstance(calls, list) else [None]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise _wrong(msg("message {number} has a tool call that is none", number=number))
        assert isinstance(call, dict)
        name, arguments = _text(function.get("name")), function.get("arguments", "")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        found.append(ToolCall(name, well_formed(arguments), _text(call.get("id"))))
    return tuple(found)


def _own(document: Mapping[str, Any]) -> ImportedSession:
    items = document["messages"]
    _check_count(items)
    messages = []
    for number, item in enumerate(items):
        messages.append(_own_message(item, number))
    preset = document.get("preset")
    name = preset.get("name") if isinstance(preset, dict) else None
    tags = document.get("tags")
    leaf = document.get("leaf")
    return ImportedSession(
        title=_title(_text(document.get("title"))),
        model=_text(document.get("model")),
        preset=preset_of(_text(name) or DEFAULT.name, preset)
        if isinstance(preset, dict)
        else DEFAULT,
        messages=tuple(messages),
        leaf=leaf if _is_place(leaf, len(messages)) else None,
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
    )


_PLACES = ("parent", "left_out")
_WRITTEN = {field.name for field in fields(NewMessage)} - {"left_out_id", "state"}


def _own_message(item: Any, number: int) -> tuple[int | None, NewMessage]:
    if not isinstance(item, dict):
        raise _wrong(msg("message {number} is no object", number=number))
    for name in _PLACES:
        place = item.get(name)
        if place is not None and not _is_place(place, number):
            raise _wrong(
                msg(
                    "message {number}: its {name} is no message before it",
                    number=number,
                    name=name,
                )
            )
    if item.get("role") not in get_args(Role) or not isinstance(item.get("content", ""), str):
        raise _wrong(msg("message {number} has no role, or no text", number=number))
    written = {name: item[name] for name in _WRITTEN if name in item}
    values = fitting_fields(NewMessage, written)
    values = {k: well_formed(v) if isinstance(v, str) else v for k, v in values.items()}
    values = {k: v for k, v in values.items() if type(v) is not int or _is_place(v, _MOST)}
    values["attachments"] = tuple(
        Attachment(well_formed(a.name), well_formed(a.content), media=a.media)
        for a in values.get("attachments", ())
        if not a.media or is_sound(a)
    )
    values["tool_calls"] = tuple(
        ToolCall(well_formed(call.name), well_formed(call.arguments), well_formed(call.id))
        for call in values.get("tool_calls", ())
    )
    whole = item.get("state") == MessageState.WHOLE
    return item.get("parent"), NewMessage(
        **{"content": "", **values},
        state=MessageState.WHOLE if whole else MessageState.INTERRUPTED,
        left_out_id=item.get("left_out"),
    )


def _is_place(value: Any, before: int) -> bool:
    return type(value) is int and 0 <= value < before


def _check_count(items: Sequence[Any]) -> None:
    if not items:
        raise _wrong(msg("there is no message in it"))
    if len(items) > _MAX_MESSAGES:
        raise _wrong(msg("{count:,} messages are too many", count=len(items)))


def _text(value: Any) -> str:
    return well_formed(value) if isinstance(value, str) else ""


def _title(text: str) -> str:
    text = " ".join(text.split())[:200]
    return text if text.isprintable() else ""


def _wrong(problem: str) -> UsageError:
    return UsageError(problem)
