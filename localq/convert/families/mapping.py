"""From a checkpoint's tensors to GGUF's: names, row orders, stacked experts, fused matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.rope import RopeSettings
from localq.convert.families.tensor_names import (
    is_of_other_senses,
    refuse_adapter_inside,
    unwrapped,
)
from localq.convert.source_tensor import Scales, SourceTensor
from localq.errors import BadFileError, UnsupportedError
from localq.formats.rows import ArrayPiece, BlockScales, FilePiece, Piece, TensorSource, Transform
from localq.formats.types import QuantType
from localq.messages import msg

__all__ = ["LOSSLESS", "TensorMapping", "TensorNames", "always_f32"]

TensorNames = Mapping[str, str]
"""Checkpoint name without its suffix -> GGUF name; `{i}` stands for the layer."""

_SUFFIXES = (".weight", ".bias")
_SKIPPED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
_SENSES = ("text_config", "vision_config", "audio_config")
_LAYER = re.compile(r"\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_ALWAYS_F32 = re.compile(
    r"(_norm|ffn_gate_inp(_shexp)?|position_embd|token_types|ssm_conv1d|shortconv\.conv"
    r"|altup_(predict|correct)_coef|indexer\.proj)\.weight$"
)
LOSSLESS: Mapping[str, QuantType] = {
    "BF16": QuantType.BF16,
    "F16": QuantType.F16,
    "F32": QuantType.F32,
    "F64": QuantType.F32,
    "F8_E4M3": QuantType.BF16,
    "F8_E5M2": QuantType.BF16,
}
"""The type that holds each source dtype without loss, or is the widest that llama.cpp has."""


class TensorMapping(RopeSettings):
    """Where each GGUF tensor's rows come from. Subclasses name the tensors and override what
    differs; nothing is read but headers."""

    names: ClassVar[TensorNames]
    exact: ClassVar[TensorNames] = {}
    """As `names`, but with what both names end in: for those whose endings are no suffix."""
    optional: ClassVar[frozenset[str]] = frozenset({"output"})
    """GGUF names in `names` that a checkpoint may lack: tied embeddings need no output."""
    experts: ClassVar[TensorNames] = {}
    """As `names`, `{e}` standing for the expert: what is stacked, in the order it is written."""
    most_dimensions: ClassVar[int] = 3
    """Of a tensor: a stack of matrices has three."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.origins: dict[str, SourceTensor] = {}
        """GGUF name -> the checkpoint's tensor that it came from, of several the last."""

    # -- what families override ------------------------------------------------------------------

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        """The order in which GGUF wants the rows (of a vector: the elements) of tensor `name`."""
        return None

    def transform(self, name: str, dtype: str) -> Transform | None:
        """What happens to the numbers of the checkpoint's tensor `name`, such as adding 1.

        `dtype` is that of the checkpoint: torch calculates in it.
        """
        return None

    def lacks(self, gguf_name: str, layer: int) -> bool:
        """Whether the layer has no tensor of that name: not all layers of a model are alike."""
        return False

    def renamed(self, name: str) -> str:
        """The name that `names` has a tensor by, where checkpoints call it otherwise."""
        return name

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        """What becomes of one tensor of the checkpoint: one tensor, none, or several.

        Override it to leave tensors out, take fused ones apart, or gather experts, of which the
        last one yields the stack. llama.cpp's order is kept if each comes where the converter
        would write it.
        """
        yield self.tensor(name, source)

    # -- what they are overridden with -----------------------------------------------------------

    def tensors(self) -> Iterator[TensorSource]:
        gathered: dict[str, dict[str, SourceTensor]] = {}
        refuse_adapter_inside(self.checkpoint.root, self.checkpoint.tensors)
        senses = any(key in self.checkpoint.config for key in _SENSES)
        for stored_name, source in self.checkpoint.tensors.items():
            name = self.renamed(self._plain_name(stored_name))
            if name.endswith(_SKIPPED) or (senses and is_of_other_senses(name)):
                continue
            if (layer := self._layer_of_expert(name)) is None:
                made = self.tensors_of(name, source)
            else:
                found = gathered.setdefault(layer, {})
                found[name] = source
                if len(found) < self.expert_count * len(self.experts):
                    continue
                made = self._stacks(layer, gathered.pop(layer))
            for tensor in made:
                self.origins[tensor.name] = source
                yield tensor
        if gathered:
            raise BadFileError(
                self.checkpoint.root,
                msg("experts of layer {gathered} are missing", gathered=min(gathered, key=int)),
                hint=msg("pull the model again"),
            )

    def _plain_name(self, stored_name: str) -> str:
        """The name that `names` has it by. A model saved without what makes words of vectors,
        such as LlamaModel, lacks the first part."""
        name = unwrapped(stored_name)
        if self._is_known(name):
            return name
        return next((root + name for root in self._roots if self._is_known(root + name)), name)

    @cached_property
    def _roots(self) -> list[str]:
        """The first parts of names."""
        return sorted({f"{name.partition('.')[0]}." for name in self.names if "." in name})

    def _is_known(self, name: str) -> bool:
        layer, expert = _LAYER.search(name), _EXPERT.search(name)
        if layer:
            name = name.replace(layer[0], ".{i}.", 1)
        if expert:
            name = name.replace(f".experts.{expert[1]}.", ".experts.{e}.", 1)
        stem = name.rpartition(".")[0]
        return stem in self.names or stem in self.experts or name in self.exact

    def _layer_of_expert(self, name: str) -> str | None:
        """The layer of a tensor that is to be stacked, None for any other."""
        if not (self.experts and (expert := _EXPERT.search(name))):
            return None
        layer = _LAYER.search(name)
        if layer is None or layer.start() >= expert.start():
            return None
        stem = f"{name[: layer.start()]}.{{i}}.{name[layer.end() : expert.start()]}"
        stem = f"{stem}.experts.{{e}}.{name[expert.end() :].removesuffix('.weight')}"
        known = stem in self.experts and int(layer[1]) < self.layers
        return layer[1] if known and int(expert[1]) < self.expert_count else None

    def _stacks(self, layer: str, found: Mapping[str, SourceTensor]) -> Iterator[TensorSource]:
        """One tensor for each kind of matrix, its experts one after another."""
        for pattern, gguf_name in self.experts.items():
            stem = pattern.replace("{i}", layer)
            names = [f"{stem.replace('{e}', str(e))}.weight" for e in range(self.expert_count)]
            if missing := [name for name in names if name not in found]:
                raise BadFileError(
                    self.checkpoint.root, msg("no tensor {missing!r}", missing=missing[0])
                )
            shape = found[names[0]].info.shape
            for name in names:
                if found[name].info.shape != shape:
                    raise BadFileError(
                        found[name].path,
                        msg("tensor {name!r} is not of its siblings' shape", name=name),
                    )
            pieces = [self.piece(name, found[name]) for name in names]
            name = gguf_name.replace("{i}", layer) + ".weight"
            yield self.source_of(name, (len(names), *shape), pieces)

    def tensor(self, name: str, source: SourceTensor) -> TensorSource:
        """The tensor under its GGUF name, with the family's row order and transform."""
        return self.source_of(
            self.gguf_name(name, source), source.info.shape, [self.piece(name, source)]
        )

    def source_of(
        self, gguf_name: str, shape: Sequence[int], pieces: Sequence[Piece]
    ) -> TensorSource:
        """A tensor of `shape` (slowest dimension first, as in checkpoints) made of `pieces`."""
        return TensorSource(
            gguf_name, tuple(reversed(shape)), tuple(pieces), always_f32(gguf_name, tuple(shape))
        )

    def piece(self, name: str, source: SourceTensor) -> FilePiece:
        """Where the tensor lies, checked; a vector with a row order becomes a column."""
        info = source.info
        if info.dtype not in LOSSLESS:
            raise UnsupportedError(
                msg(
                    "{path}: tensor {name!r} is {dtype}, unknown to localq",
                    path=source.path,
                    name=name[:200],
                    dtype=info.dtype,
                ),
                hint=msg("take the original checkpoint in BF16 or F16"),
            )
        if not info.shape or 0 in info.shape or len(info.shape) > self.most_dimensions:
            raise BadFileError(
                source.path,
                msg("tensor {name!r} has shape {list}", name=name[:200], list=list(info.shape)),
            )
        rows, columns = prod(info.shape[:-1]), info.shape[-1]
        order = self.row_order(name, rows if len(info.shape) > 1 else columns)
        if order is not None and len(info.shape) == 1:
            rows, columns = columns, 1
        if info.transposed:
            rows, columns = columns, rows
        transform, scales = self.transform(name, info.dtype), None
        if source.scales is not None:
            scales = self._scales(source.scales, info.shape)
        return FilePiece(
            path=source.path,
            offset=info.offset,
            dtype=info.dtype,
            file_rows=rows,
            file_columns=columns,
            order=order,
            transposed=info.transposed,
            transform=transform,
            scales=scales,
            name=info.name,
        )

    def _scales(self, scales: Scales, shape: tuple[int, ...]) -> BlockScales:
        path, info = scales.tensor.path, scales.tensor.info
        if info.dtype not in LOSSLESS:
            raise BadFileError(
                path, msg("tensor {name!r} is {dtype}", name=info.name[:200], dtype=info.dtype)
            )
        columns = info.shape[-1] if len(info.shape) > 1 else 1
        rows = prod(info.shape) // columns
        factors = FilePiece(path, info.offset, info.dtype, rows, columns)
        height = shape[-2] if scales.rows <= shape[-2] else prod(shape[:-1])
        return BlockScales(factors, scales.rows, scales.columns, height)

    def gguf_name(self, name: str, source: SourceTensor) -> str:
        stem, suffix = name, ""
        for ending in _SUFFIXES:
            if name.endswith(ending):
                stem, suffix = name.removesuffix(ending), ending
        layer = _LAYER.search(stem)
        pattern = stem if layer is None else stem.replace(layer[0], ".{i}.", 1)
        mapped = self.names.get(pattern)
        if (exact := self.exact.get(pattern + suffix)) is not None:
            mapped, suffix = exact, ""
        if mapped is None or (layer and int(layer[1]) >= self.layers):
            raise UnsupportedError(
                msg(
                    "{path}: localq does not know the tensor {name!r} of {architecture}",
                    path=source.path,
                    name=name[:200],
                    architecture=self.checkpoint.architecture,
                ),
                hint=msg("the checkpoint may be of another model than its config.json says"),
            )
        return mapped.replace("{i}", layer[1] if layer else "") + suffix

    def halves(
        self, name: str, source: SourceTensor, first: str, second: str
    ) -> Iterator[TensorSource]:
        """A matrix, or each of a stack, taken apart: the upper rows, then the lower ones."""
        info = source.info
        if len(info.shape) not in (2, 3) or info.shape[-2] % 2:
            raise BadFileError(
                source.path,
                msg("tensor {name!r} has shape {list}", name=name[:200], list=list(info.shape)),
            )
        piece = self.piece(name, source)
        shape = (*info.shape[:-2], info.shape[-2] // 2, info.shape[-1])
        rows = np.arange(prod(info.shape[:-1]), dtype=np.intp).reshape(-1, 2, shape[-2])
        for i, gguf_name in enumerate((first, second)):
            yield self.source_of(gguf_name, shape, [replace(piece, order=rows[:, i].ravel())])

    def turned(self, name: str, source: SourceTensor) -> list[FilePiece]:
        """The matrices of a stack, each with its columns as rows."""
        info = source.info
        if len(info.shape) != 3:
            raise BadFileError(
                source.path,
                msg("tensor {name!r} has shape {list}", name=name[:200], list=list(info.shape)),
            )
        count, rows, columns = info.shape
        whole = self.piece(name, source)
        size = info.nbytes // count
        return [
            replace(
                whole,
                offset=whole.offset + i * size,
                file_rows=rows,
                file_columns=columns,
                transposed=True,
            )
            for i in range(count)
        ]

    def turned_stacks(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        """A stack whose matrices are turned; of gate and up in one, which are named as the gate,
        either half is a stack of its own."""
        pieces = self.turned(name, source)
        experts, rows, columns = len(pieces), pieces[0].rows, pieces[0].columns
        made = self.gguf_name(name, source)
        if "gate_up" not in name:
            yield self.source_of(made, (experts, rows, columns), pieces)
            return
        if rows % 2:
            raise BadFileError(
                source.path,
                msg(
                    "tensor {name!r} has shape {list}",
                    name=name[:200],
                    list=list(source.info.shape),
                ),
            )
        for kind, order in zip(("gate", "up"), np.arange(rows).reshape(2, -1), strict=True):
            parts = [replace(piece, order=order) for piece in pieces]
            to = made.replace("ffn_gate", f"ffn_{kind}")
            yield self.source_of(to, (experts, rows // 2, columns), parts)

    def rotary_rows(self, name: str, rows: int, heads: int) -> npt.NDArray[np.intp]:
        """Undo the halves-first rotary layout of transformers: llama.cpp rotates neighbours."""
        if rows % (2 * heads):
            raise self.bad_config(
                msg(
                    "{rows} rows of {name!r} do not divide by {heads} heads",
                    rows=rows,
                    name=name[:200],
                    heads=heads,
                )
            )
        order = np.arange(rows, dtype=np.intp).reshape(heads, 2, rows // heads // 2)
        return order.swapaxes(1, 2).ravel()

    def split_qkv(
        self, name: str, rows: int, heads: int, kv_heads: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Which rows of a fused matrix are queries, keys and values.

        In it the query heads that share a key come together, then that key, then its value.
        """
        if heads % kv_heads or rows % (heads + 2 * kv_heads):
            raise self.bad_config(
                msg(
                    "{rows} rows of {name!r} are not of {heads} and twice {kv_heads} heads",
                    rows=rows,
                    name=name[:200],
                    heads=heads,
                    kv_heads=kv_heads,
                )
            )
        order = np.arange(rows, dtype=np.intp).reshape(kv_heads, heads // kv_heads + 2, -1)
        return order[:, :-2].ravel(), order[:, -2].ravel(), order[:, -1].ravel()

    def computed(self, name: str, values: npt.NDArray[np.float32]) -> TensorSource:
        return TensorSource(name, (values.size,), (ArrayPiece(values.reshape(1, -1)),), True)


def always_f32(name: str, shape: tuple[int, ...]) -> bool:
    """What the converter keeps in float32: vectors, norms, routers, all that is no weight."""
    return len(shape) <= 1 or not name.endswith(".weight") or _ALWAYS_F32.search(name) is not None
