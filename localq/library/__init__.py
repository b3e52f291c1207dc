"""The models this machine has: a catalogue in SQLite, and their files on disk."""

from localq.library.library import Library
from localq.library.model import Model, ModelFormat, ModelSource

__all__ = ["Library", "Model", "ModelFormat", "ModelSource"]
