"""Make an importance matrix: let a model read a text, and see which of its columns that uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.display import duration
from localq.errors import (
    Cancelled,
    LibraryError,
    UnsupportedError,
    UsageError,
    storage_errors,
)
from localq.events import Emit, Note, Progress, Started, Unit
from localq.formats.gguf import read_gguf
from localq.library import Library, Model
from localq.messages import msg
from localq.services.library.locate import locate_gguf
from localq.services.library.writes_text import check_writes_text
from localq.services.make.destination import outside_file
from localq.services.quality.text import read_text

if TYPE_CHECKING:
    from localq.engine.activations import ActivationSums
    from localq.engine.client import Engine
    from localq.planning.offload_plan import OffloadPlan

__all__ = ["ImatrixRequest", "ImatrixResult", "make_imatrix"]

_PRECISE = ("F32", "F16", "BF16", "Q8_0")
_LEAST_CONTEXT = 16
_BATCH = 2048
_WORTH_SAYING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ImatrixRequest:
    """`model` is a name or a .gguf file (None: the one used last). The text is read in chunks of
    `n_ctx` tokens, at most `chunks` of them (None: all). `output` None: `<model>-imatrix.gguf` in
    the current folder; `force` replaces a file that is there. `dataset` is what the matrix says
    the text is called (None: its path)."""

    text: Path
    model: str | None = None
    output: Path | None = None
    chunks: int | None = None
    n_ctx: int = 512
    force: bool = False
    dataset: str | None = None

    def __post_init__(self) -> None:
        if self.n_ctx < _LEAST_CONTEXT:
            raise UsageError(
                msg(
                    "a chunk of {n_ctx} tokens; it must have {least_context}",
                    n_ctx=self.n_ctx,
                    least_context=_LEAST_CONTEXT,
                )
            )
        if self.chunks is not None and self.chunks < 1:
            raise UsageError(msg("{chunks} chunks; it must be at least 1", chunks=self.chunks))


@dataclass(frozen=True, slots=True)
class ImatrixResult:
    """`tokens` were read, in `chunks`; `entries` is the number of tensors in the file."""

    path: Path
    model: str
    dataset: str
    chunks: int
    tokens: int
    entries: int
    size_bytes: int
    seconds: float


def make_imatrix(
    library: Library, request: ImatrixRequest, emit: Emit, cancel: threading.Event
) -> ImatrixResult:
    """Let the model read the text and write what was seen, as llama-imatrix does.

    Emits Progress in tokens. NotFoundError, UsageError (the text is too short), EngineError,
    StorageError, Cancelled; nothing half-made stays, whatever happens.
    """
    from localq.quantize.imatrix import write_imatrix

    began = time.monotonic()
    model = locate_gguf(library, request.model)
    check_writes_text(model, read_gguf(model.path))
    text = read_text(request.text).text
    name = f"{model.path.stem}-imatrix.gguf"
    target = outside_file(library, request.output or Path(name), name)
    if target.exists():
        if target.samefile(model.path):
            raise LibraryError(
                msg("{target}: is the model itself", target=target),
                hint=msg("choose another file with -o"),
            )
        if not request.force:
            raise LibraryError(
                msg("{target}: is there already", target=target),
                hint=msg("replace it with --force"),
            )
    if model.quant not in _PRECISE:
        emit(
            Note(
                msg(
                    "{name} is quantized already; F16 or BF16 would measure more exactly",
                    name=model.name,
                ),
                warning=True,
            )
        )
    with _partials(target) as (observed, partial):
        tokens = _observe(library, model, text, request, observed, emit, cancel)
        sums = _load(observed)
        if seldom := _unused(sums):
            emit(Note(seldom, warning=True))
        chunks = max(int(entry.counts.max()) for entry in sums.values()) // request.n_ctx
        write_imatrix(
            partial,
            {name: (entry.values, entry.counts) for name, entry in sums.items()},
            datasets=[request.dataset or str(request.text)],
            chunk_count=chunks,
            chunk_size=request.n_ctx,
        )
        _finish(partial, target, force=request.force)
    return ImatrixResult(
        path=target,
        model=model.name,
        dataset=str(request.text),
        chunks=tokens // request.n_ctx,
        tokens=tokens,
        entries=len(sums),
        size_bytes=target.stat().st_size,
        seconds=time.monotonic() - began,
    )


def _observe(
    library: Library,
    model: Model,
    text: str,
    request: ImatrixRequest,
    output: Path,
    emit: Emit,
    cancel: threading.Event,
) -> int:
    """Read the text chunk by chunk and write the sums to `output`; the number of tokens read."""
    from localq.engine.client import LoadSettings
    from localq.hardware import cpu_threads
    from localq.planning.offload_plan import PlanOptions
    from localq.services.hosting.working_engine import working_engine
    from localq.services.machine.plan import plan_gguf

    n_ctx = request.n_ctx
    emit(Started(msg("{name} reads {name2}", name=model.name, name2=request.text.name)))
    options = PlanOptions(n_ctx=n_ctx, n_gpu_layers=0, n_batch=min(n_ctx, _BATCH))
    plans: list[OffloadPlan] = []
    with suppress(UnsupportedError):  # what it takes cannot be told
        plans.append(plan_gguf(None, model, read_gguf(model.path), options, cancel=cancel).plan)
    with working_engine(
        library, emit, owner="imatrix", models=[model], plans=plans, cancel=cancel
    ) as engine:
        settings = LoadSettings(
            model.path, n_ctx=n_ctx, n_threads=cpu_threads(), n_batch=min(n_ctx, _BATCH)
        )
        loaded = engine.load(settings, cancel=cancel)
        if 0 < loaded.n_ctx_train < n_ctx:
            emit(
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
        tokens = engine.tokenize(text, parse_special=False)
        chunks = len(tokens) // n_ctx
        if chunks == 0:
            raise UsageError(
                msg(
                    "{text}: {tokens:,} tokens, but one chunk takes {n_ctx:,}",
                    text=request.text,
                    tokens=len(tokens),
                    n_ctx=n_ctx,
                ),
                hint=msg("give a longer text, or a smaller --ctx"),
            )
        chunks = min(chunks, request.chunks or chunks)
        _read_chunks(engine, tokens[: chunks * n_ctx], n_ctx, emit, cancel)
        engine.save_activations(output)
    return chunks * n_ctx


def _read_chunks(
    engine: Engine, tokens: list[int], n_ctx: int, emit: Emit, cancel: threading.Event
) -> None:
    stage, total = "reading the text", len(tokens)
    emit(Progress(stage, 0, total, Unit.TOKENS))
    began = time.monotonic()
    for start in range(0, total, n_ctx):
        if cancel.is_set():
            raise Cancelled
        engine.observe(tokens[start : start + n_ctx], cancel=cancel)
        done = start + n_ctx
        speed = done / max(time.monotonic() - began, 1e-9)
        left = (total - done) / speed
        if start == 0 and left > _WORTH_SAYING_SECONDS:
            emit(
                Note(
                    msg(
                        "{speed:,.0f} tokens per second; about {left} left",
                        speed=speed,
                        left=duration(left),
                    )
                )
            )
        emit(Progress(stage, done, total, Unit.TOKENS))


@contextmanager
def _partials(target: Path) -> Iterator[tuple[Path, Path]]:
    """Two names beside `target` for what is being made; gone afterwards."""
    from localq.partials import partial_path, sweep_partials

    with storage_errors(target):
        sweep_partials(target.parent)
    observed, partial = partial_path(target), partial_path(target)
    try:
        yield observed, partial
    finally:
        observed.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)


def _finish(partial: Path, target: Path, *, force: bool) -> None:
    from localq.partials import finish

    finish(partial, target, replace=force)


def _load(path: Path) -> Mapping[str, ActivationSums]:
    from localq.engine.activations import load_sums

    return load_sums(path)


def _unused(sums: Mapping[str, ActivationSums]) -> str | None:
    """A warning where the text left experts out: nothing is known of these."""
    partly = [name for name, entry in sums.items() if not entry.counts.all()]
    if not partly:
        return None
    return msg(
        "in {partly} of {sums} tensors there are experts that the text did not"
        " reach; more text, or more varied text, would",
        partly=len(partly),
        sums=len(sums),
    )
