"""Ling and other models of inclusionAI: Bailing with experts, versions 1 and 2.

Reference: llama.cpp `conversion/bailingmoe.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from localq.convert.checkpoint import Checkpoint
from localq.convert.families.decoder import TensorNames
from localq.convert.families.experts import ROUTER, SHARED, STACKED, DenseFirst
from localq.convert.families.names import GATED_MLP, NORMS
from localq.convert.source_tensor import SourceTensor
from localq.convert.vocabulary.byte_level import write_byte_level
from localq.convert.vocabulary.files import TokenizerFiles
from localq.errors import UnsupportedError
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["BailingMoe", "BailingMoe2"]

_ATTENTION = "model.layers.{i}.attention"
_BOTH: TensorNames = {
    "model.word_embeddings": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    **NORMS,
    **GATED_MLP,
    **ROUTER,
    **SHARED,
    f"{_ATTENTION}.dense": "blk.{i}.attn_output",
    f"{_ATTENTION}.query_key_value": "blk.{i}.attn_qkv",
}


class _Bailing(DenseFirst):
    optional: ClassVar[frozenset[str]] = frozenset()
    experts: ClassVar[TensorNames] = STACKED
    config_defaults: ClassVar[Mapping[str, Any]] = {"first_k_dense_replace": 0}

    def lacks(self, gguf_name: str, layer: int) -> bool:
        if gguf_name.endswith("_shexp") and not self.config.get("num_shared_experts"):
            return True
        return super().lacks(gguf_name, layer)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_byte_level(files, self.fields))


class BailingMoe(_Bailing):
    architecture = "bailingmoe"
    names: ClassVar[TensorNames] = _BOTH

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        if self.config.get("norm_head"):
            raise UnsupportedError(
                msg(
                    "{root}: norm_head asks for an output that is normed first, which localq"
                    " cannot do",
                    root=checkpoint.root,
                ),
                hint=msg("llama.cpp's own converter can: add --with llama.cpp"),
            )

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("rope.dimension_count", self.head_dim)
        self.u32("leading_dense_block_count", self.dense_layers)
        self.u32("vocab_size", self.integer("vocab_size"))
        self.u32("expert_feed_forward_length", self.integer("moe_intermediate_size"))
        self.f32("expert_weights_scale", 1.0)
        self.u32("expert_shared_count", self.count("num_shared_experts"))
        self.flag("expert_weights_norm", bool(self.config.get("norm_topk_prob")))

    def lacks(self, gguf_name: str, layer: int) -> bool:
        return gguf_name.endswith("attn_qkv") or super().lacks(gguf_name, layer)

    def tensors_of(self, name: str, source: SourceTensor) -> Iterator[TensorSource]:
        if not name.endswith(".query_key_value.weight"):
            yield from super().tensors_of(name, source)
            return
        made = self.gguf_name(name, source)
        whole = self.piece(name, source)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        if whole.rows != queries + 2 * keys:
            raise self.bad_config(
                msg("{rows} rows of {name!r} are not of those heads", rows=whole.rows, name=name)
            )
        for kind, first, order in (
            ("q", 0, self.rotary_rows(name, queries, self.heads)),
            ("k", queries, self.rotary_rows(name, keys, self.kv_heads)),
            ("v", queries + keys, np.arange(keys, dtype=np.intp)),
        ):
            part = replace(whole, order=first + order)
            to = made.replace("attn_qkv", f"attn_{kind}")
            yield self.source_of(to, (len(order), whole.columns), [part])


class BailingMoe2(_Bailing):
    """Normed queries and keys, of which a part turns; the last layers may predict further
    tokens."""

    architecture = "bailingmoe2"
    names: ClassVar[TensorNames] = {
        **_BOTH,
        f"{_ATTENTION}.query_layernorm": "blk.{i}.attn_q_norm",
        f"{_ATTENTION}.key_layernorm": "blk.{i}.attn_k_norm",
        "model.layers.{i}.eh_proj": "blk.{i}.nextn.eh_proj",
        "model.layers.{i}.enorm": "blk.{i}.nextn.enorm",
        "model.layers.{i}.hnorm": "blk.{i}.nextn.hnorm",
        "model.layers.{i}.final_layernorm": "blk.{i}.layer_output_norm",
    }
    exact: ClassVar[TensorNames] = {
        "model.layers.{i}.mlp.gate.expert_bias": "blk.{i}.exp_probs_b.bias"
    }

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.own_layers = self.layers
        self.layers += self.count("num_nextn_predict_layers", 64)

    def lacks(self, gguf_name: str, layer: int) -> bool:
        kind = gguf_name.rpartition("blk.{i}.")[2]
        if kind.startswith("nextn.") or kind == "layer_output_norm":
            return layer < self.own_layers
        return super().lacks(gguf_name, layer)

    def hyperparameters(self) -> None:
        super().hyperparameters()
        share = self.number(self.rope_parameters(), "partial_rotary_factor", 0.5)
        self.u32("rope.dimension_count", int(self.head_dim * share))
        self.u32("leading_dense_block_count", self.dense_layers)
        self.u32("vocab_size", self.integer("vocab_size"))
        width, shared = self.integer("moe_intermediate_size"), self.count("num_shared_experts")
        self.u32("expert_feed_forward_length", width)
        given = self.config.get("moe_shared_expert_intermediate_size")
        self.u32(
            "expert_shared_feed_forward_length",
            width * shared
            if given is None
            else self.integer("moe_shared_expert_intermediate_size"),
        )
        self.f32("expert_weights_scale", self.number(self.config, "routed_scaling_factor"))
        self.u32("expert_shared_count", shared)
        self.flag("expert_weights_norm", bool(self.config.get("norm_topk_prob")))
        if self.config.get("num_nextn_predict_layers") is not None:
            self.u32("nextn_predict_layers", self.layers - self.own_layers)
