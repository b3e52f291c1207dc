"""Convert and quantize in one pass: a checkpoint, or a GGUF again."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import (
    LibraryError,
    LocalqError,
    UnsupportedError,
    UsageError,
)
from localq.events import Emit, Note, Started
from localq.formats.types import QuantType, TensorType
from localq.library import Library, Model
from localq.quantize.options import QuantOptions, TypeRule, type_rule
from localq.services.consent import Consent, refuse
from localq.services.library.locate import locate_convertible, locate_source
from localq.services.make.destination import existing_folder, made_before, repo_of, target_of
from localq.services.make.lossless import convert_with_llama_cpp, own_type
from localq.services.make.making import FileToMake, enter_gguf, make_whole

if TYPE_CHECKING:
    from localq.convert import ConvertedModel
    from localq.quantize.layout import FileLayout

__all__ = [
    "Preflight",
    "QuantizeRequest",
    "QuantizeResult",
    "preflight",
    "quantize",
    "request_by_recipe",
    "source_and_target",
]


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """`model` is a name, a checkpoint folder or a GGUF file (None: the model used last);
    `output` a file outside the library (None: into the library); `force` replaces a file that is
    there; `imatrix` an importance matrix. The others are `QuantOptions`; `allow_requantize` lets
    a GGUF that is quantized already lose more; `split_bytes` cuts the output into files;
    `with_llama_cpp` lets llama.cpp's own converter read the checkpoint first."""

    type: QuantType
    model: str | None = None
    output: Path | None = None
    force: bool = False
    imatrix: Path | None = None
    rules: tuple[TypeRule, ...] = ()
    output_type: TensorType | None = None
    embedding_type: TensorType | None = None
    pure: bool = False
    allow_requantize: bool = False
    split_bytes: int | None = None
    with_llama_cpp: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the type alone says what comes out."""
        special = (self.imatrix, self.rules, self.output_type, self.embedding_type, self.pure)
        return not any((*special, self.split_bytes))


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """`name` is None for a file outside the library; `seconds` 0 where it was there already."""

    name: str | None
    path: Path
    quant: str
    size_bytes: int
    parameters: int
    seconds: float
    already_there: bool = False

    @classmethod
    def of_made(cls, model: Model) -> QuantizeResult:
        """That it was in the library already."""
        return cls(
            model.name,
            model.path,
            model.quant,
            model.size_bytes,
            model.parameters,
            seconds=0.0,
            already_there=True,
        )


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a quantization would do, known before a weight is read; `size_bytes` is exact.

    `tensor_types` counts the tensors of each type; `chat_template` is "none", "ok", or what is
    wrong with it; `problems` are the reasons why it would fail, `warnings` what to think about.
    """

    source: str
    path: Path
    architecture: str
    parameters: int
    quant: str
    size_bytes: int
    tensor_types: Mapping[str, int]
    tokenizer: str
    chat_template: str
    free_disk_bytes: int
    available_memory_bytes: int | None
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Of `files` there are several for a model in parts."""

    source: Model
    repo: str
    model: ConvertedModel
    files: tuple[FileToMake, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.layout.size_bytes for file in self.files)

    @property
    def path(self) -> Path:
        return self.files[0].path


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
        plan = _plan(request, source, target, lossless)
        emit(Started(f"{source.name} -> {request.type.name}"))
        for warning in plan.model.warnings:
            emit(Note(warning, warning=True))
        _write(library, request, plan, emit, cancel)
    name = None
    if request.output is None:
        name = enter_gguf(
            library,
            plan.repo,
            request.type,
            [file.path for file in plan.files],
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
    )


def request_by_recipe(path: Path) -> QuantizeRequest:
    """What the recipe at `path` asks for; UsageError where it has no [quantize]."""
    from localq.recipes import load_recipe

    recipe = load_recipe(path)
    wanted = recipe.quantize
    if wanted is None:
        raise UsageError(
            f"{path} does not say how to quantize", hint="name the type: localq quantize q4_k_m"
        )
    return QuantizeRequest(
        wanted.type,
        recipe.repo,
        imatrix=wanted.imatrix,
        rules=tuple(type_rule(pattern, type_) for pattern, type_ in wanted.tensor_types),
        output_type=wanted.output_type,
        embedding_type=wanted.embedding_type,
        pure=wanted.pure,
    )


def preflight(library: Library, request: QuantizeRequest) -> Preflight:
    """Find out what `quantize` would do, from headers, config and tokenizer alone."""
    from localq.hardware import memory

    source, target = source_and_target(library, request)
    plan = _plan(request, source, target)
    free = shutil.disk_usage(existing_folder(target.parent)).free
    size = plan.size_bytes
    available = found.available if (found := memory()) else None
    problems = [f"the disk has {free:,} bytes left"] if size > free else []
    warnings = list(plan.model.warnings)
    if available is not None and size > available:
        warnings.append(f"running it takes more than the {available:,} bytes of memory left now")
    template = _template_state(plan.model)
    if template not in ("none", "ok"):
        warnings.append(f"the chat template does not work: {template}")
    fields = plan.model.fields
    kind, pre = (fields.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    return Preflight(
        source.name,
        plan.path,
        plan.model.architecture,
        plan.model.parameters,
        request.type.name,
        size,
        dict(Counter(t.type.name for file in plan.files for t in file.layout.tensors)),
        f"{kind.value if kind else 'none'} ({pre.value if pre else 'none'})",
        template,
        free,
        available,
        tuple(warnings),
        tuple(problems),
    )


def source_and_target(library: Library, request: QuantizeRequest) -> tuple[Model, Path]:
    """What is read, and the file that is made of it. Raises what is wrong with either."""
    locate = locate_convertible if request.with_llama_cpp else locate_source
    source = locate(library, request.model)
    target = target_of(library, source, request.type, request.output, force=request.force)
    return source, target


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


def _plan(
    request: QuantizeRequest, source: Model, target: Path, lossless: Path | None = None
) -> _Plan:
    """Everything but the weights; `lossless` is a GGUF of the checkpoint, to be read instead."""
    from localq.formats.gguf_split import shard_paths
    from localq.quantize.imatrix import read_imatrix
    from localq.quantize.layout import lay_out, lay_out_quantization, split

    options = QuantOptions(
        request.type, request.rules, request.output_type, request.embedding_type, request.pure
    )
    imatrix = read_imatrix(request.imatrix) if request.imatrix else None
    repo = repo_of(source)
    if lossless or source.format.is_file:
        from localq.convert.requantize import open_gguf

        model = open_gguf(lossless or source.path)
        layout = lay_out_quantization(model.fields, model.tensors, options, imatrix)
        if not request.allow_requantize:
            _refuse_second_loss(source, layout)
    else:
        from localq.convert import convert_checkpoint, open_checkpoint

        model = convert_checkpoint(open_checkpoint(source.path, name=repo.rpartition("/")[2]))
        layout = lay_out(model.fields, model.tensors, options, imatrix)
    layouts = split(layout, request.split_bytes) if request.split_bytes else (layout,)
    paths = shard_paths(target, len(layouts))
    for path in paths if len(paths) > 1 else ():  # of one file `target_of` has seen to that
        if request.output is not None and path.exists() and not request.force:
            raise LibraryError(f"{path}: is there already", hint="replace it with --force")
    return _Plan(source, repo, model, tuple(map(_file, paths, layouts)))


def _file(path: Path, layout: FileLayout) -> FileToMake:
    from localq.quantize.blocks import source_files
    from localq.quantize.journal import layout_key

    return FileToMake(path, layout, layout_key(layout, source_files(layout)))


def _refuse_second_loss(source: Model, layout: FileLayout) -> None:
    for tensor in layout.tensors:
        stored = TensorType[tensor.source.lossless]
        if stored.is_quantized and tensor.type is not stored:
            raise UnsupportedError(
                f"{source.name} is quantized already: {tensor.source.name} is {stored.name}, "
                f"and would lose again as {tensor.type.name}",
                hint="quantize the original checkpoint, or insist with --allow-requantize",
            )


def _write(
    library: Library, request: QuantizeRequest, plan: _Plan, emit: Emit, cancel: threading.Event
) -> None:
    from localq.hardware import cpu_threads
    from localq.quantize.writer import write_file

    inside = request.output is None
    done = 0
    # The catalogue was asked; a file in the library it does not know is left from a crash.
    with make_whole(library, plan.files, inside=inside, replace=request.force or inside) as making:
        for file in making.files:
            write_file(
                file.partial,
                file.layout,
                threads=cpu_threads(),
                emit=emit,
                cancel=cancel,
                journal=file.journal,
                before=done,
                total=plan.size_bytes,
            )
            done += file.layout.size_bytes
        making.finish()


def _template_state(model: ConvertedModel) -> str:
    from localq.chat.template import ChatTemplate

    field = model.fields.get("tokenizer.chat_template")
    if field is None or not isinstance(field.value, str):
        return "none"
    try:
        ChatTemplate(field.value, "", "")
    except LocalqError as error:
        return error.message
    return "ok"
