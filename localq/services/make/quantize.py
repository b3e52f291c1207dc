"""Convert and quantize in one pass: a checkpoint, or a GGUF again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from localq.events import Emit, Note, Started
from localq.library import Library, Model
from localq.messages import msg
from localq.services.consent import Consent, refuse
from localq.services.make.destination import made_before, repo_of
from localq.services.make.lossless import convert_with_llama_cpp, own_type
from localq.services.make.making import enter_gguf, make_whole
from localq.services.make.projector import share_projector
from localq.services.make.quantize_plan import QuantizePlan, plan_files, source_and_target
from localq.services.make.quantize_request import QuantizeRequest, QuantizeResult

__all__ = ["QuantizeRequest", "QuantizeResult", "quantize"]


def quantize(
    library: Library,
    request: QuantizeRequest,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent = refuse,
) -> QuantizeResult:
    """Write the GGUF and, unless it goes elsewhere, enter it into the library.

    `consent` is asked only for `with_llama_cpp`, which may have to download the converter. Emits
    Progress in bytes of output. An unfinished file is never under its final name; after Cancelled
    or a kill, the same request goes on where it stopped.
    """
    began = time.monotonic()
    source, target = source_and_target(library, request)
    if request.output is None and not request.force:
        made = made_before(
            library,
            repo_of(source),
            request.type,
            emit,
            source=source.source,
            since=source.created_at,
            is_plain=request.is_plain,
        )
        if made is not None:
            return QuantizeResult.of_made(made)
    with ExitStack() as stack:
        lossless = None
        if request.with_llama_cpp and source.format.is_original:
            made_by = _by_llama_cpp(library, source, target, emit, cancel, consent)
            lossless = stack.enter_context(made_by)
        plan = plan_files(request, source, target, lossless)
        emit(Started(msg("{name} -> {name2}", name=source.name, name2=request.type.name)))
        for warning in plan.warnings:
            emit(Note(warning, warning=True))
        hashes = _write(library, request, plan, emit, cancel)
    name = None
    if request.output is None:
        if plan.projector is not None:
            share_projector(plan.projector)
        name = enter_gguf(
            library,
            plan.repo,
            request.type,
            hashes,
            architecture=plan.model.architecture,
            parameters=plan.model.parameters,
            source=plan.source.source,
        ).name
    return QuantizeResult(
        name,
        plan.path,
        request.type.name,
        plan.size_bytes,
        plan.model.parameters,
        time.monotonic() - began,
        projector=plan.projector,
    )


@contextmanager
def _by_llama_cpp(
    library: Library,
    source: Model,
    target: Path,
    emit: Emit,
    cancel: threading.Event,
    consent: Consent,
) -> Iterator[Path]:
    """The checkpoint as a lossless GGUF that llama.cpp's converter made, while the block runs."""
    from localq.partials import partial_path

    lossless = partial_path(target)
    try:
        yield convert_with_llama_cpp(
            library, source, own_type(source), lossless, emit, cancel, consent
        )
    finally:
        lossless.unlink(missing_ok=True)


def _write(
    library: Library,
    request: QuantizeRequest,
    plan: QuantizePlan,
    emit: Emit,
    cancel: threading.Event,
) -> dict[Path, str]:
    """Returns the SHA-256 of the files that go into the library."""
    from localq.hardware import cpu_threads
    from localq.quantize.writer import write_file

    inside = request.output is None
    done = 0
    hashes: dict[Path, str] = {}
    # The catalogue was asked; a file in the library it does not know is left from a crash.
    with make_whole(library, plan.files, inside=inside, replace=request.force or inside) as making:
        for file in making.files:
            sha256 = write_file(
                file.partial,
                file.layout,
                threads=cpu_threads(),
                emit=emit,
                cancel=cancel,
                journal=file.journal,
                before=done,
                total=plan.size_bytes,
                hashed=inside,
            )
            if sha256 is not None:
                hashes[file.final] = sha256
            done += file.layout.size_bytes
        making.finish()
    return hashes
