"""Models side by side: size, memory and speed on this machine, and quality."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localq.database import Database
from localq.errors import UsageError
from localq.events import Emit
from localq.formats.gguf import read_gguf
from localq.hardware.profile import HardwareProfile
from localq.library import Library, Model
from localq.messages import msg
from localq.planning.measurements import Benchmark, Measurements, machine_name
from localq.quality.cards import QualityCard, QualityCards
from localq.services.library.locate import locate_gguf
from localq.services.machine.measured_model import subject_of
from localq.services.machine.plan import planning_profile
from localq.services.measure.bench import BenchRequest, bench
from localq.services.quality.evaluate import EvaluateRequest, evaluate
from localq.services.quality.text import read_text
from localq.services.quality.wikitext import wikitext2

__all__ = ["CompareRequest", "ComparedModel", "ModelComparison", "compare"]

_N_PROMPT, _N_GENERATE, _REPETITIONS = 128, 32, 3


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """Two or more models, and the base that the others are compared with: None: the largest of
    them. `text`, `n_ctx` and `chunks` are those of `EvaluateRequest`. `measured`: measure nothing,
    show what is known. UsageError."""

    models: tuple[str, ...]
    text: Path | None = None
    against: str | None = None
    n_ctx: int = 512
    chunks: int | None = None
    measured: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError(msg("name the models to compare"))
        EvaluateRequest(self.models, self.text, self.against, self.n_ctx, self.chunks)


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model; what was not measured is None. Speeds are in tokens per second."""

    model: str
    quant: str
    path: Path
    size_bytes: int
    memory_bytes: int | None
    """What the engine allocated for it, weights included."""
    prompt_speed: float | None
    generate_speed: float | None
    card: QualityCard | None

    @property
    def change(self) -> float | None:
        """How much higher its perplexity is than the base's, as a share of that."""
        ratio = self.card.ratio if self.card else None
        return ratio.value - 1 if ratio else None


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The base first, where it is one of the models; then the largest first."""

    machine: str
    base: str | None
    models: tuple[ComparedModel, ...]


def compare(
    library: Library,
    request: CompareRequest,
    emit: Emit,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
) -> ModelComparison:
    """What is known of each model, and what is not yet, measured. Errors as `evaluate` and
    `bench` have them."""
    machine = profile or planning_profile(cancel)
    models = list({m.path: m for m in (locate_gguf(library, n) for n in request.models)}.values())
    base = _base(library, request, models)
    if base and base.path not in {model.path for model in models}:
        models.append(base)
    models.sort(key=lambda model: (model is not base, -model.size_bytes))
    cards = _cards(library, request, models, base, emit, cancel, machine)
    compared = []
    for model in models:
        run = _speed(library, request, model, emit, cancel, machine)
        speeds = {test.name[:2]: test.mean for test in run.tests} if run else {}
        compared.append(
            ComparedModel(
                model=_short(model),
                quant=model.quant,
                path=model.path,
                size_bytes=model.size_bytes,
                memory_bytes=run.memory_bytes if run else None,
                prompt_speed=speeds.get("pp"),
                generate_speed=speeds.get("tg"),
                card=cards.get(model.path),
            )
        )
    return ModelComparison(machine_name(machine), _short(base) if base else None, tuple(compared))


def _base(library: Library, request: CompareRequest, models: Sequence[Model]) -> Model | None:
    if request.against:
        found = locate_gguf(library, request.against)
        return next((model for model in models if model.path == found.path), found)
    return max(models, key=lambda model: model.size_bytes) if len(models) > 1 else None


def _cards(
    library: Library,
    request: CompareRequest,
    models: Sequence[Model],
    base: Model | None,
    emit: Emit,
    cancel: threading.Event,
    machine: HardwareProfile,
) -> dict[Path, QualityCard]:
    """A card of each model, all of the same text; those that are missing are measured."""
    store = QualityCards(Database(library.paths.database))
    if request.measured:
        return _known(store, models, base)
    text = request.text or wikitext2(library.paths, emit, cancel)
    digest = read_text(text).known_as.sha256

    def is_wanted(card: QualityCard) -> bool:
        whole = card.whole_text if request.chunks is None else card.chunks == request.chunks
        return card.text.sha256 == digest and card.n_ctx == request.n_ctx and whole

    known = {path: card for path, card in _known(store, models, base).items() if is_wanted(card)}
    if len(known) == len(models):
        return known
    names = tuple(model.name for model in models)
    against = base.name if base else None
    wanted = EvaluateRequest(names, text, against, request.n_ctx, request.chunks)
    evaluate(library, wanted, emit, cancel, profile=machine)
    return _known(store, models, base)


def _known(
    store: QualityCards, models: Sequence[Model], base: Model | None
) -> dict[Path, QualityCard]:
    """The latest cards of the models that are all of one text: the last model's latest."""
    found: dict[Path, QualityCard] = {}
    first: QualityCard | None = None
    for model in reversed(models):  # the base last: it has cards of every text
        against = None if base is None or model is base else _short(base)
        for card in store.of(model.path.absolute()):
            if card.base == against and (first is None or card.is_comparable(first)):
                first = first or card
                found[model.path] = card
                break
    return found


def _speed(
    library: Library,
    request: CompareRequest,
    model: Model,
    emit: Emit,
    cancel: threading.Event,
    machine: HardwareProfile,
) -> Benchmark | None:
    subject = subject_of(read_gguf(model.path), machine)
    history = Measurements(Database(library.paths.database)).history(subject.shape, subject.quant)
    for run in history:
        if run.subject == subject and len(run.tests) > 1:
            return run
    if request.measured:
        return None
    wanted = BenchRequest(model.name, _N_PROMPT, _N_GENERATE, _REPETITIONS)
    return bench(library, wanted, emit, cancel, profile=machine)


def _short(model: Model) -> str:
    return model.path.name if model.name == str(model.path) else model.name
