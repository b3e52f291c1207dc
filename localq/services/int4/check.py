"""Does what was made work? Loaded by transformers, it must write tokens, no NaN, and be near."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localq.errors import BadFileError
from localq.events import Emit, Note, Progress, Unit
from localq.gpu_quant.calibration import BUILTIN_TEXT, Calibration
from localq.gpu_quant.child import run_script
from localq.gpu_quant.environments import Environment
from localq.gpu_quant.events import ChildEvent, Stage
from localq.hardware import memory
from localq.messages import msg
from localq.services.int4.plan import Int4Plan
from localq.services.int4.stages import stage_in_words

__all__ = ["Compared", "compare_with_original"]

_TOKENS = 256
_LEAST_COSINE = {2: 0.02, 3: 0.3, 4: 0.5, 8: 0.9}
"""Of logits with the original's. Random weights, the hardest case, gave 0.34, 0.71, 0.90 and 0.999
by bits; a checkpoint that is read wrongly gives about 0."""
_BYTES_TO_COMPARE = {"cpu": 4, "cuda": 2}


@dataclass(frozen=True, slots=True)
class Compared:
    """See `Int4Result`; `values` is all that was found."""

    values: Mapping[str, int | float | bool] = field(default_factory=dict)

    @property
    def cosine(self) -> float | None:
        return self._number("cosine")

    @property
    def perplexity(self) -> float | None:
        return self._number("perplexity")

    @property
    def original_perplexity(self) -> float | None:
        return self._number("original_perplexity")

    def _number(self, name: str) -> float | None:
        found = self.values.get(name)
        return None if found is None else float(found)


def compare_with_original(
    plan: Int4Plan,
    environment: Environment,
    calibration: Calibration,
    scratch: Path,
    output: Path,
    log: Path,
    emit: Emit,
    cancel: threading.Event,
) -> Compared:
    """Load the checkpoint `output` as its users will. BadFileError where it does not work.

    The original is loaded beside it where memory allows; a Note says where not.
    """

    def on_event(event: ChildEvent) -> None:
        if isinstance(event, Stage):
            emit(Progress(stage_in_words(event.name), 0, 0, Unit.LAYERS))

    compare = _has_room(plan)
    if not compare:
        emit(
            Note(
                msg("the original is too large to be loaded too: its logits are not compared"),
                warning=True,
            )
        )
    text = calibration.path if calibration.path.suffix == ".txt" else BUILTIN_TEXT
    task = {
        "task": "check",
        "source": str(plan.source.path),
        "output": str(output),
        "device": plan.device,
        "text": str(text),
        "tokens": _TOKENS,
        "compare": compare,
    }
    done = run_script(
        environment.python,
        plan.backend.script,
        task,
        scratch=scratch,
        log=log,
        cancel=cancel,
        on_event=on_event,
    )
    compared = Compared(done.values)
    if not done.values.get("finite"):
        raise _useless(plan, msg("its logits are no numbers (NaN)"))
    if not done.values.get("generated"):
        raise _useless(plan, msg("it writes no tokens"))
    least = _LEAST_COSINE[plan.options.bits]
    if compared.cosine is not None and not compared.cosine >= least:
        raise _useless(
            plan,
            msg(
                "its logits are far from the original's (cosine {cosine:.2f}, at least {least})",
                cosine=compared.cosine,
                least=least,
            ),
        )
    return compared


def _has_room(plan: Int4Plan) -> bool:
    needed = plan.estimate.parameters * _BYTES_TO_COMPARE[plan.device]
    left = memory()
    return left is None or needed < left.available * 0.8


def _useless(plan: Int4Plan, why: str) -> BadFileError:
    return BadFileError(
        plan.name,
        msg("was made, but {why}; it was not kept", why=why),
        hint=msg("more --calib-samples, a smaller --group-size or 8 bits may do better"),
    )
