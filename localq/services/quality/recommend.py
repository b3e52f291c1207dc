"""Which method, format and library to take for a model: by rule, and by what was measured."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from localq.database import Database
from localq.hardware.profile import HardwareProfile
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.measurements import Measurements
from localq.planning.method_choice import (
    Hardware,
    MethodChoice,
    Priority,
    Situation,
    Use,
    choose_method,
)
from localq.quality.cards import QualityCard, QualityCards
from localq.services.library.locate import locate
from localq.services.machine.plan import planning_profile
from localq.services.quality.family import family_of, files_of

__all__ = ["MeasuredChoice", "RecommendRequest", "RecommendedMethod", "recommend"]


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """`model` is a name or path, or None: nothing is known of it. `hardware` None: this
    machine's."""

    model: str | None = None
    use: Use = Use.PERSONAL
    priority: Priority = Priority.QUALITY
    hardware: Hardware | None = None


@dataclass(frozen=True, slots=True)
class MeasuredChoice:
    """A file of the library that measurements speak for."""

    model: str
    quant: str
    reason: str
    command: str


@dataclass(frozen=True, slots=True)
class RecommendedMethod:
    """`choice` is by rule; `measured` outweighs it. `command` is what to type next."""

    hardware: Hardware
    use: Use
    priority: Priority
    choice: MethodChoice
    command: str
    measured: MeasuredChoice | None = None


def recommend(
    library: Library,
    request: RecommendRequest,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
) -> RecommendedMethod:
    """Choose for the model and the use. NotFoundError, Cancelled."""
    machine = profile or planning_profile(cancel)
    model = locate(library, request.model) if request.model else None
    device_bytes = max((d.total_bytes or 0 for d in machine.devices), default=0)
    parameters = model.parameters if model and model.parameters else None
    hardware = request.hardware or _hardware(device_bytes, parameters)
    situation = Situation(
        hardware,
        request.use,
        request.priority,
        parameters,
        # Another machine's GPU may be any.
        device_bytes or None if request.hardware is None else None,
    )
    choice = choose_method(situation)
    measured = None
    if model and choice.method == "GGUF":
        measured = _measured(library, model, request.priority)
    command = measured.command if measured else _command(choice, model)
    return RecommendedMethod(hardware, request.use, request.priority, choice, command, measured)


def _hardware(device_bytes: int, parameters: int | None) -> Hardware:
    """What this machine is for a model of so many parameters: 4 bits and a half for each."""
    if not device_bytes:
        return Hardware.CPU
    if parameters is not None and parameters * 4.5 / 8 > 0.8 * device_bytes:
        return Hardware.HYBRID
    return Hardware.GPU


def _command(choice: MethodChoice, model: Model | None) -> str:
    name = family_of(model) if model else "MODEL"
    if choice.method == "GGUF":
        return f"localq quantize {choice.format.lower()} {name}"
    if choice.method == "none":
        return f"vllm serve {name}"
    ready = f"localq search {name.rpartition('/')[2]} {choice.method}"
    return f"{ready}, then: vllm serve NAME --quantization {choice.method.lower()} --dtype half"


def _measured(library: Library, model: Model, priority: Priority) -> MeasuredChoice | None:
    """The best of the files that were made of the same model and compared with one base."""
    family = family_of(model)
    cards = QualityCards(Database(library.paths.database)).latest()
    files = files_of(library, family)
    known = [(m, card) for m in files if (card := cards.get(m.path)) and card.ratio]
    if not known:
        return None
    first = known[0][1]
    known = [(m, c) for m, c in known if c.is_comparable(first) and c.base == first.base]
    best, card = _best(library, known, priority)
    ratio = card.ratio
    assert ratio
    reason = msg(
        "measured: its perplexity is {change:+.2f} % (± {error:.2f}) away from {base}'s, the"
        " best for {priority} of {count} files",
        change=100 * (ratio.value - 1),
        error=100 * ratio.error,
        base=card.base,
        priority=priority.value,
        count=len(known),
    )
    return MeasuredChoice(best.name, best.quant, reason, f"localq run {best.name}")


def _best(
    library: Library, known: Sequence[tuple[Model, QualityCard]], priority: Priority
) -> tuple[Model, QualityCard]:
    """Quality: the smallest that is lossless, else the nearest to the base. Size: the smallest.
    Speed: the quickest that was measured, else the smallest."""

    def kld(pair: tuple[Model, QualityCard]) -> float:
        return pair[1].kld.value if pair[1].kld else float("inf")

    def size(pair: tuple[Model, QualityCard]) -> int:
        return pair[0].size_bytes

    if priority is Priority.QUALITY:
        lossless = [pair for pair in known if pair[1].is_lossless]
        return min(lossless, key=size) if lossless else min(known, key=kld)
    if priority is Priority.SPEED:
        speeds = {pair[0].name: _speed(library, pair[0]) for pair in known}
        if all(speeds.values()):
            return max(known, key=lambda pair: speeds[pair[0].name])
    return min(known, key=size)


def _speed(library: Library, model: Model) -> float:
    """Tokens it writes per second; 0: not measured."""
    from localq.formats.gguf import read_gguf
    from localq.services.machine.measured_model import subject_of

    subject = subject_of(read_gguf(model.path), planning_profile())
    runs = Measurements(Database(library.paths.database)).history(subject.shape, subject.quant)
    for run in runs:
        if run.subject == subject:
            for test in run.tests:
                if test.name.startswith("tg"):
                    return test.mean
    return 0.0
