"""LFM2, with and without experts: short convolutions in most layers, attention in the others.

References: llama.cpp `conversion/lfm2.py`; transformers `models/lfm2`, `models/lfm2_moe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from localq.convert.families.decoder import GATING, Decoder, TensorNames
from localq.convert.source_tensor import SourceTensor
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["Lfm2", "Lfm2Moe"]

_ATTENTION = "model.layers.{i}.self_attn"
_CONVOLUTION = "model.layers.{i}.conv"
_FEED_FORWARD = "model.layers.{i}.feed_forward"
_WIDE = (("w1", "gate"), ("w2", "down"), ("w3", "up"))


class Lfm2(Decoder):
    architecture = "lfm2"
    names: ClassVar[TensorNames] = {
        "model.embed_tokens": "token_embd",
        "model.embedding_norm": "token_embd_norm",
        "lm_head": "output",
        f"{_ATTENTION}.q_proj": "blk.{i}.attn_q",
        f"{_ATTENTION}.k_proj": "blk.{i}.attn_k",
        f"{_ATTENTION}.v_proj": "blk.{i}.attn_v",
        f"{_ATTENTION}.out_proj": "blk.{i}.attn_output",
        f"{_ATTENTION}.q_layernorm": "blk.{i}.attn_q_norm",
        f"{_ATTENTION}.k_layernorm": "blk.{i}.attn_k_norm",
        f"{_CONVOLUTION}.conv": "blk.{i}.shortconv.conv",
        f"{_CONVOLUTION}.in_proj": "blk.{i}.shortconv.in_proj",
        f"{_CONVOLUTION}.out_proj": "blk.{i}.shortconv.out_proj",
        "model.layers.{i}.operator_norm": "blk.{i}.attn_norm",
        "model.layers.{i}.ffn_norm": "blk.{i}.ffn_norm",
        **{f"{_FEED_FORWARD}.{wide}": f"blk.{{i}}.ffn_{kind}" for wide, kind in _WIDE},
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 65536,
        "norm_eps": 1e-5,
        "conv_L_cache": 3,
        "block_auto_adjust_ff_dim": True,
        "block_multiple_of": 256,
        "block_ffn_dim_multiplier": 1.0,
    }

    @property
    def kinds(self) -> list[str]:
        """ "conv" or "full_attention" for each layer."""
        kinds = self.config.get("layer_types")
        if not isinstance(kinds, list) or len(kinds) != self.layers:
            raise self.bad_config(msg("layer_types is no list of {layers}", layers=self.layers))
        return [str(kind) for kind in kinds]

    def hyperparameters(self) -> None:
        kept = [0 if kind == "conv" else self.kv_heads for kind in self.kinds]
        super().hyperparameters()
        self.i32s("attention.head_count_kv", kept)
        self._beyond()

    def _beyond(self) -> None:
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("shortconv.l_cache", self.integer("conv_L_cache"))
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "norm_eps"))
        width = self.integer("block_ff_dim", "intermediate_size")
        if self.config.get("block_auto_adjust_ff_dim"):
            width = 2 * width // 3
            if self.config.get("block_ffn_dim_multiplier") is not None:
                width = int(self.number(self.config, "block_ffn_dim_multiplier") * width)
            multiple = self.integer("block_multiple_of")
            width = -(-width // multiple) * multiple
        self.u32("feed_forward_length", width)

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind.startswith("shortconv."):
            return self.kinds[layer] != "conv"
        return kind.startswith("attn_") and kind != "attn_norm" and self.kinds[layer] == "conv"

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if name.endswith(".conv.conv.weight"):
            piece = self.piece(name, source)
            shape = (piece.rows, piece.columns)
            yield self.source_of(self.gguf_name(name, source), shape, [piece])
        else:
            yield from super().tensors_of(name, source)


class Lfm2Moe(Lfm2):
    """The first layers have one feed-forward network, the others experts."""

    architecture = "lfm2moe"
    names: ClassVar[TensorNames] = {
        **Lfm2.names,
        f"{_FEED_FORWARD}.gate": "blk.{i}.ffn_gate_inp",
    }
    exact: ClassVar[TensorNames] = {f"{_FEED_FORWARD}.expert_bias": "blk.{i}.exp_probs_b.bias"}
    experts: ClassVar[TensorNames] = {
        f"{_FEED_FORWARD}.experts.{{e}}.{wide}": f"blk.{{i}}.ffn_{kind}_exps"
        for wide, kind in _WIDE
    }

    def _beyond(self) -> None:
        self.u32("expert_feed_forward_length", self.integer("moe_intermediate_size"))
        self.u32("leading_dense_block_count", self._dense_layers)
        self.u32("expert_gating_func", GATING["sigmoid"])
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("shortconv.l_cache", self.integer("conv_L_cache"))

    @property
    def _dense_layers(self) -> int:
        return self.count("num_dense_layers", self.layers)

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind in ("ffn_gate", "ffn_up", "ffn_down"):
            return layer >= self._dense_layers
        if kind.startswith("ffn_") and kind != "ffn_norm":
            return layer < self._dense_layers
        return super().lacks(gguf_name, layer)
