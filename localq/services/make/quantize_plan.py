"""All that is known of a quantization before a weight is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localq.errors import LibraryError, UnsupportedError
from localq.formats.types import TensorType
from localq.library import Library, Model
from localq.messages import msg
from localq.quantize.options import QuantOptions
from localq.services.library.locate import locate_convertible, locate_source
from localq.services.make.destination import repo_of, target_of
from localq.services.make.making import FileToMake
from localq.services.make.projector import projector_with
from localq.services.make.quantize_request import QuantizeRequest

if TYPE_CHECKING:
    from localq.convert import ConvertedModel
    from localq.quantize.layout import FileLayout

__all__ = ["QuantizePlan", "plan_files", "source_and_target"]


@dataclass(frozen=True, slots=True)
class QuantizePlan:
    """What is made of what. Of `files` there are several for a model in parts, and for one that
    sees, whose `projector` is the last of them; `warnings` are lines the user should see."""

    source: Model
    repo: str
    model: ConvertedModel
    files: tuple[FileToMake, ...]
    warnings: tuple[str, ...]
    projector: Path | None = None

    @property
    def size_bytes(self) -> int:
        return sum(file.layout.size_bytes for file in self.files)

    @property
    def path(self) -> Path:
        return self.files[0].path


def source_and_target(library: Library, request: QuantizeRequest) -> tuple[Model, Path]:
    """What is read, and the file that is made of it. Raises what is wrong with either."""
    locate = locate_convertible if request.with_llama_cpp else locate_source
    source = locate(library, request.model)
    target = target_of(library, source, request.type, request.output, force=request.force)
    return source, target


def plan_files(
    request: QuantizeRequest, source: Model, target: Path, lossless: Path | None = None
) -> QuantizePlan:
    """Everything but the weights; `lossless` is a GGUF of the checkpoint, to be read instead."""
    from localq.formats.gguf_split import shard_paths
    from localq.quantize.imatrix import read_imatrix
    from localq.quantize.layout import lay_out, lay_out_quantization, split

    options = QuantOptions(
        request.type, request.rules, request.output_type, request.embedding_type, request.pure
    )
    imatrix = read_imatrix(request.imatrix) if request.imatrix else None
    if imatrix and request.imatrix_name:
        imatrix = replace(imatrix, path=Path(request.imatrix_name))
    repo = repo_of(source)
    projector, warning = None, None
    if lossless or source.format.is_file:
        from localq.convert.requantize import open_gguf

        model = open_gguf(lossless or source.path)
        layout = lay_out_quantization(model.fields, model.tensors, options, imatrix)
        if not request.allow_requantize:
            _refuse_second_loss(source, layout)
    else:
        from localq.convert import convert_checkpoint, open_checkpoint

        checkpoint = open_checkpoint(source.path, name=repo.rpartition("/")[2])
        model = convert_checkpoint(checkpoint)
        if request.projector:
            new = request.output is not None and not request.force
            projector, warning = projector_with(checkpoint, target, new=new)
        layout = lay_out(model.fields, model.tensors, options, imatrix)
    layouts = split(layout, request.split_bytes) if request.split_bytes else (layout,)
    paths = shard_paths(target, len(layouts))
    for path in paths if len(paths) > 1 else ():  # of one file `target_of` has seen to that
        if request.output is not None and path.exists() and not request.force:
            raise LibraryError(
                msg("{path}: is there already", path=path), hint=msg("replace it with --force")
            )
    files = [*map(_file, paths, layouts), *([projector] if projector else [])]
    warnings = (*model.warnings, *([warning] if warning else []))
    return QuantizePlan(
        source, repo, model, tuple(files), warnings, projector.path if projector else None
    )


def _file(path: Path, layout: FileLayout) -> FileToMake:
    from localq.quantize.blocks import source_files
    from localq.quantize.journal import layout_key

    return FileToMake(path, layout, layout_key(layout, source_files(layout)))


def _refuse_second_loss(source: Model, layout: FileLayout) -> None:
    for tensor in layout.tensors:
        stored = TensorType[tensor.source.lossless]
        if stored.is_quantized and tensor.type is not stored:
            raise UnsupportedError(
                msg(
                    "{name} is quantized already: {name2} is {name3}, and would lose again as"
                    " {name4}",
                    name=source.name,
                    name2=tensor.source.name,
                    name3=stored.name,
                    name4=tensor.type.name,
                ),
                hint=msg("quantize the original checkpoint, or insist with --allow-requantize"),
            )
