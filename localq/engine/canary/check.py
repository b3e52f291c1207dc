"""Whether the installed engine works on this processor, and how it has to be loaded.

Before an engine is trusted it is tried in a process of its own, first as it was built, then in ever
safer ways; the first that gives the right logits is kept and used by every process that loads the
engine. An engine compiled for another processor, or by a compiler that breaks an instruction set,
is then one clear line instead of a crash in the middle of an answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from localq.engine.mode import MODE_VARIABLE, EngineMode
from localq.errors import UsageError

__all__ = ["BOUND", "Outcome", "Probe", "Try", "run_probe", "try_modes"]

Outcome: TypeAlias = Literal["works", "crashed", "killed", "hung", "wrong", "refused"]
"""killed: by someone else, such as a system that ran out of memory."""

BOUND = 0.06
"""The share by which logits may differ from the right ones. Kernels round what weights are
multiplied with to 8 bits, each in its way: those of x64, SSE 4.2, AVX, AVX2 and AVX-512, with
repacked weights and without, are 2.8 % off. An eighth of any one of the canary's matrices, left
out, makes more than 9 %."""
TRY_SECONDS = 10.0
_ALL_SECONDS = 35.0
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGXCPU")
_MAX_ANSWER = 1 << 16
_MAX_TEXT = 300
# A process group of its own: Ctrl-C in the terminal is no crash of the engine.
if sys.platform == "win32":
    _APART: dict[str, Any] = {"creationflags": subprocess.CREATE_NO_WINDOW}
else:
    _APART: dict[str, Any] = {"process_group": 0}


@dataclass(frozen=True, slots=True)
class Try:
    """One way of loading the engine, and how that went."""

    mode: str
    outcome: Outcome
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the canary's process said, or how it ended."""

    value: dict[str, Any]
    code: int | None
    """None: it was ended, because it took too long."""


Probe: TypeAlias = Callable[[EngineMode, Sequence[str], float], Answer]


def try_modes(probe: Probe | None = None, try_seconds: float = TRY_SECONDS) -> tuple[Try, ...]:
    """Try the engine, until a way works; that is the last one then. OSError: no process starts."""
    probe = probe or run_probe
    tries: list[Try] = []
    started = time.monotonic()
    for mode in _modes(probe, try_seconds):
        tries.append(_try(probe, mode, try_seconds))
        if tries[-1].outcome == "works" or time.monotonic() - started > _ALL_SECONDS:
            break
    return tuple(tries)


def _modes(probe: Probe, seconds: float) -> Iterator[EngineMode]:
    """The ways to load the engine, the fastest first. A variant for processors a little older still
    uses most of this one, so it comes before doing without repacked weights."""
    yield EngineMode()
    variants = _variants(probe, seconds)
    yield from (EngineMode(name) for name in variants[1:2])
    yield EngineMode(repack=False)
    yield from (EngineMode(name) for name in variants[2:])
    yield from (EngineMode(name, repack=False) for name in variants[-1:])


def _variants(probe: Probe, seconds: float) -> Sequence[str]:
    """Those of a build that carries several, the best first; no answer is as good as none."""
    names = probe(EngineMode(), ("--variants",), seconds).value.get("variants")
    if not isinstance(names, list):
        return ()
    found = [name for name in names if isinstance(name, str)]
    with suppress(UsageError):
        return [str(EngineMode.parse(name).variant) for name in found]
    return ()


def _try(probe: Probe, mode: EngineMode, seconds: float) -> Try:
    started = time.monotonic()
    answer = probe(mode, (), seconds)
    outcome, detail = _judge(answer, seconds)
    return Try(str(mode), outcome, detail, round(time.monotonic() - started, 3))


def _judge(answer: Answer, seconds: float) -> tuple[Outcome, str]:
    if answer.code is None:
        return "hung", f"no answer within {seconds:g} s"
    if answer.code != 0:
        ended = _ended(answer.code)
        return "killed" if ended.endswith(_FROM_OUTSIDE) else "crashed", ended
    error, share = answer.value.get("error"), answer.value.get("deviation")
    if isinstance(error, str):
        return "refused", error[:_MAX_TEXT]
    if not isinstance(share, float):
        return "refused", "the canary's process said nothing"
    if share <= BOUND:
        return "works", f"logits within {share:.1%} of the right ones"
    off = f"{share:.0%}" if share < 10 else "far"
    return "wrong", f"the logits are {off} off"


def _ended(code: int) -> str:
    if code > 0:
        # Windows: the exception's number, such as 0xC000001D, an illegal instruction.
        return f"exit code {code:#x}" if code > 255 else f"exit code {code}"
    try:
        return f"signal {-code}, {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def run_probe(mode: EngineMode, arguments: Sequence[str], seconds: float) -> Answer:
    """Ask the canary's process. OSError: it cannot be started."""
    environ = {
        **os.environ,
        MODE_VARIABLE: str(mode),
        # Threads that wait for each other by spinning take ten times as long on a busy machine.
        "OMP_WAIT_POLICY": "passive",
    }
    process = subprocess.Popen(
        (sys.executable, "-P", "-m", "localq.engine.canary.probe", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        **_APART,
    )
    try:
        data, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        # A process stuck in a driver cannot be killed; it is not waited for either.
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        return Answer({}, None)
    except BaseException:
        process.kill()
        raise
    value: Any = None
    with suppress(ValueError, RecursionError):
        value = json.loads(data[:_MAX_ANSWER])
    return Answer(value if isinstance(value, dict) else {}, process.returncode)
