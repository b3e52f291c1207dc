"""LoRA adapters as PEFT saves them: as a GGUF adapter, or merged into their base model.

An adapter changes a matrix W of its base by `scale * B @ A`. Whatever a family does with the rows
of W on the way to GGUF, it does to those of B; so B goes through the family's own mapping as if it
were W, and A stays as it is. Same files as llama.cpp's `convert_lora_to_gguf.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from localq.convert.authorship import write_authorship
from localq.convert.checkpoint import Checkpoint
from localq.convert.families import family_of
from localq.convert.families.tensor_names import unwrapped
from localq.convert.fields import FieldBuilder
from localq.convert.model import ConvertedModel
from localq.convert.small_tensor import as_floats
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError, NotFoundError, UnsupportedError
from localq.formats.json_file import read_json_object
from localq.formats.presence import is_there
from localq.formats.rows import FilePiece, Piece, TensorSource, Transform
from localq.formats.safetensors import read_safetensors_header
from localq.formats.torch_zip import read_torch_header
from localq.messages import msg

__all__ = ["Adapter", "convert_adapter", "is_adapter", "merge_adapter", "open_adapter"]

CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_PART = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
_MAX_ELEMENTS = 1 << 28

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adapter:
    """`parts` are A and B by the name of the base's matrix; `scale` is of B @ A."""

    root: Path
    base: str | None
    alpha: float
    scale: float
    parts: Mapping[str, tuple[SourceTensor, SourceTensor]]


def is_adapter(root: Path) -> bool:
    """Whether the folder holds an adapter and no model of its own."""
    return (root / CONFIG).is_file() and not (root / "config.json").is_file()


