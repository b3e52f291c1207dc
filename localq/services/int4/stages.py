"""What a backend's script calls what it does, in words."""

from __future__ import annotations

from localq.messages import msg

__all__ = ["stage_in_words"]

_WORDS = {
    "start": msg("starting the backend"),
    "calibration": msg("reading the calibration text"),
    "load": msg("loading the model"),
    "quantize": msg("quantizing"),
    "save": msg("saving"),
    "original": msg("asking the original"),
    "reload": msg("loading what was made"),
}


def stage_in_words(stage: str) -> str:
    return _WORDS.get(stage, stage)
