"""A model's reply, taken apart while it comes: thinking, what is said, and tool calls."""

from localq.chat_format.reply.detect import PLAIN, reply_format
from localq.chat_format.reply.events import CallMade, ContentText, Event, ReasoningText
from localq.chat_format.reply.format import ReplyFormat, ReplyParser

__all__ = [
    "CallMade",
    "ContentText",
    "Event",
    "PLAIN",
    "ReasoningText",
    "ReplyFormat",
    "ReplyParser",
    "reply_format",
]