def open_adapter(root: Path) -> Adapter:
    """Read an adapter's settings and headers.

    BadFileError for a damaged one, UnsupportedError for one that is more than A and B of some
    matrices: other kinds, DoRA, whole layers saved beside.
    """
    path = root / CONFIG
    config = read_json_object(path)
    kind = config.get("peft_type")
    for problem in (
        None if kind == "LORA" else f"is an adapter of the kind {str(kind)[:50]!r}",
        "uses DoRA" if config.get("use_dora") else None,
        "changes biases" if config.get("bias") not in (None, "none") else None,
        "keeps its matrices turned (fan_in_fan_out)" if config.get("fan_in_fan_out") else None,
        "gives matrices ranks of their own" if config.get("rank_pattern") else None,
        "weighs matrices differently" if config.get("alpha_pattern") else None,
    ):
        if problem:
            raise UnsupportedError(
                msg(
                    "{path}: {problem}, which GGUF adapters cannot express",
                    path=path,
                    problem=problem,
                ),
                hint=msg("merge it where it was trained, in PEFT: merge_and_unload()"),
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 0 < rank < 1 << 16:
        raise BadFileError(path, msg("r is {rank!r}", rank=str(rank)[:50]))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e30:
        raise BadFileError(path, msg("lora_alpha is {alpha!r}", alpha=str(alpha)[:50]))
    if config.get("use_rslora"):
        alpha *= sqrt(rank)  # llama.cpp divides by the rank, not by its root
    base = config.get("base_model_name_or_path")
    return Adapter(
        root,
        base if isinstance(base, str) and base else None,
        float(alpha),
        float(alpha) / rank,
        _parts(root, rank),
    )


def convert_adapter(adapter: Adapter, base: Checkpoint) -> ConvertedModel:
    """The adapter in GGUF's terms; of `base` only the config and the headers are read."""
    b_parts = {f"{name}.weight": b for name, (_, b) in adapter.parts.items()}
    _refuse_others(adapter, base)
    family = family_of(base)(replace(base, tensors=b_parts, config=_plain(base.config)))
    tensors: list[TensorSource] = []
    for made in family.tensors():
        name = family.origins[made.name].info.name
        a, _ = adapter.parts[name.removesuffix(".weight")]
        if len(made.shape) != 2 or made.shape[0] != a.info.shape[0]:
            raise UnsupportedError(
                msg(
                    "{root}: changes {name}, whose adapters localq cannot convert",
                    root=adapter.root,
                    name=made.name,
                ),
                hint=msg("merge it where it was trained, in PEFT: merge_and_unload()"),
            )
        rank, columns = a.info.shape
        piece = FilePiece(a.path, a.info.offset, a.info.dtype, rank, columns)
        tensors.append(TensorSource(f"{made.name}.lora_a", (columns, rank), (piece,)))
        tensors.append(replace(made, name=f"{made.name}.lora_b", always_f32=False))
    fields = FieldBuilder()
    fields.string("general.architecture", family.architecture)
    fields.string("general.type", "adapter")
    fields.string("adapter.type", "lora")
    card = replace(base, root=adapter.root, name=adapter.root.resolve().name, config={})
    warning = write_authorship(card, fields, 0, (0, 0, 0))
    fields.f32("adapter.lora.alpha", adapter.alpha)
    fields.u32("general.quantization_version", _QUANTIZATION_VERSION)
    warnings = (warning,) if warning else ()
    return ConvertedModel(family.architecture, dict(fields), tuple(tensors), warnings)


def merge_adapter(model: ConvertedModel, adapter: Adapter, base: Checkpoint) -> ConvertedModel:
    """`model`, which is `base` converted, with the adapter's changes added as it is written."""
    changes = {
        tensor.name: _floats(base, tensor) for tensor in convert_adapter(adapter, base).tensors
    }
    merged: list[TensorSource] = []
    for tensor in model.tensors:
        a, b = (changes.get(f"{tensor.name}.lora_{part}") for part in "ab")
        if a is not None and b is not None:
            b = b * np.float32(adapter.scale)
            pieces: list[Piece] = []
            first = 0
            for piece in tensor.pieces:
                assert isinstance(piece, FilePiece)
                added = _adding(piece.transform, a, b[first : first + piece.rows])
                pieces.append(replace(piece, transform=added))
                first += piece.rows
            tensor = replace(tensor, pieces=tuple(pieces))
        merged.append(tensor)
    return replace(model, tensors=tuple(merged))


def _adding(before: Transform | None, a: Floats, b: Floats) -> Transform:
    def transform(first: int, rows: Floats) -> Floats:
        if before is not None:
            rows = before(first, rows)
        return rows + b[first : first + len(rows)] @ a

    return transform


def _parts(root: Path, rank: int) -> dict[str, tuple[SourceTensor, SourceTensor]]:
    path = next((root / name for name in _WEIGHTS if is_there(root / name)), None)
    if path is None:
        raise NotFoundError(
            msg("{root}: has no {weights}", root=root, weights=_WEIGHTS[0]),
            hint=msg("pull the adapter again"),
        )
    is_pickled = path.suffix == ".bin"
    header = read_torch_header(path) if is_pickled else read_safetensors_header(path)
    found: dict[str, dict[str, SourceTensor]] = {}
    for info in sorted(header, key=lambda info: info.name):
        match = _PART.fullmatch(info.name)
        if match is None:
            raise UnsupportedError(
                msg(
                    "{path}: holds more than an adapter's matrices (tensor {name!r})",
                    path=path,
                    name=info.name[:200],
                ),
                hint=msg("merge it where it was trained, in PEFT: merge_and_unload()"),
            )
        name = unwrapped(match[1])
        named = replace(info, name=f"{name}.weight")
        found.setdefault(name, {})[match[2]] = SourceTensor(path, named)
    for name, both in found.items():
        shapes = [both[part].info.shape if part in both else () for part in "AB"]
        if [len(shape) for shape in shapes] != [2, 2] or {shapes[0][0], shapes[1][1]} != {rank}:
            raise BadFileError(
                path,
                msg(
                    "A and B of {name!r} do not fit rank {rank}: {shapes}",
                    name=name[:200],
                    rank=rank,
                    shapes=shapes,
                ),
            )
    if not found:
        raise BadFileError(path, msg("holds no tensors"))
    return {name: (both["A"], both["B"]) for name, both in found.items()}


def _refuse_others(adapter: Adapter, base: Checkpoint) -> None:
    """BadFileError where a matrix is not in `base`, or of another shape there."""
    shapes = {unwrapped(name): t.info.shape for name, t in base.tensors.items()}
    if not shapes:
        return  # the base's weights are not at hand
    for name, (a, b) in adapter.parts.items():
        wanted = (b.info.shape[0], a.info.shape[1])
        if shapes.get(f"{name}.weight") != wanted:
            raise BadFileError(
                a.path,
                msg(
                    "changes {name!r} of shape {list}, which {root} does not have",
                    name=name[:200],
                    list=list(wanted),
                    root=base.root,
                ),
                hint=msg("name the model that it was trained on: --base MODEL"),
            )


def _plain(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without what is said of the base's own quantization."""
    return {key: value for key, value in config.items() if key != "quantization_config"}


def _floats(base: Checkpoint, tensor: TensorSource) -> Floats:
    """All rows of a small tensor, in GGUF's order."""
    (piece,) = tensor.pieces
    assert isinstance(piece, FilePiece)
    if tensor.elements > _MAX_ELEMENTS:
        raise BadFileError(
            piece.path, msg("{name} is too large for an adapter's matrix", name=tensor.name)
        )
    width = 4 if piece.dtype == "F32" else 2
    count = piece.file_rows * piece.file_columns
    data = base.read(piece.path, piece.offset, count * width)
    values = as_floats(data, piece.dtype)
    if values is None:
        raise UnsupportedError(
            msg("{path}: an adapter in {dtype}", path=piece.path, dtype=piece.dtype)
        )
    matrix = values.reshape(piece.file_rows, piece.file_columns)
    matrix = matrix.T if piece.transposed else matrix
    return np.ascontiguousarray(matrix if piece.order is None else matrix[piece.order])
