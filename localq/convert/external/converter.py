"""Running the converter: its progress as events, its failure as one line."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path

from localq.convert.external.child import Ended, python_environment, run_child
from localq.convert.external.environment import Converter
from localq.errors import LocalqError, StorageError, UnsupportedError
from localq.events import Emit, Note, Progress
from localq.formats.types import QuantType
from localq.messages import msg

__all__ = ["OUTPUT_TYPES", "run_converter"]

OUTPUT_TYPES: Mapping[QuantType, str] = {
    # what the converter writes by itself -> its --outtype
    QuantType.F32: "f32",
    QuantType.F16: "f16",
    QuantType.BF16: "bf16",
    QuantType.Q8_0: "q8_0",
    QuantType.TQ1_0: "tq1_0",
    QuantType.TQ2_0: "tq2_0",
}

_STAGE = "converting with llama.cpp"
_WARNINGS = 10
# tqdm: "Writing:  42%|####      | 1.21G/2.87G [00:03<00:04, 386Mbyte/s]"
_BAR = re.compile(r"(?P<what>[^%|]{0,80}?):?\s*\d{1,3}%\|.*?\|\s*(?P<done>\S+)/(?P<total>\S+) \[.*")
_AMOUNT = re.compile(r"([0-9.]{1,12})([kMGTP]?)")
_POWERS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_WARNING = re.compile(r"WARNING:[\w.-]+:(.*)")


def run_converter(
    converter: Converter,
    checkpoint: Path,
    target: Path,
    type_: QuantType,
    *,
    log: Path,
    emit: Emit,
    cancel: threading.Event,
) -> None:
    """Write `checkpoint` as the GGUF `target`; on any failure no file is left there.

    Code that the checkpoint brings along may be run by it; nothing is fetched from anywhere.
    LocalqError with the converter's own last word where it fails; Cancelled.
    """
    watcher = _Watcher(emit)
    # The converter fills {ftype} and the like into the name it is given.
    outfile = target.with_name(target.name.replace("{", "{{").replace("}", "}}"))
    options: list[str | Path] = ["--outtype", OUTPUT_TYPES[type_], "--outfile", outfile]
    complete = False
    try:
        ended = run_child(
            [converter.python, "-s", converter.script, checkpoint, *options],
            env=python_environment(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1"),
            cwd=converter.script.parent,
            log=log,
            cancel=cancel,
            on_line=watcher,
        )
        if ended.code or not target.is_file():
            raise _failure(checkpoint, ended, log)
        complete = True
    finally:
        if not complete:
            target.unlink(missing_ok=True)
    for text in list(watcher.warnings)[:_WARNINGS]:
        emit(Note(msg("llama.cpp: {text}", text=text)))  # mostly of interest to its own developers


class _Watcher:
    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.warnings: dict[str, None] = {}

    def __call__(self, line: str) -> bool:
        if match := _BAR.fullmatch(line):
            if match["what"].strip() == "Writing":
                self._emit(Progress(_STAGE, _amount(match["done"]), _amount(match["total"])))
            return True
        if (match := _WARNING.fullmatch(line)) and (text := match[1].strip()):
            self.warnings[text] = None
        return False


def _amount(text: str) -> int:
    """tqdm's "1.21G" as a number; 0 where it says "?"."""
    match = _AMOUNT.fullmatch(text)
    try:
        return int(float(match[1]) * _POWERS[match[2]]) if match else 0
    except ValueError:
        return 0


def _failure(checkpoint: Path, ended: Ended, log: Path) -> LocalqError:
    text = msg(
        "{checkpoint}: llama.cpp's converter failed: {describe}",
        checkpoint=checkpoint,
        describe=ended.describe(),
    )
    if "No space left on device" in ended.reason:
        return StorageError(text, hint=msg("free some space, or choose another disk with -o"))
    kind = UnsupportedError if "not supported" in ended.reason else LocalqError
    return kind(text, hint=f"its log is {log}")
