"""Whether quantizing is as fast as this machine allows."""

from __future__ import annotations

from collections.abc import Iterator

from localq.errors import EngineError
from localq.events import Note
from localq.quantize.codecs.fast import load_fast_codecs
from localq.services.doctor.doctor import CheckContext, Problem

__all__ = ["unused"]


def unused(context: CheckContext) -> Iterator[Problem]:
    """Codecs that are broken or out of date are amiss; where there are none, that is only said."""
    try:
        codecs = load_fast_codecs()
    except EngineError:
        return  # without an engine nothing is quantized, and whoever tries is told so
    report = codecs.report()
    if codecs.remedy is not None:
        yield Problem(f"quantizing is slow: {report.reason}", codecs.remedy)
    elif report.instructions is None:
        context.emit(Note(f"quantizing uses the engine's codecs: {report.reason}"))
    elif report.different:
        names = ", ".join(report.different)
        context.emit(Note(f"quantizing leaves {names} to the engine, which writes other bytes"))
    else:
        context.emit(
            Note(f"quantizing uses {report.instructions} codecs; their bytes are the engine's")
        )
