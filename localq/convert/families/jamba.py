"""Jamba: a state in most layers, attention in the others, experts in some.

References: llama.cpp `conversion/jamba.py`; transformers `models/jamba`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import TensorNames
from localq.convert.families.names import ATTENTION
from localq.convert.families.state_space import StateSpace, state_names, state_vectors
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles

__all__ = ["Jamba"]

_STATE = "model.layers.{i}.mamba"
_FEED_FORWARD = "model.layers.{i}.feed_forward"


class Jamba(StateSpace):
    architecture = "jamba"
    names: ClassVar[TensorNames] = {
        "model.embed_tokens": "token_embd",
        "model.final_layernorm": "output_norm",
        "lm_head": "output",
        "model.layers.{i}.input_layernorm": "blk.{i}.attn_norm",
        "model.layers.{i}.pre_ff_layernorm": "blk.{i}.ffn_norm",
        **ATTENTION,
        **state_names(_STATE),
        f"{_STATE}.x_proj": "blk.{i}.ssm_x",
        f"{_STATE}.dt_proj": "blk.{i}.ssm_dt",
        **{f"{_STATE}.{kind}_layernorm": f"blk.{{i}}.ssm_{kind}_norm" for kind in ("dt", "b", "c")},
        f"{_FEED_FORWARD}.router": "blk.{i}.ffn_gate_inp",
        **{
            f"{_FEED_FORWARD}.{kind}_proj": f"blk.{{i}}.ffn_{kind}"
            for kind in ("gate", "up", "down")
        },
    }
    exact: ClassVar[TensorNames] = state_vectors(_STATE)
    experts: ClassVar[TensorNames] = {
        f"{_FEED_FORWARD}.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("down", "gate", "up")
    }
    has_heads = False
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 65536,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 262144,
        "num_experts_per_tok": 2,
        "num_experts": 16,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "attn_layer_period": 8,
        "attn_layer_offset": 4,
        "mamba_d_state": 16,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
    }

    def _is_one_of(self, layer: int, kind: str) -> bool:
        first = self.count(f"{kind}_layer_offset")
        return layer >= first and (layer - first) % self.integer(f"{kind}_layer_period") == 0

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind.startswith("ssm_"):
            return self._is_one_of(layer, "attn")
        if kind in ("attn_q", "attn_k", "attn_v", "attn_output"):
            return not self._is_one_of(layer, "attn")
        has_experts = self.expert_count > 1 and self._is_one_of(layer, "expert")
        if kind in ("ffn_gate", "ffn_up", "ffn_down"):
            return has_experts
        return kind.startswith("ffn_") and kind != "ffn_norm" and not has_experts

    def renamed(self, name: str) -> str:
        return name.replace(".moe.", ".feed_forward.", 1)

    def hyperparameters(self) -> None:
        width = self.integer("hidden_size")
        self.u32("block_count", self.layers)
        self.u32("context_length", self.integer("max_position_embeddings"))
        self.u32("embedding_length", width)
        self.u32("feed_forward_length", self.integer("intermediate_size"))
        self.u32("attention.head_count", self.heads)
        kept = self.kv_heads
        self.i32s(
            "attention.head_count_kv",
            [kept if self._is_one_of(layer, "attn") else 0 for layer in range(self.layers)],
        )
        self.u32("ssm.conv_kernel", self.integer("mamba_d_conv"))
        self.u32("ssm.inner_size", self.integer("mamba_expand") * width)
        self.u32("ssm.state_size", self.integer("mamba_d_state"))
        self.u32("ssm.time_step_rank", self._rank(width))
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "rms_norm_eps"))
        self.u32("expert_count", self.expert_count)
        self.u32("expert_used_count", self.integer("num_experts_per_tok"))
        self.file_type()

    def _rank(self, width: int) -> int:
        if self.config.get("mamba_dt_rank") in (None, "auto"):
            return -(-width // 16)
        return self.integer("mamba_dt_rank")

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))
        if not files.sentencepiece_path.is_file():
            self.fields.boolean("tokenizer.ggml.add_space_prefix", False)
