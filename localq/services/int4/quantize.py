"""Make an INT4 checkpoint of a model: by a backend, checked, and only then in the library."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from localq.errors import Cancelled, LibraryError, StorageError, storage_errors
from localq.events import Emit, Note, Progress, Started, Unit
from localq.gpu_quant.backends import environment_of
from localq.gpu_quant.calibration import Calibration
from localq.gpu_quant.checkpoint import read_int4
from localq.gpu_quant.child import run_script
from localq.gpu_quant.events import Calibrated, ChildEvent, Layer, Losses, Part, Stage, Versions
from localq.gpu_quant.saved_config import settle_configs
from localq.library import Library, Model, ModelFormat
from localq.library.hashes import SaidBy, hash_file
from localq.messages import msg
from localq.services.int4.calibration import calibration_for
from localq.services.int4.check import compare_with_original
from localq.services.int4.plan import Int4Plan, plan_int4
from localq.services.int4.provenance import made_with, write_provenance
from localq.services.int4.request import Int4Request, Int4Result
from localq.services.int4.stages import stage_in_words

__all__ = ["Int4Request", "Int4Result", "quantize_int4"]


def quantize_int4(
    library: Library, request: Int4Request, emit: Emit, cancel: threading.Event
) -> Int4Result:
    """Quantize a checkpoint by AWQ or GPTQ and enter what comes out into the library.

    Emits Progress in layers. Whatever stops it, a kill too, leaves no half-made checkpoint in the
    library: the same request begins anew, as backends cannot go on within a model. Errors are
    those of `plan_int4`, `calibration_for` and `run_script`.
    """
    began = time.monotonic()
    plan = plan_int4(library, request)
    if not request.force and (made := _made_before(library, plan, request, emit)):
        return Int4Result.of_made(made)
    environment = environment_of(plan.backend)
    log = library.paths.log / f"{plan.backend.name}.log"
    emit(Started(msg("{name} -> {label}", name=plan.source.name, label=plan.options.label)))
    for warning in plan.warnings:
        emit(Note(warning, warning=True))
    with _told_anew(), _workspace(library, plan) as work:
        scratch, output = work / "scratch", work / "checkpoint"
        tokens = plan.samples * request.calib_length
        calibration = calibration_for(
            library.paths, request.calib, request.calib_field, tokens, scratch, emit, cancel
        )
        told = _Told(emit)
        done = run_script(
            environment.python,
            plan.backend.script,
            _task(plan, request, calibration, scratch, output),
            scratch=scratch,
            log=log,
            cancel=cancel,
            on_event=told,
        )
        emit(Progress(msg("checking what was made"), 0, 0, Unit.LAYERS))
        made_checkpoint = read_int4(output)
        settle_configs(
            output,
            plan.options.method,
            [matrix.module for matrix in made_checkpoint.packed],
            made_checkpoint.kept,
        )
        compared = compare_with_original(
            plan, environment, calibration, scratch, output, log, emit, cancel
        )
        with storage_errors(output):
            write_provenance(
                output,
                made_with(plan, request, calibration, told.versions),
                losses=told.losses,
                seconds_per_layer=told.seconds,
                measured={**done.values, **compared.values},
            )
        model = _enter(library, plan, output, cancel)
    return Int4Result(
        model.name,
        model.path,
        model.quant,
        model.size_bytes,
        model.parameters,
        time.monotonic() - began,
        compared.cosine,
        compared.perplexity,
        compared.original_perplexity,
    )


def _task(
    plan: Int4Plan, request: Int4Request, calibration: Calibration, scratch: Path, output: Path
) -> Mapping[str, Any]:
    """What the script is told; see its `quantize`."""
    options = plan.options
    return {
        "task": "quantize",
        "source": str(plan.source.path),
        "output": str(output),
        "scratch": str(scratch / "layers"),
        "method": options.method.value,
        "bits": options.bits,
        "group_size": options.group_size,
        "desc_act": options.desc_act,
        "sym": options.symmetric,
        "damp_percent": options.damp_percent,
        "keep": list(options.keep),
        "calibration": str(calibration.path),
        "field": calibration.field,
        "samples": plan.samples,
        "length": request.calib_length,
        "device": plan.device,
        "shard_size": request.shard_bytes,
        "seed": request.seed,
    }


class _Told:
    """Hears the backend, and remembers what the provenance file is to say."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._done, self._total = 0, 0
        self._loss: Mapping[str, float] = {}
        self.versions: Mapping[str, str] = {}
        self.losses: Mapping[str, float] = {}
        self.seconds: list[float] = []

    def __call__(self, event: ChildEvent) -> None:
        match event:
            case Stage(name=name):
                self._emit(Progress(stage_in_words(name), 0, 0, Unit.LAYERS))
            case Versions(values=values):
                self.versions = values
            case Losses(values=values):
                self.losses = values
            case Calibrated(samples=samples, tokens=tokens):
                self._emit(
                    Note(
                        msg(
                            "calibrating with {samples} samples, {tokens:,} tokens",
                            samples=samples,
                            tokens=tokens,
                        )
                    )
                )
            case Part(layer=layer, total=total, names=names):
                self._total = total
                self._progress(msg("layer {layer}: {names}", layer=layer, names=names))
            case Layer(done=done, total=total, seconds=seconds):
                self._done, self._total = done, total
                self.seconds.append(seconds)
                self._progress(msg("{seconds:.1f} s a layer", seconds=seconds))

    def _progress(self, detail: str) -> None:
        stage = msg("quantizing")
        self._emit(Progress(stage, self._done, self._total, Unit.LAYERS, detail))


