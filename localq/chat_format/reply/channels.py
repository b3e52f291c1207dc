"""Replies made of messages, each with a header that says whom it is for."""

from __future__ import annotations

import re

from localq.chat_format.reply.call_forms import form_of
from localq.chat_format.reply.format import ReplyFormat
from localq.chat_format.reply.made import call
from localq.chat_format.reply.pieces import ReplyPieces
from localq.chat_format.reply.stream import MalformedError, Reading, ReplyStream, nothing
from localq.chat_format.reply.tools import Tools, json_value

__all__ = ["FUNCTIONARY", "HARMONY"]

_START, _CHANNEL, _CONSTRAIN, _MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_TO = re.compile(r"\bto=([^\s<]+)")
_NAMED = re.compile(r"<\|channel\|>\s*(\w+)")
_MAX_HEADER = 300
_PEOPLE = ("", "user", "assistant", "all")
_MARK = ">>>"


def _read_harmony(
    format_: ReplyFormat, stream: ReplyStream, pieces: ReplyPieces, tools: Tools, prompt: str
) -> Reading[None]:
    """The format of gpt-oss: channel analysis is thinking, final (and commentary for nobody) is
    said, commentary to=functions.NAME is a call with arguments as JSON."""
    while not stream.exhausted:
        stream.record("")
        try:
            header, mark = yield from stream.name((_MESSAGE,), _MAX_HEADER)
        except MalformedError:
            stream.recorded()
            rest = yield from stream.peek(_MAX_HEADER)
            unfinished = len(rest) < _MAX_HEADER and rest.startswith((_START, _CHANNEL))
            if unfinished:
                yield from stream.until((), nothing)
                return
            mark = yield from stream.until((*_ENDS, _MESSAGE, _START), pieces.say)
            if mark == _MESSAGE:
                pieces.say(mark)
            continue
        before = stream.recorded()
        to = _TO.search(header)
        named = _NAMED.search(header)
        channel = named[1] if named else "final"
        recipient = to[1] if to else ""
        if recipient not in _PEOPLE and tools:
            yield from _harmony_call(stream, pieces, before, recipient)
        elif channel == "analysis":
            pieces.begin_thinking()
            yield from stream.until((*_ENDS, _START), pieces.think)
            pieces.end_thinking()
        else:
            pieces.content.begin()
            if recipient not in _PEOPLE:
                pieces.say(before)
            yield from stream.until((*_ENDS, _START), pieces.say)
            pieces.content.begin()


def _harmony_call(
    stream: ReplyStream, pieces: ReplyPieces, before: str, recipient: str
) -> Reading[None]:
    text, end = yield from stream.text_until((*_ENDS, _START))
    name = recipient.removeprefix("functions.")
    try:
        made = call(name, json_value(text) if text.strip() else {})
    except MalformedError:
        pieces.say(before + text + (end if end != _START else ""))
        pieces.content.begin()
    else:
        pieces.call([made])


def _read_functionary(
    format_: ReplyFormat, stream: ReplyStream, pieces: ReplyPieces, tools: Tools, prompt: str
) -> Reading[None]:
    """>>>all and what is said, or >>>NAME and arguments as JSON, each after a line break."""
    opened = ""
    if not prompt.endswith(_MARK):
        yield from stream.space()
        opened = yield from stream.skip((_MARK,))
    goes_on = True
    while goes_on:
        stream.record(opened)
        try:
            recipient, _ = yield from stream.name(("\n",))
        except MalformedError:
            recipient = ""
        if recipient in tools:
            goes_on = yield from _functionary_call(stream, pieces, recipient)
        else:
            before = stream.recorded()
            if recipient != "all":
                pieces.say(before)
            goes_on = bool((yield from stream.until((_MARK,), pieces.say)))
        opened = _MARK


def _functionary_call(stream: ReplyStream, pieces: ReplyPieces, name: str) -> Reading[bool]:
    """The rest of a call, of which all is being recorded; whether anything follows."""
    text, mark = yield from stream.text_until((_MARK,))
    recorded = stream.recorded()
    try:
        pieces.call([call(name, json_value(text))])
    except MalformedError:
        pieces.say(recorded.removesuffix(mark))
    return bool(mark)


HARMONY = ReplyFormat(
    "harmony",
    _read_harmony,
    form_of("harmony"),
    needs=("<|channel|>analysis", _MESSAGE),
    control=(_START, _CHANNEL, _CONSTRAIN, _MESSAGE, *_ENDS),
)
FUNCTIONARY = ReplyFormat(
    "functionary", _read_functionary, form_of("functionary"), needs=(">>>${recipient}",)
)
