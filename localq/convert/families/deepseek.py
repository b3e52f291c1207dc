"""DeepSeek V2, V3, R1 and what is built the same way, such as Kimi K2: few numbers kept for all
heads, from which each head makes its keys and values.

llama.cpp computes with those few numbers themselves, so the matrix that makes keys and values of
them is taken apart, and the keys' part turned. References: llama.cpp `conversion/deepseek.py`;
transformers `models/deepseek_v2`, `models/deepseek_v3`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import (
    EMBEDDINGS,
    GATED_MLP,
    NEXT_TOKEN,
    NORMS,
    SHARED_WITH_THE_MODEL,
)
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.convert.vocabulary.tiktoken_ranks import KIMI, write_ranks
from localq.errors import BadFileError, UnsupportedError
from localq.formats.rows import Piece, TensorSource
from localq.messages import msg

__all__ = ["DeepSeek2", "DeepSeek32"]

_ATTENTION = "model.layers.{i}.self_attn"
_MLP = "model.layers.{i}.mlp"
_KNOWN_TO_TRANSFORMERS = ("deepseek_v2", "deepseek_v3")
_LITE_LAYERS = (26, 27)
_LITE_GIGACHAT = (48, 128256)
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


class DeepSeek2(Decoder):
    architecture = "deepseek2"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **NORMS,
        **GATED_MLP,
        f"{_ATTENTION}.q_proj": "blk.{i}.attn_q",
        f"{_ATTENTION}.q_a_proj": "blk.{i}.attn_q_a",
        f"{_ATTENTION}.q_a_layernorm": "blk.{i}.attn_q_a_norm",
        f"{_ATTENTION}.q_b_proj": "blk.{i}.attn_q_b",
        f"{_ATTENTION}.kv_a_proj_with_mqa": "blk.{i}.attn_kv_a_mqa",
        f"{_ATTENTION}.kv_a_layernorm": "blk.{i}.attn_kv_a_norm",
        f"{_ATTENTION}.k_b_proj": "blk.{i}.attn_k_b",
        f"{_ATTENTION}.v_b_proj": "blk.{i}.attn_v_b",
        f"{_ATTENTION}.o_proj": "blk.{i}.attn_output",
        f"{_MLP}.gate": "blk.{i}.ffn_gate_inp",
        **{
            f"{_MLP}.shared_experts.{kind}_proj": f"blk.{{i}}.ffn_{kind}_shexp"
            for kind in ("gate", "up", "down")
        },
    }
    exact: ClassVar[TensorNames] = {
        f"{_MLP}.gate.e_score_correction_bias": "blk.{i}.exp_probs_b.bias"
    }
    experts: ClassVar[TensorNames] = {
        f"{_MLP}.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("down", "gate", "up")
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 102400,
        "rms_norm_eps": 1e-6,
        "kv_lora_rank": 512,
        "n_shared_experts": 0,
    }

    def own_part(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        part = super().own_part(config)
        # Takes the place of other widths, which are written for it, where transformers has it.
        known = part.get("model_type") in _KNOWN_TO_TRANSFORMERS
        return {"head_dim": 64, **part} if known else part

    def hyperparameters(self) -> None:
        config = self.config
        size = (self.layers, self.integer("vocab_size"))
        known = self.layers in _LITE_LAYERS or size == _LITE_GIGACHAT
        if config.get("q_lora_rank") is None and not known:
            raise UnsupportedError(
                msg(
                    "{root}: llama.cpp knows a model of the kind without q_lora_rank by its"
                    " {map} layers; this one has {layers}",
                    root=self.checkpoint.root,
                    map=" or ".join(map(str, _LITE_LAYERS)),
                    layers=self.layers,
                ),
                hint=msg("take another model"),
            )
        kept, turned = self.integer("kv_lora_rank"), self.integer("qk_rope_head_dim")
        heads = config.get("num_key_value_heads")
        config["num_key_value_heads"] = 1  # all heads share what is kept
        super().hyperparameters()
        config["num_key_value_heads"] = heads
        self.u32("leading_dense_block_count", self._dense_layers)
        self.u32("vocab_size", self.integer("vocab_size"))
        self._u32_from("attention.q_lora_rank", "q_lora_rank")
        self.u32("attention.kv_lora_rank", kept)
        self.u32("attention.key_length", kept + turned)
        self.u32("attention.value_length", kept)
        self.u32("attention.key_length_mla", self.integer("qk_nope_head_dim") + turned)
        self.u32("attention.value_length_mla", self.integer("v_head_dim"))
        self._u32_from("expert_feed_forward_length", "moe_intermediate_size", "intermediate_size")
        self._u32_from("expert_count", "n_routed_experts")
        self.u32("expert_shared_count", self.count("n_shared_experts"))
        if config.get("routed_scaling_factor") is not None:
            self.f32("expert_weights_scale", self.number(config, "routed_scaling_factor"))
        if config.get("norm_topk_prob"):
            self.flag("expert_weights_norm", True)
        self.u32("rope.dimension_count", turned)
        rope = self.rope_parameters()
        if "mscale_all_dim" in rope:
            scale = 0.1 * self.number(rope, "mscale_all_dim")
            self.f32("rope.scaling.yarn_log_multiplier", scale)

    @property
    def _dense_layers(self) -> int:
        """Layers at the beginning that have no experts."""
        if self.config.get("n_routed_experts") is None:
            return self.layers
        return self.count("first_k_dense_replace", self.layers)

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition(".")[2]
        if kind.startswith("attn_q"):
            return (kind == "attn_q") is (self.config.get("q_lora_rank") is not None)
        if kind in ("ffn_gate", "ffn_up", "ffn_down"):
            return layer >= self._dense_layers
        if kind.endswith("_shexp"):
            return layer < self._dense_layers or not self.config.get("n_shared_experts")
        return kind.startswith("ffn_") and kind != "ffn_norm" and layer < self._dense_layers

    def vocabulary(self, files: TokenizerFiles) -> None:
        if KIMI.is_in(files):
            write_ranks(files, self.fields, KIMI)
        else:
            self._warn(write_byte_level(files, self.fields))

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        layer = _LAYER.match(name)
        if layer and int(layer[1]) >= self.layers:
            return  # a layer that predicts further tokens, which llama.cpp has no use for
        if name == "lm_head.weight" and self.config.get("tie_word_embeddings"):
            return
        if name.endswith(".kv_b_proj.weight"):
            yield from self._keys_and_values(name, source)
        else:
            yield from super().tensors_of(name, source)

    def _keys_and_values(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        heads = self.integer("num_key_value_heads", "num_attention_heads")
        key, value = self.integer("qk_nope_head_dim"), self.integer("v_head_dim")
        whole = self.piece(name, source)
        if whole.rows != heads * (key + value):
            raise BadFileError(
                source.path,
                msg(
                    "{rows} rows of {name!r} are not of {heads} heads of {key} + {value}",
                    rows=whole.rows,
                    name=name[:200],
                    heads=heads,
                    key=key,
                    value=value,
                ),
            )
        keys: list[Piece] = []
        values: list[Piece] = []
        for head in range(heads):
            first = head * (key + value)
            keys.append(replace(whole.part(first, key), transposed=True))
            values.append(whole.part(first + key, value))
        stem = name.removesuffix("kv_b_proj.weight")
        kept = whole.columns
        for kind, shape, pieces in (
            ("k_b_proj", (heads, kept, key), keys),
            ("v_b_proj", (heads, value, kept), values),
        ):
            made = self.gguf_name(f"{stem}{kind}.weight", source)
            yield self.source_of(made, shape, pieces)


class DeepSeek32(DeepSeek2):
    """DeepSeek V3.2: a small index chooses what attention looks at. The layers that predict further
    tokens come with it."""

    architecture = "deepseek32"
    names: ClassVar[TensorNames] = {
        **DeepSeek2.names,
        f"{_ATTENTION}.indexer.k_norm": "blk.{i}.indexer.k_norm",
        f"{_ATTENTION}.indexer.weights_proj": "blk.{i}.indexer.proj",
        f"{_ATTENTION}.indexer.wk": "blk.{i}.indexer.attn_k",
        f"{_ATTENTION}.indexer.wq_b": "blk.{i}.indexer.attn_q_b",
        **NEXT_TOKEN,
    }
    optional: ClassVar[frozenset[str]] = DeepSeek2.optional | SHARED_WITH_THE_MODEL

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.own_layers = self.layers
        self.layers += self.count("num_nextn_predict_layers", 64)

    @property
    def _dense_layers(self) -> int:
        return self.count("first_k_dense_replace", self.own_layers)

    def hyperparameters(self) -> None:
        super().hyperparameters()
        if self.config.get("num_nextn_predict_layers") is not None:
            self.u32("nextn_predict_layers", self.layers - self.own_layers)
        self.u32("attention.indexer.head_count", self.integer("index_n_heads"))
        self.u32("attention.indexer.key_length", self.integer("index_head_dim"))
        self.u32("attention.indexer.top_k", self.integer("index_topk"))

    def lacks(self, gguf_name: str, layer: int) -> bool:
        if ".nextn." in gguf_name:
            return layer < self.own_layers
        return super().lacks(gguf_name, layer)
