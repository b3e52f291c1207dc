"""Conversations that are kept: messages as a tree, presets, what to do when the context is full."""

from localq.sessions.message import Attachment, MessageState, NewMessage, SessionMessage, ToolCall
from localq.sessions.preset import OnFull, Preset
from localq.sessions.session import Session
from localq.sessions.store import SessionBusy, SessionStore
from localq.sessions.tree import MessageTree

__all__ = [
    "Attachment",
    "MessageState",
    "MessageTree",
    "NewMessage",
    "OnFull",
    "Preset",
    "Session",
    "SessionBusy",
    "SessionMessage",
    "SessionStore",
    "ToolCall",
]
