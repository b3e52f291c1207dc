"""Whether quantizing is as fast as this machine allows."""

from __future__ import annotations

from collections.abc import Iterator

from localq.errors import EngineError
from localq.events import Note
from localq.messages import msg
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
        yield Problem(msg("quantizing is slow: {reason}", reason=report.reason), codecs.remedy)
    elif report.instructions is None:
        context.emit(
            Note(msg("quantizing uses the engine's codecs: {reason}", reason=report.reason))
        )
    elif report.different:
        names = ", ".join(report.different)
        context.emit(
            Note(
                msg(
                    "quantizing leaves {names} to the engine, which writes other bytes", names=names
                )
            )
        )
    else:
        context.emit(
            Note(
                msg(
                    "quantizing uses {instructions} codecs; their bytes are the engine's",
                    instructions=report.instructions,
                )
            )
        )
