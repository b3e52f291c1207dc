"""OLMo 1, 2 and 3, and OLMoE with experts.

References: llama.cpp `conversion/olmo.py`; transformers `models/olmo`, `models/olmo2`,
`models/olmo3`, `models/olmoe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from localq.convert.families.decoder import Decoder, TensorNames
from localq.convert.families.names import ATTENTION, EMBEDDINGS, GATED_MLP, NORMS
from localq.messages import msg

__all__ = ["Olmo", "Olmo2", "Olmo3", "Olmoe"]

_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
}


class Olmo(Decoder):
    architecture = "olmo"
    names: ClassVar[TensorNames] = {**EMBEDDINGS, **ATTENTION, **GATED_MLP}
    # Its norms have no weights.
    optional: ClassVar[frozenset[str]] = frozenset({"output", "output_norm"})
    config_defaults: ClassVar[Mapping[str, Any]] = _DEFAULTS

    def hyperparameters(self) -> None:
        self.config["num_key_value_heads"] = self.kv_heads
        super().hyperparameters()
        self.f32("attention.layer_norm_epsilon", 1e-5)
        if self.config.get("clip_qkv") is not None:
            self.f32("attention.clamp_kqv", self.number(self.config, "clip_qkv"))

    def row_order(self, name: str, rows: int) -> npt.NDArray[np.intp] | None:
        if name.endswith(".q_proj.weight"):
            return self.rotary_rows(name, rows, self.heads)
        if name.endswith(".k_proj.weight"):
            return self.rotary_rows(name, rows, self.kv_heads)
        return None


class Olmo2(Decoder):
    architecture = "olmo2"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **GATED_MLP,
        "model.layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
        "model.layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
        "model.layers.{i}.post_attention_layernorm": "blk.{i}.post_attention_norm",
        "model.layers.{i}.post_feedforward_layernorm": "blk.{i}.post_ffw_norm",
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {**_DEFAULTS, "rms_norm_eps": 1e-5}

    def hyperparameters(self) -> None:
        self.config["num_key_value_heads"] = self.kv_heads
        super().hyperparameters()


class Olmo3(Olmo2):
    """OLMo 2 in which most layers see only the last tokens."""

    config_defaults: ClassVar[Mapping[str, Any]] = {
        **Olmo2.config_defaults,
        "sliding_window": 4096,
    }

    def hyperparameters(self) -> None:
        super().hyperparameters()
        self.u32("attention.sliding_window", self.integer("sliding_window"))
        self.fields.booleans("olmo2.attention.sliding_window_pattern", self._sliding_layers())

    def _sliding_layers(self) -> list[bool]:
        types = self.config.get("layer_types")
        if types is None:
            return [(i + 1) % 4 != 0 for i in range(self.layers)]
        if not isinstance(types, list) or len(types) != self.layers:
            raise self.bad_config(msg("layer_types does not name the type of each layer"))
        return [type_ == "sliding_attention" for type_ in types]


class Olmoe(Decoder):
    architecture = "olmoe"
    names: ClassVar[TensorNames] = {
        **EMBEDDINGS,
        **ATTENTION,
        **NORMS,
        "model.layers.{i}.self_attn.q_norm": "blk.{i}.attn_q_norm",
        "model.layers.{i}.self_attn.k_norm": "blk.{i}.attn_k_norm",
        "model.layers.{i}.mlp.gate": "blk.{i}.ffn_gate_inp",
    }
    experts: ClassVar[TensorNames] = {
        f"model.layers.{{i}}.mlp.experts.{{e}}.{kind}_proj": f"blk.{{i}}.ffn_{kind}_exps"
        for kind in ("down", "gate", "up")
    }
    config_defaults: ClassVar[Mapping[str, Any]] = {
        **_DEFAULTS,
        "hidden_size": 2048,
        "intermediate_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "max_position_embeddings": 4096,
        "num_experts_per_tok": 8,
        "num_experts": 64,
    }

    def hyperparameters(self) -> None:
        self.config["num_key_value_heads"] = self.kv_heads
        self.config["rms_norm_eps"] = 1e-5
        super().hyperparameters()
