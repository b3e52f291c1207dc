"""gpt-oss: experts in MXFP4, which GGUF has too; its bytes only lie in another order.

References: llama.cpp `conversion/gpt_oss.py`; transformers `models/gpt_oss`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import BadFileError
from localq.formats.rows import PAIRED_MXFP4, BlockScales, FilePiece, Piece, TensorSource
from localq.messages import msg

__all__ = ["GptOss"]

_EXPERTS = "mlp.experts."
_BLOCK = 32
"""Numbers that share a factor, two to a byte."""


class GptOss(Decoder):
    architecture = "gpt-oss"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
        "model.layers.{i}.mlp.router": "blk.{i}.ffn_gate_inp",
    }
    exact: ClassVar[TensorNames] = {
        "model.layers.{i}.self_attn.sinks": "blk.{i}.attn_sinks.weight",
    }
    stacks: ClassVar[tuple[str, ...]] = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000.0,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("attention.sliding_window", self.integer("sliding_window"))
        self.u32("expert_feed_forward_length", self.integer("intermediate_size"))

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))

    def tensors(self) -> Iterator[TensorSource]:
        """What is in MXFP4 comes first, as the converter writes it."""
        made = list(super().tensors())
        packed = [tensor for tensor in made if tensor.lossless == "MXFP4"]
        yield from packed
        yield from (tensor for tensor in made if tensor.lossless != "MXFP4")

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        head, mark, kind = name.partition(_EXPERTS)
        if not mark:
            yield from super().tensors_of(name, source)
            return
        prefix = f"blk.{head.split('.')[2]}.ffn_"
        both = kind.startswith("gate_up_proj")
        kinds = ("gate", "up") if both else ("down",)
        if kind.endswith("_scales"):
            return  # with the blocks they belong to
        for part, which in enumerate(kinds):
            # Gate and up take turns.
            of = (part, len(kinds))
            if kind.endswith("_blocks"):
                yield self._packed(f"{prefix}{which}_exps.weight", name, source, of)
            elif kind.endswith("_bias"):
                yield self._bias(f"{prefix}{which}_exps.bias", name, source, of)
            else:
                yield self._plain(f"{prefix}{which}_exps.weight", name, source, of)

    def _packed(
        self, gguf_name: str, name: str, source: SourceTensor, of: tuple[int, int]
    ) -> TensorSource:
        scales = self._scales_of(name, source)
        experts, rows, blocks, width = self._shape(name, source, 4)
        if width != _BLOCK // 2 or scales.info.shape != (experts, rows, blocks):
            raise BadFileError(
                source.path,
                msg(
                    "tensor {name!r} has shape {list}, its factors {list2}",
                    name=name[:200],
                    list=list(source.info.shape),
                    list2=list(scales.info.shape),
                ),
            )
        factors = FilePiece(scales.path, scales.info.offset, "E8M0", experts * rows, blocks)
        piece = FilePiece(
            *(source.path, source.info.offset, PAIRED_MXFP4, experts * rows, blocks * _BLOCK),
            order=_every(experts * rows, of),
            scales=BlockScales(factors, 1, _BLOCK, experts * rows),
        )
        shape = (experts, rows // of[1], blocks * _BLOCK)
        return self.source_of(gguf_name, shape, [piece])

    def _bias(
        self, gguf_name: str, name: str, source: SourceTensor, of: tuple[int, int]
    ) -> TensorSource:
        experts, rows = self._shape(name, source, 2)
        whole = self.piece(name, source)
        column = replace(whole, file_rows=experts * rows, file_columns=1)
        piece = replace(column, order=_every(experts * rows, of))
        return TensorSource(gguf_name, (rows // of[1], experts), (piece,), True)

    def _plain(
        self, gguf_name: str, name: str, source: SourceTensor, of: tuple[int, int]
    ) -> TensorSource:
        """Experts that were dequantized: turned, as torch multiplies them."""
        pieces: list[Piece] = []
        for piece in self.turned(name, source):
            pieces.append(replace(piece, order=_every(piece.rows, of)))
        return self.source_of(gguf_name, (len(pieces), pieces[0].rows, pieces[0].columns), pieces)

    def _scales_of(self, name: str, source: SourceTensor) -> SourceTensor:
        wanted = name.removesuffix("_blocks") + "_scales"
        for stored, tensor in self.checkpoint.tensors.items():
            if self._plain_name(stored) == wanted:
                return tensor
        raise BadFileError(
            source.path,
            msg("no tensor {wanted!r}", wanted=wanted[:200]),
            hint=msg("pull the model again"),
        )

    def _shape(self, name: str, source: SourceTensor, count: int) -> tuple[int, ...]:
        shape = source.info.shape
        if len(shape) != count or 0 in shape or (count > 2 and source.info.dtype != "U8"):
            raise BadFileError(
                source.path,
                msg("tensor {name!r} has shape {list}", name=name[:200], list=list(shape)),
            )
        return shape


def _every(rows: int, of: tuple[int, int]) -> npt.NDArray[np.intp] | None:
    """Every second row, say: (0, 2) for the first, third, ... and (1, 2) for the others."""
    part, count = of
    return None if count == 1 else np.arange(part, rows, count, dtype=np.intp)
