"""GPT-2, and GPTBigCode (SantaCoder, StarCoder 1), which has its layout with plain matrices.

References: llama.cpp `conversion/gpt2.py`, `conversion/starcoder.py`; transformers `models/gpt2`,
`models/gpt_bigcode`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.source_tensor import SourceTensor
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Gpt2", "GptBigCode"]

_MASKS = (".attn.bias", ".attn.masked_bias")
_TRANSPOSED = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


class Gpt2(Decoder):
    architecture = "gpt2"
    names: ClassVar[TensorNames] = {
        "wte": "token_embd",
        "wpe": "position_embd",
        "ln_f": "output_norm",
        "lm_head": "output",
        "h.{i}.ln_1": "blk.{i}.attn_norm",
        "h.{i}.attn.c_attn": "blk.{i}.attn_qkv",
        "h.{i}.attn.c_proj": "blk.{i}.attn_output",
        "h.{i}.ln_2": "blk.{i}.ffn_norm",
        "h.{i}.mlp.c_fc": "blk.{i}.ffn_up",
        "h.{i}.mlp.c_proj": "blk.{i}.ffn_down",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "layer_norm_epsilon": 1e-5,
    }

    def hyperparameters(self) -> None:
        if self.config.get("scale_attn_by_inverse_layer_idx"):
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's GPT-2 does not scale attention by layer",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
        width = self.integer("n_embd")
        self.u32("block_count", self.layers)
        self.u32("context_length", self.integer("n_ctx", "n_positions"))
        self.u32("embedding_length", width)
        self.u32("feed_forward_length", 4 * width)
        self.u32("attention.head_count", self.integer("n_head"))
        self.f32("attention.layer_norm_epsilon", self.number(self.config, "layer_norm_epsilon"))
        self.file_type()

    def gguf_name(self, name: str, source: SourceTensor) -> str:
        # The published GPT-2 has no prefix, what transformers saves has one.
        return super().gguf_name(name.removeprefix("transformer."), source)

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(_MASKS):
            yield from super().tensors_of(name, source)

    def tensor(self, name: str, source: SourceTensor) -> TensorSource:
        """GPT-2 keeps the matrices of its layers as columns."""
        piece = self.piece(name, source)
        if not name.endswith(_TRANSPOSED):
            return super().tensor(name, source)
        piece = replace(piece, transposed=not piece.transposed)
        return self.source_of(self.gguf_name(name, source), (piece.rows, piece.columns), [piece])


class GptBigCode(Gpt2):
    architecture = "starcoder"

    def hyperparameters(self) -> None:
        if self.config.get("multi_query") is False:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp's GPTBigCode has multi-query attention only",
                    root=self.checkpoint.root,
                ),
                hint=msg("take another model"),
            )
        width = self.integer("n_embd")
        self.u32("context_length", self.integer("n_positions"))
        self.u32("embedding_length", width)
        self.u32("feed_forward_length", 4 * width)
        self.u32("block_count", self.layers)
        self.u32("attention.head_count", self.integer("n_head"))
        self.u32("attention.head_count_kv", 1)
        self.f32("attention.layer_norm_epsilon", self.number(self.config, "layer_norm_epsilon"))
        self.file_type()

    def tensor(self, name: str, source: SourceTensor) -> TensorSource:
        return Decoder.tensor(self, name, source)
