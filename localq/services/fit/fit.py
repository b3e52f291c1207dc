"""How a model would fit this machine, type by type, before it is downloaded or made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from localq.database import Database
from localq.engine.settings import KV_TYPES
from localq.errors import UnsupportedError, UsageError
from localq.events import Emit, Note
from localq.formats.types import TensorType
from localq.hardware.profile import HardwareProfile
from localq.hub.backoff import RetryPolicy
from localq.hub.spec import ModelSpec, parse_spec
from localq.library import Library, Model
from localq.library.names import looks_like_path
from localq.messages import msg
from localq.planning.fit_choice import Where
from localq.quality.cards import QualityCard, QualityCards
from localq.services.fit.rows import FitResult, FitRow, RelatedRepo, rows_and_advice
from localq.services.fit.source import DescribedModel, FitKind, known_here, known_on_hub
from localq.services.library.locate import locate
from localq.services.machine.hardware import machine_profile
from localq.services.pull.related_repositories import RelatedSizes, find_related, quant_sizes
from localq.services.quality.family import family_of, files_of

__all__ = [
    "FitKind",
    "FitRequest",
    "FitResult",
    "FitRow",
    "RelatedRepo",
    "Where",
    "fit",
    "parse_cache_type",
]

T = TypeVar("T")

_MAX_CONTEXT = 1 << 30


@dataclass(frozen=True, slots=True)
class FitRequest:
    """`model` is OWNER/NAME[@REVISION][:QUANT or :FILE.gguf], a name in the library or a path.

    `n_ctx` tokens of context (None: as many as are useful and fit), kept as `type_kv`; `every`
    type, not only the usual ones; `related` looks for ready-made files, too, in other repositories.
    """

    model: str
    n_ctx: int | None = None
    type_kv: TensorType = TensorType.F16
    every: bool = False
    related: bool = True


def fit(
    library: Library,
    request: FitRequest,
    emit: Emit,
    cancel: threading.Event,
    *,
    profile: HardwareProfile | None = None,
    policy: RetryPolicy | None = None,
) -> FitResult:
    """Find out what there is to know of the model without its weights. `profile` stands for
    this machine's.

    Raises UsageError, NotFoundError, UnsupportedError, BadFileError, HubError, OfflineError,
    StorageError, Cancelled.
    """
    _refuse_nonsense(request)
    with _beside(cancel) as beside:
        machine = beside(lambda stop: profile or machine_profile(stop))
        meant = _meant(library, request.model)
        related: tuple[RelatedSizes, ...] = ()
        if isinstance(meant, Model):
            known = known_here(meant, every=request.every)
        else:
            known, related = _on_hub(library, request, meant, beside, emit, cancel, policy)
        result = rows_and_advice(
            known, machine.result(), related, n_ctx=request.n_ctx, type_kv=request.type_kv
        )
        return replace(result, measured=_measured(library, meant))


def parse_cache_type(text: str) -> TensorType:
    """What a user wrote for the context's type, in any case; UsageError names those there are."""
    type_ = KV_TYPES.get(text.strip().lower())
    if type_ is None:
        known = ", ".join(KV_TYPES)
        raise UsageError(
            msg("a context cannot be kept as {text!r}", text=text[:40]),
            hint=msg("choose one of: {known}", known=known),
        )
    return type_


def _measured(library: Library, meant: Model | ModelSpec) -> tuple[QualityCard, ...]:
    """What is known of the quality of the files that were made of the model, largest first."""
    family = meant.repo if isinstance(meant, ModelSpec) else family_of(meant)
    files = files_of(library, family)
    if not files:
        return ()
    cards = QualityCards(Database(library.paths.database)).latest()
    found = [cards[model.path] for model in files if model.path in cards]
    return tuple(sorted(found, key=lambda card: -card.size_bytes))


def _meant(library: Library, text: str) -> Model | ModelSpec:
    """A model on this disk; else what the text means on the Hub.

    A repository of which the library has only another type is asked for anew.
    """
    wanted = text.strip().casefold()
    for model in library.models():
        if wanted in (model.name.casefold(), *(alias.casefold() for alias in model.aliases)):
            return model
    try:
        spec = parse_spec(text)
    except UsageError:
        return locate(library, text)
    path = Path(text)
    on_disk = path.is_file() or (path / "config.json").is_file()
    if on_disk or (looks_like_path(spec.repo) and spec.file is None):
        return locate(library, text)
    return spec


def _on_hub(
    library: Library,
    request: FitRequest,
    spec: ModelSpec,
    beside: _Beside,
    emit: Emit,
    cancel: threading.Event,
    policy: RetryPolicy | None,
) -> tuple[DescribedModel, tuple[RelatedSizes, ...]]:
    from localq.hub.repository import HubSource

    source = HubSource.resolve(spec, emit=emit, cancel=cancel, policy=policy)
    if source.repo.casefold() != spec.repo.casefold():
        emit(Note(msg("{repo} is now called {repo2}", repo=spec.repo, repo2=source.repo)))
    own = quant_sizes(source.repo, source.files)
    wanted = request.related and not spec.is_gguf and not own
    looking = beside(lambda stop: find_related(source.repo, stop) if wanted else ())
    try:
        known = known_on_hub(
            library, source, spec, emit, cancel, every=request.every, policy=policy
        )
    except UnsupportedError as error:
        found = looking.result()
        if not found:
            raise
        ready = f"{found[0].repo} has it ready-made: localq fit {found[0].repo}"
        hint = msg("{hint}; or: {ready}", hint=error.hint, ready=ready) if error.hint else ready
        raise UnsupportedError(error.message, hint=hint) from error
    if own and request.related and known.kind is FitKind.CHECKPOINT:
        return known, (RelatedSizes(source.repo, own),)
    return known, looking.result()


def _refuse_nonsense(request: FitRequest) -> None:
    if request.n_ctx is not None and not 1 <= request.n_ctx <= _MAX_CONTEXT:
        raise UsageError(
            msg("a context has from 1 to {max_context:,} tokens", max_context=_MAX_CONTEXT),
            hint=msg("--ctx 8192"),
        )
    parse_cache_type(request.type_kv.name)


class _Stop(threading.Event):
    """Set where the caller's is, too."""

    def __init__(self, outer: threading.Event) -> None:
        super().__init__()
        self._outer = outer

    def is_set(self) -> bool:
        return super().is_set() or self._outer.is_set()


@dataclass(frozen=True, slots=True)
class _Beside:
    """Begins work that goes on beside the caller's."""

    pool: ThreadPoolExecutor
    stop: _Stop

    def __call__(self, work: Callable[[threading.Event], T]) -> Future[T]:
        return self.pool.submit(work, self.stop)


@contextmanager
def _beside(cancel: threading.Event) -> Iterator[_Beside]:
    """Work begun in the block ends with it: asked to stop where nobody wants its result."""
    stop = _Stop(cancel)
    with ThreadPoolExecutor(2, thread_name_prefix="fit") as pool:
        try:
            yield _Beside(pool, stop)
        finally:
            stop.set()
