"""What to do about a quantized model that disappoints, by what was measured of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from localq.database import Database
from localq.display import byte_size
from localq.formats.gguf import GGUFFile, read_gguf
from localq.hardware.profile import HardwareProfile
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.measurements import Measurements
from localq.quality.cards import QualityCards
from localq.services.library.locate import locate_gguf
from localq.services.machine.measured_model import subject_of
from localq.services.machine.plan import plan_gguf, planning_profile
from localq.services.quality.family import family_of, files_of

__all__ = ["Advice", "advise"]

_BETTER = {"Q4_0": "q5_1", "Q4_1": "q5_1", "Q4_K_S": "q5_k_m", "Q4_K_M": "q5_k_m", "Q5_0": "q8_0"}
"""The next type up; of those that are not here, Q8_0."""
_EXACT = ("Q8_0", "F16", "BF16", "F32")
_FASTER = 1.1
_SHORT_CONTEXT = 2048
"""Tokens; a conversation needs so many."""
_LARGE_CONTEXT = 0.5
"""Of the weights: from there on the context is worth looking at first."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Of one trouble: what was looked at, what was found, and what to do about it."""

    trouble: str
    looked_at: str
    found: str
    command: str


def advise(
    library: Library,
    model: str | None,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
) -> tuple[Advice, ...]:
    """Look at what is known of a GGUF: nothing is measured. NotFoundError, BadFileError."""
    found = locate_gguf(library, model)
    file = read_gguf(found.path)
    machine = profile or planning_profile(cancel)
    return (
        _quality(library, found),
        _speed(library, found, file, machine),
        _memory(library, found, file, machine),
    )


_FEW_BITS = ("Q4_", "Q3_", "Q2_", "IQ", "TQ", "MXFP4")


def _quality(library: Library, model: Model) -> Advice:
    trouble = msg("its answers are worse than the original's")
    cards = QualityCards(Database(library.paths.database)).of(model.path.absolute())
    looked_at = msg("evaluations of this file: {count}", count=len(cards))
    card = next((card for card in cards if card.ratio and card.kld), None)
    if card is None or card.ratio is None or card.kld is None:
        base = _largest(library, model)
        against = f" --against {base.name}" if base else ""
        found = msg("how far it is from the original was not measured")
        return Advice(trouble, looked_at, found, f"localq eval {model.name}{against}")
    found = msg(
        "perplexity {change:+.2f} % (± {error:.2f}) and KL divergence {kld:.4f} against {base}",
        change=100 * (card.ratio.value - 1),
        error=100 * card.ratio.error,
        kld=card.kld.value,
        base=card.base,
    )
    if card.is_lossless or card.ratio.value + card.ratio.error <= 1:
        found += msg(": quantizing is not the cause; look at the chat template and the sampling")
        return Advice(trouble, looked_at, found, f"localq show {model.name}")
    if model.quant in _EXACT:
        found += msg(": more bits would hardly help")
        return Advice(trouble, looked_at, found, f"localq verify {model.name}")
    better = _BETTER.get(model.quant, "q8_0")
    return Advice(trouble, looked_at, found, f"localq quantize {better} {family_of(model)}")


def _speed(library: Library, model: Model, file: GGUFFile, machine: HardwareProfile) -> Advice:
    trouble = msg("it is no faster than the original")
    own = _generates(library, file, machine)
    other = _largest(library, model)
    reference = _generates(library, read_gguf(other.path), machine) if other else None
    looked_at = msg(
        "benchmarks on this machine; its type is {quant}, {size}",
        quant=file.quant,
        size=byte_size(model.size_bytes),
    )
    if own is None:
        found = msg("its speed was not measured")
        return Advice(trouble, looked_at, found, f"localq bench {model.name}")
    if other is None or reference is None:
        found = msg("it writes {own:.1f} tokens/s; that of the original is not known", own=own)
        command = f"localq bench {other.name}" if other else f"localq tune {model.name}"
        return Advice(trouble, looked_at, found, command)
    found = msg(
        "it writes {own:.1f} tokens/s, {other} {reference:.1f}: {ratio:.2f} times as fast",
        own=own,
        other=other.name,
        reference=reference,
        ratio=own / reference,
    )
    if own >= _FASTER * reference:
        return Advice(trouble, looked_at, found, f"localq compare {model.name} {other.name}")
    return Advice(trouble, looked_at, found, f"localq tune {model.name}")


def _memory(library: Library, model: Model, file: GGUFFile, machine: HardwareProfile) -> Advice:
    trouble = msg("it takes too much memory")
    planned = plan_gguf(library, model, file, profile=machine)
    plan, estimate = planned.plan, planned.plan.estimate
    looked_at = msg("how `localq plan` would load it")
    found = msg(
        "{total} in all: weights {weights}, context of {n_ctx:,} tokens {kv_cache} ({type_k})",
        total=byte_size(estimate.total),
        weights=byte_size(estimate.weights),
        n_ctx=plan.n_ctx,
        kv_cache=byte_size(estimate.kv_cache),
        type_k=plan.type_k,
    )
    half = plan.n_ctx // 2
    if half >= _SHORT_CONTEXT and estimate.kv_cache > _LARGE_CONTEXT * estimate.weights:
        return Advice(trouble, looked_at, found, f"localq plan {model.name} --ctx {half} --save")
    large = model.size_bytes * 8 > 5 * model.parameters  # above 5 bits for each weight
    if large and not model.quant.startswith(_FEW_BITS):  # in a small model also because of others
        return Advice(trouble, looked_at, found, f"localq quantize q4_0 {family_of(model)}")
    return Advice(trouble, looked_at, found, f"localq plan {model.name} --kv q8_0 --save")


def _generates(library: Library, file: GGUFFile, machine: HardwareProfile) -> float | None:
    """Tokens it writes per second here; None: not measured."""
    subject = subject_of(file, machine)
    runs = Measurements(Database(library.paths.database)).history(subject.shape, subject.quant)
    return next(
        (
            test.mean
            for run in runs
            if run.subject == subject
            for test in run.tests
            if test.name.startswith("tg")
        ),
        None,
    )


def _largest(library: Library, model: Model) -> Model | None:
    """The largest other file of the same model in the library: the nearest to the original."""
    files = files_of(library, family_of(model))
    larger = [other for other in files if other.size_bytes > model.size_bytes]
    return max(larger, key=lambda other: other.size_bytes, default=None)
