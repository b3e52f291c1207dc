"""Evaluate models: let them read a text, and see how well each foretells it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.database import Database
from localq.engine.client import Engine, LoadSettings
from localq.engine.protocol import Scores
from localq.errors import Cancelled, EngineError, LibraryError, StorageError, UsageError
from localq.events import Emit, Note, Progress, Started, Unit
from localq.formats.gguf import GGUFFile, read_gguf
from localq.hardware.profile import HardwareProfile
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.budgets import host_and_devices
from localq.planning.measurements import machine_name
from localq.planning.offload_plan import OffloadPlan, PlanOptions
from localq.quality.cards import QualityCards, cards_of
from localq.quality.results import EvaluatedModel, Evaluation
from localq.services.hosting.working_engine import working_engine
from localq.services.library.locate import locate_gguf
from localq.services.library.writes_text import check_writes_text
from localq.services.machine.plan import load_settings, plan_gguf, planning_profile
from localq.services.quality.rounds import fits, rounds
from localq.services.quality.text import ReadText, read_text
from localq.services.quality.wikitext import wikitext2

if TYPE_CHECKING:
    from localq.quality.statistics import Comparison, Moments

__all__ = ["EvaluateRequest", "evaluate"]

_LEAST_CONTEXT = 16
_MOST_CONTEXT = 1 << 16
_MOST_MODELS = 64
_SHOWN = 3
"""Running estimates in a line."""


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """`models` are names or .gguf files; `against` is the base that they are compared with.

    `text` None: WikiText-2's test text. It is read in chunks of `n_ctx` tokens, at most `chunks` of
    them (None: all), of which the second half of each counts. `until`: stop as soon as every
    perplexity's standard error is at most such a share of it. `rounded`: compare with the base's
    probabilities in 16 bits, as llama-perplexity does. UsageError.
    """

    models: tuple[str, ...]
    text: Path | None = None
    against: str | None = None
    n_ctx: int = 512
    chunks: int | None = None
    until: float | None = None
    rounded: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.models) <= _MOST_MODELS:
            raise UsageError(
                msg(
                    "{count} models; it must be 1 to {most}",
                    count=len(self.models),
                    most=_MOST_MODELS,
                )
            )
        if not _LEAST_CONTEXT <= self.n_ctx <= _MOST_CONTEXT:
            raise UsageError(
                msg(
                    "a chunk of {n_ctx:,} tokens; it must have {least} to {most:,}",
                    n_ctx=self.n_ctx,
                    least=_LEAST_CONTEXT,
                    most=_MOST_CONTEXT,
                )
            )
        if self.chunks is not None and self.chunks < 1:
            raise UsageError(msg("{chunks} chunks; it must be at least 1", chunks=self.chunks))
        if self.until is not None and not 0 < self.until < 1:
            raise UsageError(
                msg(
                    "an error of {until:g} %; it must be above 0 and below 100",
                    until=100 * self.until,
                )
            )


@dataclass(slots=True)
class _Subject:
    """A model to evaluate, how it is loaded, and what is known of it so far. `comparison` is with
    the base; None: there is none, or this is it."""

    model: Model
    file: GGUFFile
    plan: OffloadPlan
    nll: Moments
    comparison: Comparison | None
    chunks: int = 0
    whole_text: bool = False

    @property
    def settings(self) -> LoadSettings:
        return load_settings(self.model.path, self.plan)


def evaluate(
    library: Library,
    request: EvaluateRequest,
    emit: Emit,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
) -> Evaluation:
    """Perplexity of each model, and its divergence from the base, as llama-perplexity computes
    them. Each model gets a card in the library; no logits are written to the disk.

    The base and as many models as fit into memory read each chunk together, in rounds. Emits
    Progress in tokens. NotFoundError, UsageError (the text is too short, the vocabularies differ),
    UnsupportedError, EngineError, Cancelled.
    """
    began, measured_at = time.monotonic(), time.time()
    machine = profile or planning_profile(cancel)
    base, others = _subjects(library, request, machine)
    text = read_text(request.text or wikitext2(library.paths, emit, cancel))
    made = rounds(
        base.plan.estimate if base else None,
        [subject.plan.estimate for subject in others],
        host_and_devices(machine),
    )
    everyone = [base, *others] if base else others
    names = ", ".join(_short(subject.model) for subject in everyone)
    emit(Started(msg("{names}: reading {text}", names=names, text=text.known_as.name)))
    build = ""
    for number, places in enumerate(made, 1):
        together = [others[place] for place in places]
        loaded = [base, *together] if base else together
        with working_engine(
            library,
            emit,
            owner="eval",
            models=[subject.model for subject in loaded],
            plans=[subject.plan for subject in loaded],
            cancel=cancel,
        ) as engine:
            round_ = _Round(engine, request, loaded, emit, cancel)
            build = round_.load()
            round_.read(text, f"{number}/{len(made)}" if len(made) > 1 else "")
            found = Evaluation(
                models=tuple(_result(subject, base) for subject in everyone if subject.chunks),
                text=text.known_as,
                n_ctx=request.n_ctx,
                rounded=request.rounded,
                seconds=time.monotonic() - began,
                measured_at=measured_at,
                engine=build,
                machine=machine_name(machine),
            )
            _keep(library, found, emit)
    return found


def _keep(library: Library, found: Evaluation, emit: Emit) -> None:
    """Keep what is known so far: what fails later takes nothing away."""
    try:
        QualityCards(Database(library.paths.database)).keep(cards_of(found))
    except (LibraryError, StorageError) as error:  # what was measured is shown all the same
        emit(Note(msg("the result was not kept: {error}", error=error), warning=True))


@dataclass(slots=True)
class _Round:
    """Models that are in memory at the same time: the base first, where there is one."""

    engine: Engine
    request: EvaluateRequest
    subjects: Sequence[_Subject]
    emit: Emit
    cancel: threading.Event

    def load(self) -> str:
        """Load them; the engine's build."""
        first, *others = self.subjects
        loaded = self.engine.load(first.settings, cancel=self.cancel)
        n_ctx = self.request.n_ctx
        if 0 < loaded.n_ctx_train < n_ctx:
            self.emit(
                Note(
                    msg(
                        "chunks of {n_ctx:,} tokens are longer than the {n_ctx_train:,} the model"
                        " was trained with",
                        n_ctx=n_ctx,
                        n_ctx_train=loaded.n_ctx_train,
                    ),
                    warning=True,
                )
            )
        for other in others:
            self.engine.load_beside(other.settings, cancel=self.cancel)
        return loaded.build

    def read(self, text: ReadText, number: str) -> None:
        """Let them read the text, and count what they make of it."""
        n_ctx = self.request.n_ctx
        tokens = self.engine.tokenize(text.text, parse_special=False)
        if len(tokens) < 2 * n_ctx:  # as llama-perplexity wants it
            raise UsageError(
                msg(
                    "{name}: {count:,} tokens of text; chunks of {n_ctx:,} need at least {least:,}",
                    name=text.known_as.name,
                    count=len(tokens),
                    n_ctx=n_ctx,
                    least=2 * n_ctx,
                ),
                hint=msg("give a longer text, or a smaller --ctx"),
            )
        there_are = len(tokens) // n_ctx
        first = self.subjects[0]
        # A base that was read with others before stops where it did then.
        chunks = first.chunks or min(there_are, self.request.chunks or there_are)
        stage = msg("reading {number}", number=number) if number else msg("reading")
        self.emit(Progress(stage, 0, chunks * n_ctx, Unit.TOKENS))
        done = 0
        while done < chunks and not (done and first.chunks == 0 and self._is_exact_enough()):
            if self.cancel.is_set():
                raise Cancelled
            part = tokens[done * n_ctx : (done + 1) * n_ctx]
            rounded = self.request.rounded
            self._count(self.engine.score(part, n_ctx // 2, rounded=rounded, cancel=self.cancel))
            done += 1
            self.emit(Progress(stage, done * n_ctx, chunks * n_ctx, Unit.TOKENS, self._estimates()))
        for subject in self.subjects:
            subject.chunks, subject.whole_text = done, done == there_are

    def _count(self, scores: Scores) -> None:
        import numpy as np

        base_nll = np.array(scores.models[0].nll)
        for subject, found in zip(self.subjects, scores.models, strict=True):
            nll = np.array(found.nll)
            if subject.chunks == 0:  # else a base that was counted with others before
                subject.nll.add(nll)
            if subject.comparison:
                subject.comparison.add(nll, base_nll, np.array(found.kld), np.array(found.same_top))

    def _is_exact_enough(self) -> bool:
        until = self.request.until
        if until is None:
            return False
        logs = [subject.nll.estimate for subject in self.subjects]
        return all(0 < log.error <= until for log in logs)

    def _estimates(self) -> str:
        """Such as "61.49, 61.68 (+/- 3.1)"."""
        found = [subject.nll.exponential for subject in self.subjects]
        shown = ", ".join(f"{estimate.value:.4g}" for estimate in found[:_SHOWN])
        more = ", …" if len(found) > _SHOWN else ""
        return msg("perplexity {shown} ± {error:.2g}", shown=shown + more, error=found[0].error)


def _subjects(
    library: Library, request: EvaluateRequest, machine: HardwareProfile
) -> tuple[_Subject | None, list[_Subject]]:
    """The base and the others, planned: on the devices where each fits there beside the base."""
    from localq.quality.statistics import Comparison, Moments

    base_model = locate_gguf(library, request.against) if request.against else None
    models = {model.path: model for model in (locate_gguf(library, n) for n in request.models)}
    if base_model:
        models.pop(base_model.path, None)
        if not models:
            raise UsageError(
                msg("{name}: there is nothing to compare it with", name=_short(base_model)),
                hint=msg("name another model beside the one of --against"),
            )
    everyone = [base_model, *models.values()] if base_model else [*models.values()]
    files = [read_gguf(model.path) for model in everyone]
    for model, file in zip(everyone, files, strict=True):
        check_writes_text(model, file)
        if base_model and not _same_vocabulary(file, files[0]):
            raise UsageError(
                msg(
                    "{name}: its vocabulary is not that of {base}, so their predictions cannot be"
                    " compared",
                    name=_short(model),
                    base=_short(base_model),
                )
            )
    plans = _plans(everyone, files, request, machine, compared=base_model is not None)
    subjects = [
        _Subject(model, file, plan, Moments(), Comparison() if base_model and place else None)
        for place, (model, file, plan) in enumerate(zip(everyone, files, plans, strict=True))
    ]
    return (subjects[0], subjects[1:]) if base_model else (None, subjects)


def _same_vocabulary(file: GGUFFile, other: GGUFFile) -> bool:
    key = "tokenizer.ggml.tokens"
    return file.metadata.get(key) == other.metadata.get(key)


def _plans(
    models: Sequence[Model],
    files: Sequence[GGUFFile],
    request: EvaluateRequest,
    machine: HardwareProfile,
    *,
    compared: bool,
) -> list[OffloadPlan]:
    """How each is loaded; EngineError where one does not fit into memory."""

    def planned(n_gpu_layers: int | None) -> list[OffloadPlan]:
        options = PlanOptions(
            n_ctx=request.n_ctx, n_gpu_layers=n_gpu_layers, type_k="f16", type_v="f16"
        )
        return [
            plan_gguf(None, model, file, options, profile=machine).plan
            for model, file in zip(models, files, strict=True)
        ]

    plans = planned(None)
    if compared and any(plan.n_gpu_layers for plan in plans):
        budgets = host_and_devices(machine)
        base, *others = (plan.estimate for plan in plans)
        if not all(fits([base, other], budgets) for other in others):
            plans = planned(0)
    for model, plan in zip(models, plans, strict=True):
        if plan.problem:
            raise EngineError(
                msg("{name} cannot run here: {problem}", name=_short(model), problem=plan.problem)
            )
    return plans


def _short(model: Model) -> str:
    """Its name, or that of its file where it has none in the library."""
    return model.path.name if model.name == str(model.path) else model.name


def _result(subject: _Subject, base: _Subject | None) -> EvaluatedModel:
    model = subject.model
    compared = subject.comparison if base else None
    return EvaluatedModel(
        model=_short(model),
        path=model.path,
        quant=model.quant,
        size_bytes=model.size_bytes,
        perplexity=subject.nll.exponential,
        log_perplexity=subject.nll.estimate,
        chunks=subject.chunks,
        tokens=subject.nll.count,
        whole_text=subject.whole_text,
        divergence=compared.divergence(_short(base.model)) if compared and base else None,
    )
