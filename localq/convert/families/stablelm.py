"""StableLM 3B, StableLM 2 1.6B and 12B, Stable Code.

References: llama.cpp `conversion/stablelm.py`; transformers `models/stablelm`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.errors import BadFileError
from localq.formats.rows import FilePiece, TensorSource
from localq.messages import msg

__all__ = ["StableLm"]

_HEAD_NORM = re.compile(r"model\.layers\.(\d+)\.self_attn\.([qk])_layernorm\.norms\.(\d+)\.weight")


class StableLm(Decoder):
    architecture = "stablelm"
    names: ClassVar[TensorNames] = {**EMBEDDINGS, **ATTENTION, **NORMS, **GATED_MLP}
    # With parallel residuals, one norm serves attention and the feed-forward network.
    optional: ClassVar[frozenset[str]] = frozenset({"output", "blk.{i}.ffn_norm"})
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 50304,
        "intermediate_size": 6912,
        "hidden_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "use_parallel_residual": False,
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._head_norms: dict[str, dict[int, FilePiece]] = {}

    def hyperparameters(self) -> None:
        width = self.integer("hidden_size")
        rotary = self.number(self.rope_parameters(), "partial_rotary_factor", 0.25)
        self.u32("context_length", self.integer("max_position_embeddings"))
        self.u32("embedding_length", width)
        self.u32("block_count", self.layers)
        self.u32("feed_forward_length", self.integer("intermediate_size"))
        self.u32("rope.dimension_count", int(rotary * (width // self.heads)))
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.kv_heads)
        self.flag("use_parallel_residual", bool(self.config["use_parallel_residual"]))
        epsilon = "layer_norm_eps" if "layer_norm_eps" in self.config else "norm_eps"
        self.f32("attention.layer_norm_epsilon", self.number(self.config, epsilon, 1e-5))
        self.file_type()
        self.unusual_rope()

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        match = _HEAD_NORM.fullmatch(name)
        if match is None:
            yield from super().tensors_of(name, source)
            return
        # Every head has a norm of its own; GGUF keeps those of a layer as one matrix.
        layer, kind, head = int(match[1]), match[2], int(match[3])
        heads = self.heads if kind == "q" else self.kv_heads
        if layer >= self.layers or head >= heads or len(source.info.shape) != 1:
            raise BadFileError(
                source.path, msg("tensor {name!r} does not fit the config", name=name[:200])
            )
        merged = f"blk.{layer}.attn_{kind}_norm.weight"
        norms = self._head_norms.setdefault(merged, {})
        norms[head] = self.piece(name, source)
        if len(norms) == heads:
            del self._head_norms[merged]
            pieces = [norms[i] for i in range(heads)]
            if len({piece.columns for piece in pieces}) > 1:
                raise BadFileError(
                    source.path, msg("the parts of {merged} are not of one length", merged=merged)
                )
            yield self.source_of(merged, (heads, pieces[0].columns), pieces)

    def tensors(self) -> Iterator[TensorSource]:
        yield from super().tensors()
        if self._head_norms:
            raise BadFileError(
                self.checkpoint.root,
                msg(
                    "norms of heads are missing from {head_norms}", head_norms=min(self._head_norms)
                ),
                hint=msg("pull the model again"),
            )
