"""MiniCPM 1, 2 and 4: Llama with scales of its own; MiniCPM 3: few numbers kept for all heads.

Reference: llama.cpp `conversion/minicpm.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.convert.vocabulary.choose import write_vocabulary
from localq.convert.vocabulary.files import TokenizerFiles
from localq.formats.rows import TensorSource
from localq.messages import msg

__all__ = ["MiniCpm", "MiniCpm3"]

_ATTENTION = "model.layers.{i}.self_attn"


class _MiniCpm(Decoder):
    config_defaults: ClassVar[Mapping[str, Any]] = {"rms_norm_eps": 1e-6}

    @property
    def turned_width(self) -> int:
        """How many of a head's numbers turn."""
        return self.head_dim

    def extra_tensors(self) -> Iterator[TensorSource]:
        rope = self.rope_parameters()
        if rope.get("long_factor") or rope.get("short_factor"):
            for kind in ("long", "short"):
                yield self.computed(
                    f"rope_factors_{kind}.weight", self._factors(rope, f"{kind}_factor")
                )

    def _factors(self, rope: Mapping[str, Any], key: str) -> npt.NDArray[np.float32]:
        values, count = rope.get(key), self.turned_width // 2
        if not isinstance(values, list) or len(values) != count:
            raise self.bad_config(msg("{key} is no list of {count} numbers", key=key, count=count))
        return np.array([self.number({key: value}, key) for value in values], np.float32)

    def vocabulary(self, files: TokenizerFiles) -> None:
        self._warn(write_vocabulary(files, self.fields))


class MiniCpm(_MiniCpm):
    architecture = "minicpm"
    names: ClassVar[TensorNames] = {**EMBEDDINGS, **ATTENTION, **NORMS, **GATED_MLP}

    def hyperparameters(self) -> None:
        super().hyperparameters()
        config = self.config
        self.f32("embedding_scale", self.number(config, "scale_emb"))
        self.f32("residual_scale", self.number(config, "scale_depth") / self.layers**0.5)
        width = self.integer("hidden_size") / self.integer("dim_model_base")
        self.f32("logit_scale", width)

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if name.endswith(".q_proj.weight"):
            return self.rotary_rows(name, rows, self.heads)
        if name.endswith(".k_proj.weight"):
            return self.rotary_rows(name, rows, self.kv_heads)
        return None


class MiniCpm3(_MiniCpm):
    architecture = "minicpm3"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **NORMS,
        **GATED_MLP,
        f"{_ATTENTION}.q_a_proj": "blk.{i}.attn_q_a",
        f"{_ATTENTION}.q_a_layernorm": "blk.{i}.attn_q_a_norm",
        f"{_ATTENTION}.q_b_proj": "blk.{i}.attn_q_b",
        f"{_ATTENTION}.kv_a_proj_with_mqa": "blk.{i}.attn_kv_a_mqa",
        f"{_ATTENTION}.kv_a_layernorm": "blk.{i}.attn_kv_a_norm",
        f"{_ATTENTION}.kv_b_proj": "blk.{i}.attn_kv_b",
        f"{_ATTENTION}.o_proj": "blk.{i}.attn_output",
    }

    @property
    def turned_width(self) -> int:
        return self.integer("qk_rope_head_dim")

    def hyperparameters(self) -> None:
        self.file_type()
        self.u32("context_length", self.integer("max_position_embeddings"))
        self.u32("embedding_length", self.integer("hidden_size"))
        self.u32("block_count", self.layers)
        self.u32("feed_forward_length", self.integer("intermediate_size"))
        self.u32("attention.head_count", self.heads)
        self.u32("attention.head_count_kv", self.kv_heads)
        self.f32("attention.layer_norm_rms_epsilon", self.number(self.config, "rms_norm_eps"))
        self.u32("vocab_size", self.integer("vocab_size"))
        self._u32_from("attention.q_lora_rank", "q_lora_rank")
        self.u32("attention.kv_lora_rank", self.integer("kv_lora_rank"))
        turned = self.turned_width
        self.u32("attention.key_length", self.integer("qk_nope_head_dim") + turned)
        self.u32("rope.dimension_count", turned)
