"""MPT.

References: llama.cpp `conversion/mpt.py`; transformers `models/mpt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import Decoder, TensorNames
from localq.messages import msg

__all__ = ["Mpt"]


class Mpt(Decoder):
    architecture = "mpt"
    names: ClassVar[TensorNames] = {
        "transformer.wte": "token_embd",
        "transformer.wpe": "position_embd",
        "transformer.norm_f": "output_norm",
        "lm_head": "output",
        "transformer.blocks.{i}.norm_1": "blk.{i}.attn_norm",
        "transformer.blocks.{i}.attn.Wqkv": "blk.{i}.attn_qkv",
        "transformer.blocks.{i}.attn.q_ln": "blk.{i}.attn_q_norm",
        "transformer.blocks.{i}.attn.k_ln": "blk.{i}.attn_k_norm",
        "transformer.blocks.{i}.attn.out_proj": "blk.{i}.attn_output",
        "transformer.blocks.{i}.norm_2": "blk.{i}.ffn_norm",
        "transformer.blocks.{i}.ffn.up_proj": "blk.{i}.ffn_up",
        "transformer.blocks.{i}.ffn.down_proj": "blk.{i}.ffn_down",
    }
    optional: ClassVar[frozenset[str]] = frozenset(
        {"output", "position_embd", "blk.{i}.attn_q_norm", "blk.{i}.attn_k_norm"}
    )
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 50368,
        "d_model": 2048,
        "n_heads": 16,
        "n_layers": 24,
        "max_seq_len": 2048,
    }

    def hyperparameters(self) -> None:
        """The converter writes no file type for this family."""
        attention = self.config.get("attn_config") or {}
        if not isinstance(attention, dict):
            raise self.bad_config(msg("attn_config is not an object"))
        width = self.integer("d_model")
        self.u32("context_length", self.integer("max_seq_len"))
        self.u32("embedding_length", width)
        self.u32("block_count", self.layers)
        self.u32("feed_forward_length", 4 * width)
        self.u32("attention.head_count", self.integer("n_heads"))
        if attention.get("kv_n_heads"):
            self.config["kv_n_heads"] = attention["kv_n_heads"]
            self.u32("attention.head_count_kv", self.integer("kv_n_heads"))
        self.f32("attention.layer_norm_epsilon", 1e-5)
        if attention.get("clip_qkv") is not None:
            self.f32("attention.clamp_kqv", self.number(attention, "clip_qkv"))
        alibi = attention.get("alibi", True) is not False
        bias = self.number(attention, "alibi_bias_max", 8) if alibi else 0.0
        self.f32("attention.max_alibi_bias", bias)