@contextmanager
def _told_anew() -> Iterator[None]:
    try:
        yield
    except Cancelled as error:
        error.message = msg("stopped; nothing half-made was left: the same command begins anew")
        error.args = (error.message,)
        raise


@contextmanager
def _workspace(library: Library, plan: Int4Plan) -> Iterator[Path]:
    """A folder on the library's disk for this process alone, gone when the block ends.

    It lies where a pull of the same model would wait, under the same lock: the doctor knows it.
    """
    from filelock import FileLock, Timeout

    library.trash.settle()  # what a killed removal left is not to be written over
    model = library.paths.partial / plan.repo
    work = model / plan.options.label
    with storage_errors(work, hint=msg("let LOCALQ_HOME name another folder")):
        model.mkdir(parents=True, exist_ok=True)
        lock = FileLock(model / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise LibraryError(
                msg("another localq is working on {name}", name=plan.repo),
                hint=msg("wait until it is done"),
            ) from None
        try:
            shutil.rmtree(work, ignore_errors=True)  # of one that was killed
            (work / "scratch").mkdir(parents=True)
        except BaseException:
            lock.release()
            raise
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with suppress(OSError):
            (model / ".lock").unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # another model's waits there
            model.rmdir()
            model.parent.rmdir()


def _made_before(
    library: Library, plan: Int4Plan, request: Int4Request, emit: Emit
) -> Model | None:
    """The same, made before of the same; LibraryError where something else has its name."""
    from localq.services.int4.provenance import was_made_with

    made = library.get(plan.name)
    if made is None or not made.path.is_dir():
        return None
    same = made.source == plan.source.source and made.created_at > plan.source.created_at
    if not (same and was_made_with(made.path, plan, request)):
        raise LibraryError(
            msg("{name} is there already, made in another way", name=made.name),
            hint=msg("replace it with --force"),
        )
    emit(Note(msg("{name} is there already; --force makes it anew", name=made.name)))
    library.touch(made.name)
    return library.find(made.name)


def _enter(library: Library, plan: Int4Plan, output: Path, cancel: threading.Event) -> Model:
    """Read once more what lies there, and give it its place and name."""
    checkpoint = read_int4(output)
    files = sorted(path for path in output.iterdir() if path.is_file())
    if sum(path.stat().st_size for path in files) == 0:
        raise StorageError(msg("{output}: is empty", output=output))
    entered = [plan.folder / path.name for path in files]
    hashes = {plan.folder / path.name: hash_file(path, cancel, lambda _: None) for path in files}
    size = sum(path.stat().st_size for path in files)
    for path in files:
        library.admit(path, plan.folder / path.name, replace=True)
    entry = Model.new(
        plan.name,
        ModelFormat.INT4,
        plan.options.label,
        plan.folder,
        architecture=checkpoint.architecture,
        parameters=checkpoint.parameters,
        size_bytes=size,
        source=plan.source.source,
    )
    return library.add(entry, entered, hashes, SaidBy.MADE)
