"""How a database of each version becomes one of the next.

A released module never changes; a new one comes after the last, and into `ALL`.
"""

from localq.database.migrations import (
    m1_models,
    m2_library,
    m3_jobs,
    m4_memory,
    m5_tuning,
    m6_sessions,
    m7_quality,
    m8_pictures,
)

__all__ = ["ALL"]

ALL: tuple[tuple[str, ...], ...] = (
    m1_models.STATEMENTS,
    m2_library.STATEMENTS,
    m3_jobs.STATEMENTS,
    m4_memory.STATEMENTS,
    m5_tuning.STATEMENTS,
    m6_sessions.STATEMENTS,
    m7_quality.STATEMENTS,
    m8_pictures.STATEMENTS,
)
