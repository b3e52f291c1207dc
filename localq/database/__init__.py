"""localq's one SQLite file: catalogue, jobs, measurements."""

from localq.database.database import Database

__all__ = ["Database"]
